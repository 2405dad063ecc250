//! Verifying a token with the keys of its issuer.

use crate::exit_code::ExitCode;
use crate::failure::Failure;
use crate::settings::NetworkSettings;
use jeton_guard::{Guard, Refusal};

/// Checks signature, issuer, audience, type and times, as an API would.
pub(super) async fn verify(
    issuer: &str,
    audience: &str,
    token: &str,
    network: &NetworkSettings,
) -> Result<(), Failure> {
    let guard = Guard::builder(issuer, audience)
        .plain_http(network.plain_http.clone())
        .tls_roots(network.tls_roots.clone())
        .build()
        .map_err(|error| Failure::new(ExitCode::Usage, format!("--issuer: {error}")))?;
    match guard.check(token).await {
        Ok(_principal) => Ok(()),
        Err(refusal @ (Refusal::KeysUnavailable(_) | Refusal::RevocationsStale(_))) => {
            Err(Failure::of(ExitCode::ServerUnreachable, &refusal))
        }
        Err(
            refusal @ (Refusal::InvalidToken(_)
            | Refusal::NoCredentials
            | Refusal::InvalidRequest(_)
            | Refusal::InsufficientScope { .. }),
        ) => Err(Failure::new(ExitCode::Other, format!("the token is not valid: {refusal}"))),
    }
}
