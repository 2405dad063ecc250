//! The name of a secret in AWS Secrets Manager, as it is written behind `aws:`.

use crate::credentials::place::InvalidPlace;
use std::fmt;
use std::str::FromStr;

/// A secret in AWS Secrets Manager: `aws:SECRET_ID[#FIELD][?region=…&profile=…&endpoint=…]`.
///
/// `SECRET_ID` is the name or the ARN of the secret. With `FIELD` the secret is a JSON object and this text member of it is meant;
/// without, it is the whole string. The options are written as in the query of a URL, `%26` for an ampersand; what is not given is
/// found as the SDK of AWS finds it, and an ARN tells its region. An endpoint is https, or plain http to this machine or to a host
/// that was [allowed](crate::credentials::Surroundings::plain_http).
///
/// Region, credentials and all other settings come from the environment *of the process*, and from the files and services that the
/// SDK looks into: `AWS_…` variables, a profile, a web identity (EKS), the container's role (ECS), the instance's (EC2). Profiles that
/// log in through a browser (SSO) or start a process are not supported.
///
/// The version `AWSCURRENT` is the current secret, `AWSPREVIOUS` the previous one. It is read
/// [periodically](crate::credentials::Reread::Periodically); a read takes 9 s at most.
///
/// ```
/// use jeton::credentials::AwsPlace;
///
/// let place: AwsPlace = "prod/billing#client_secret?region=eu-central-1".parse()?;
/// assert_eq!(place.to_string(), "the member client_secret of the AWS secret prod/billing");
/// # Ok::<(), jeton::credentials::InvalidPlace>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AwsPlace {
    pub(super) secret_id: String,
    pub(super) field: Option<String>,
    region: Option<String>,
    pub(super) profile: Option<String>,
    pub(super) endpoint: Option<String>,
}

/// What `GetSecretValue` takes.
const MAX_SECRET_ID_BYTES: usize = 2048;
const MAX_WORD_BYTES: usize = 16;
const OPTIONS: &str = "the options are region, profile and endpoint";

impl AwsPlace {
    /// The region that was named, or that of the ARN.
    pub(super) fn region(&self) -> Option<String> {
        self.region.clone().or_else(|| region_of_arn(&self.secret_id).map(str::to_owned))
    }
}

impl FromStr for AwsPlace {
    type Err = InvalidPlace;

    fn from_str(text: &str) -> Result<Self, InvalidPlace> {
        let (name, options) = text.split_once('?').map_or((text, None), |(name, rest)| (name, Some(rest)));
        let (secret_id, field) = name.split_once('#').map_or((name, None), |(id, field)| (id, Some(field)));
        if secret_id.is_empty() {
            return Err(wrong("the name of the secret is missing; write aws:NAME or aws:ARN"));
        }
        if secret_id.len() > MAX_SECRET_ID_BYTES || !secret_id.bytes().all(may_be_in_a_name) {
            return Err(wrong("a name or ARN has letters, digits and /_+=.@:- alone, 2048 at most"));
        }
        if field == Some("") {
            return Err(wrong("the member's name is missing behind the #; write aws:NAME#MEMBER"));
        }
        let mut place = Self {
            secret_id: secret_id.to_owned(),
            field: field.map(str::to_owned),
            region: None,
            profile: None,
            endpoint: None,
        };
        for (name, value) in form_urlencoded::parse(options.unwrap_or_default().as_bytes()) {
            place.set(&name, value.into_owned())?;
        }
        Ok(place)
    }
}

impl AwsPlace {
    fn set(&mut self, name: &str, value: String) -> Result<(), InvalidPlace> {
        let option = match name {
            "region" => &mut self.region,
            "profile" => &mut self.profile,
            "endpoint" => &mut self.endpoint,
            // It is told again where it is a word, as a mistyped one is: what else it may be nobody knows.
            _ if (1..=MAX_WORD_BYTES).contains(&name.len())
                && name.bytes().all(|byte| byte.is_ascii_lowercase()) =>
            {
                return Err(wrong(format!("there is no option {name}; {OPTIONS}")));
            }
            _ => return Err(wrong(format!("there is no such option; {OPTIONS}"))),
        };
        if value.is_empty() {
            return Err(wrong(format!("the option {name} is empty; write {name}=VALUE")));
        }
        if option.replace(value).is_some() {
            return Err(wrong(format!("the option {name} is there twice")));
        }
        Ok(())
    }
}

impl fmt::Display for AwsPlace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.field {
            Some(field) => write!(f, "the member {field} of the AWS secret {}", self.secret_id),
            None => write!(f, "the AWS secret {}", self.secret_id),
        }
    }
}

fn wrong(what: impl fmt::Display) -> InvalidPlace {
    InvalidPlace::form("aws", what)
}

fn may_be_in_a_name(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"/_+=.@:-".contains(&byte)
}

/// `arn:aws:secretsmanager:REGION:ACCOUNT:secret:NAME`.
fn region_of_arn(secret_id: &str) -> Option<&str> {
    let mut parts = secret_id.split(':');
    (parts.next() == Some("arn")).then_some(())?;
    parts.nth(2).filter(|region| !region.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    const ARN: &str = "arn:aws:secretsmanager:eu-west-1:123456789012:secret:prod/billing-a1B2c3";

    #[test]
    fn the_parts_of_a_name_are_told_apart() {
        let place: AwsPlace =
            "prod/a_b+c=d.e@f-g#key?region=eu-west-1&profile=a%26b&endpoint=http://127.0.0.1:5"
                .parse()
                .unwrap();
        assert_eq!(place.secret_id, "prod/a_b+c=d.e@f-g");
        assert_eq!(place.field.as_deref(), Some("key"));
        assert_eq!(place.region().as_deref(), Some("eu-west-1"));
        assert_eq!(place.profile.as_deref(), Some("a&b"));
        assert_eq!(place.endpoint.as_deref(), Some("http://127.0.0.1:5"));

        let place: AwsPlace = "plain".parse().unwrap();
        assert_eq!((place.region(), place.to_string().as_str()), (None, "the AWS secret plain"));
    }

    #[test]
    fn an_arn_tells_its_region_unless_another_is_asked_for() {
        let place = |text: String| text.parse::<AwsPlace>().unwrap();
        assert_eq!(place(ARN.to_owned()).region().as_deref(), Some("eu-west-1"));
        assert_eq!(place(format!("{ARN}?region=us-east-1")).region().as_deref(), Some("us-east-1"));
        assert_eq!(place(format!("{ARN}#key")).secret_id, ARN);
    }

    #[test]
    fn what_is_wrong_is_refused_with_its_reason_and_without_the_text() {
        for (text, reason) in [
            ("", "missing"),
            ("#key", "missing"),
            ("canary name", "letters, digits"),
            ("canary#", "behind the #"),
            ("canary?regoin=x", "no option regoin"),
            ("canary?=x", "no such option; the options are region"),
            ("canary?s3canary", "no such option; the options are region"),
            ("canary?region=", "region is empty"),
            ("canary?region", "region is empty"),
            ("canary?region=a&region=b", "there twice"),
        ] {
            let error = text.parse::<AwsPlace>().unwrap_err().to_string();
            assert!(error.contains(reason) && error.starts_with("aws: "), "{text}: {error}");
            assert!(!error.contains("canary"), "{error}");
        }
    }
}
