//! The secrets that are kept sealed with a client, under another server key.

use super::{RegistryError, document, sealing_name};
use crate::server_key::Sealer;

/// A client's document with its secrets sealed anew.
#[derive(Debug)]
pub(crate) struct ResealedSecrets {
    /// The document; `None` when nothing is to be written.
    pub(crate) body: Option<String>,
    /// Whether every secret could be opened. One that could not is as it was.
    pub(crate) opened_all: bool,
}

/// The document `body` of a client with every sealed secret under the key that was given to `sealer`.
pub(crate) fn reseal_secrets(
    client_id: &str,
    body: &str,
    sealer: &Sealer,
) -> Result<ResealedSecrets, RegistryError> {
    let mut resealed = ResealedSecrets { body: None, opened_all: true };
    // One that cannot be read is of a newer program, or nobody's.
    let Ok(mut record) = document::parse(client_id, body) else { return Ok(resealed) };
    let mut changed = false;
    for secret in &mut record.credentials.secrets {
        let name = sealing_name(client_id, &secret.name);
        let Some(kept) = secret.sealed.as_mut().filter(|kept| !sealer.is_under_given(&name, kept)) else {
            continue;
        };
        match sealer.open(&name, kept) {
            Ok(opened) => {
                *kept = sealer.seal(Some(sealer.given()), &name, opened.expose())?;
                changed = true;
            }
            Err(_) => resealed.opened_all = false,
        }
    }
    if changed {
        let rendered = document::render(&record);
        resealed.body = Some(rendered.map_err(|error| super::damaged(client_id, &error.to_string()))?);
    }
    Ok(resealed)
}
