//! A profile in short, as the settings file has it.

use super::ClientLayers;
use crate::settings::Found;
use crate::settings::section::{AUTH_METHOD, CLIENT_ID, SCOPES, TOKEN_URL};
use jeton::ClientAuthMethod;

/// What a profile says, with what it takes from the top of the settings file. What is not set is `None`, and so is a place of a
/// secret that cannot be told.
#[derive(Debug)]
pub(crate) struct ProfileSummary {
    pub(crate) name: String,
    pub(crate) token_url: Option<String>,
    pub(crate) client_id: Option<String>,
    pub(crate) auth_method: String,
    pub(crate) scope: Option<String>,
    /// Where the secret is.
    pub(crate) secret: Option<String>,
}

impl ClientLayers<'_> {
    /// The profile in short. Reads no secret, and no variable.
    pub(crate) fn summary(&self) -> ProfileSummary {
        let text = |found: Option<Found<String>>| found.map(|found| found.value);
        let scopes = self.in_file(&SCOPES).map(|found| found.value.join(" "));
        let auth_method = text(self.in_file(&AUTH_METHOD));
        ProfileSummary {
            name: self.name().map(ToString::to_string).unwrap_or_default(),
            token_url: text(self.in_file(&TOKEN_URL)),
            client_id: text(self.in_file(&CLIENT_ID)),
            auth_method: auth_method.unwrap_or_else(|| ClientAuthMethod::default().to_string()),
            scope: scopes.filter(|scopes| !scopes.is_empty()),
            // What is no place may be the secret itself.
            secret: self.secret_in_file().ok().flatten().map(|found| found.told()),
        }
    }
}
