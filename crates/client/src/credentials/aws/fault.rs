//! What went wrong between the SDK and AWS, in words that say who has to act.

use super::AwsPlace;
use super::connection::Refused;
use crate::credentials::source::{SourceFault, SourceFaultKind};
use crate::http::ExchangeError;
use aws_credential_types::provider::error::CredentialsError;
use aws_sdk_secretsmanager::error::{ProvideErrorMetadata, SdkError};
use aws_sdk_secretsmanager::operation::get_secret_value::GetSecretValueError;
use std::error::Error;

/// The fault that `error` is at `place`.
pub(super) fn of(place: &AwsPlace, error: &SdkError<GetSecretValueError>) -> SourceFault {
    let (kind, what) = told(error);
    SourceFault::new(kind, place, what)
}

fn told(error: &SdkError<GetSecretValueError>) -> (SourceFaultKind, String) {
    if let SdkError::ServiceError(refusal) = error {
        return refused(refusal.err().code().unwrap_or("an error without a code"), refusal.err().message());
    }
    if let Some(Refused(url)) = cause(error) {
        return (SourceFaultKind::Unusable, format!("AWS is not asked: {url}"));
    }
    // What happened on the way to credentials comes before what happened for want of them.
    if let Some(failure) = cause::<CredentialsError>(error) {
        return no_credentials(failure);
    }
    if let Some(failure) = cause::<ExchangeError>(error) {
        return (SourceFaultKind::Unreachable, format!("AWS: {failure}"));
    }
    let timed_out = match error {
        SdkError::TimeoutError(_) => true,
        SdkError::DispatchFailure(failure) => failure.is_timeout(),
        _ => false,
    };
    match error {
        _ if timed_out => (SourceFaultKind::Unreachable, "AWS did not answer in time".to_owned()),
        SdkError::ConstructionFailure(_) => {
            (SourceFaultKind::Unusable, format!("AWS cannot be asked: {}", innermost(error)))
        }
        SdkError::ResponseError(_) => (
            SourceFaultKind::Unreachable,
            "the answer is none of Secrets Manager; is the endpoint right?".to_owned(),
        ),
        _ => (SourceFaultKind::Unreachable, format!("AWS: {}", innermost(error))),
    }
}

/// An error of the service. Its words are told where they are about names and rights: those about a wrong signature repeat the
/// request, with its headers.
fn refused(code: &str, message: Option<&str>) -> (SourceFaultKind, String) {
    use SourceFaultKind::{Absent, Denied, Unreachable, Unusable};
    let message = message.unwrap_or("AWS says no more");
    match code {
        "ResourceNotFoundException" => {
            (Absent, format!("there is none by that name in this account and region: {message}"))
        }
        // A secret that is about to be deleted, for one.
        "InvalidRequestException" => (Absent, format!("it is in no state to be read: {message}")),
        "AccessDeniedException" | "AccessDenied" => {
            (Denied, format!("secretsmanager:GetSecretValue is not allowed: {message}"))
        }
        "DecryptionFailure" => (Denied, format!("its KMS key does not decrypt it: {message}")),
        "ExpiredTokenException" | "ExpiredToken" => {
            (Denied, format!("the AWS credentials have expired, and nothing gave newer ones: {message}"))
        }
        "UnrecognizedClientException"
        | "InvalidClientTokenId"
        | "InvalidSignatureException"
        | "SignatureDoesNotMatch"
        | "IncompleteSignature"
        | "MissingAuthenticationToken" => (Denied, format!("AWS does not accept the credentials ({code})")),
        "InvalidParameterException" | "ValidationException" => {
            (Unusable, format!("AWS does not take the name or an option: {message}"))
        }
        _ => (Unreachable, format!("AWS answers with {code}")),
    }
}

