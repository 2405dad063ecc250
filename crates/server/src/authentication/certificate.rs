//! Authentication by the certificate of the connection (RFC 8705 §2).

use super::{Authenticated, Failure};
use crate::client_certificate::{CertificateTrust, ClientCertificate};
use crate::registry::KnownClient;
use jeton_proto::issuance::{
    AuthenticationFailure, CertificateThumbprint, RegisteredClient, Rule, check_status,
};
use jeton_proto::jose::certificate_names::CertificateNames;
use jeton_proto::jose::jwk::ClientKeySet;
use jeton_proto::wire::client_auth::ClientAuthMethod;
use std::sync::Arc;

/// Whether the certificate is `client`'s: one that is registered itself, alone or in a key of its set, or one of a trusted
/// authority with the name that is registered. Its tokens are bound to the certificate (RFC 8705 §3).
pub(super) fn authenticate(
    certificate: &ClientCertificate,
    client: Option<&Arc<KnownClient>>,
    keys: Option<&ClientKeySet>,
) -> Result<Authenticated, Failure> {
    let thumbprint = CertificateThumbprint::of(&certificate.der);
    // Read for whoever asks, so that the time tells nothing of which clients there are.
    let names = CertificateNames::parse(&certificate.der);
    let client = client.ok_or(AuthenticationFailure::UnknownClient)?;
    let credentials = client.credentials();
    let in_keys = keys.is_some_and(|keys| keys.certificates().contains(&thumbprint.0));
    let method = if in_keys || credentials.certificates.contains(&thumbprint) {
        ClientAuthMethod::SelfSignedTlsClientAuth
    } else {
        let names = names.map_err(|error| refused(error.to_string()))?;
        named(certificate.trust, &names, client)?;
        ClientAuthMethod::TlsClientAuth
    };
    check_status(client)?;
    Ok(Authenticated { client: Arc::clone(client), method, credential: None, confirmation: Some(thumbprint) })
}

fn named(
    trust: CertificateTrust,
    names: &CertificateNames,
    client: &RegisteredClient,
) -> Result<(), Failure> {
    let Some(subject) = &client.credentials().tls_subject else {
        return Err(refused("the client has no certificate like the one of the connection".to_owned()));
    };
    match trust {
        CertificateTrust::Presented => {
            Err(refused("the certificate is of no authority that the server trusts".to_owned()))
        }
        CertificateTrust::Anchored if names.has(subject) => Ok(()),
        CertificateTrust::Anchored => {
            Err(refused(format!("the certificate does not have the client's {}", subject.member())))
        }
    }
}

fn refused(detail: String) -> Failure {
    Failure::Refused { rule: Rule::CertificateWrong, detail }
}

#[cfg(test)]
mod tests;