fn no_credentials(failure: &CredentialsError) -> (SourceFaultKind, String) {
    match failure {
        CredentialsError::CredentialsNotLoaded(_) => (
            SourceFaultKind::Denied,
            "no AWS credentials are found: not in the environment (AWS_ACCESS_KEY_ID), a profile (~/.aws), a web identity \
             (AWS_WEB_IDENTITY_TOKEN_FILE), a container's role (ECS), nor at the instance metadata service (EC2)"
                .to_owned(),
        ),
        CredentialsError::ProviderTimedOut(_) => (
            SourceFaultKind::Unreachable,
            "what gives the AWS credentials did not answer in time".to_owned(),
        ),
        CredentialsError::InvalidConfiguration(_) => (
            SourceFaultKind::Unusable,
            format!("the settings of the AWS credentials do not fit together: {}", innermost(failure)),
        ),
        _ => {
            let refused = cause::<ExchangeError>(failure).is_none();
            let kind = if refused { SourceFaultKind::Denied } else { SourceFaultKind::Unreachable };
            (kind, format!("what gives the AWS credentials failed: {}", innermost(failure)))
        }
    }
}

fn cause<'e, E: Error + 'static>(error: &'e (dyn Error + 'static)) -> Option<&'e E> {
    std::iter::successors(Some(error), |error| (*error).source()).find_map(|error| error.downcast_ref())
}

fn innermost<'e>(error: &'e (dyn Error + 'static)) -> &'e (dyn Error + 'static) {
    std::iter::successors(Some(error), |error| (*error).source()).last().unwrap_or(error)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_refusal_of_aws_says_who_has_to_act() {
        for (code, kind, told) in [
            ("ResourceNotFoundException", SourceFaultKind::Absent, "none by that name in this account"),
            ("InvalidRequestException", SourceFaultKind::Absent, "in no state to be read: its words"),
            ("AccessDeniedException", SourceFaultKind::Denied, "GetSecretValue is not allowed: its words"),
            ("DecryptionFailure", SourceFaultKind::Denied, "its KMS key does not decrypt it: its words"),
            ("ExpiredTokenException", SourceFaultKind::Denied, "have expired"),
            ("UnrecognizedClientException", SourceFaultKind::Denied, "does not accept the credentials"),
            ("InvalidParameterException", SourceFaultKind::Unusable, "does not take the name or an option"),
            ("ThrottlingException", SourceFaultKind::Unreachable, "AWS answers with ThrottlingException"),
            ("InternalServiceError", SourceFaultKind::Unreachable, "AWS answers with InternalServiceError"),
        ] {
            let (found, text) = refused(code, Some("its words"));
            assert_eq!(found, kind, "{code}");
            assert!(text.contains(told), "{code}: {text}");
        }
    }

    #[test]
    fn t34_what_aws_says_of_a_wrong_signature_is_not_told_again() {
        let said = "The Canonical String should have been 'x-amz-security-token:canary'";
        for code in ["InvalidSignatureException", "SignatureDoesNotMatch", "IncompleteSignature"] {
            let (kind, text) = refused(code, Some(said));
            assert_eq!(kind, SourceFaultKind::Denied);
            assert!(text.contains(code) && !text.contains("canary"), "{text}");
        }
    }

    #[test]
    fn what_went_wrong_on_the_way_is_told_from_what_was_refused() {
        for (failure, kind, told) in [
            (
                CredentialsError::not_loaded("nothing"),
                SourceFaultKind::Denied,
                "no AWS credentials are found",
            ),
            (
                CredentialsError::provider_error(ExchangeError::TimedOut),
                SourceFaultKind::Unreachable,
                "no answer within the time allowed",
            ),
            (CredentialsError::provider_error("role refused"), SourceFaultKind::Denied, "role refused"),
            (
                CredentialsError::invalid_configuration("no such profile"),
                SourceFaultKind::Unusable,
                "no such profile",
            ),
        ] {
            let error: SdkError<GetSecretValueError> = SdkError::construction_failure(failure);
            let (found, text) = super::told(&error);
            assert_eq!(found, kind, "{text}");
            assert!(text.contains(told), "{text}");
        }
    }
}
