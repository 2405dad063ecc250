//! Which client asks, and which authorization server.

use crate::args::IdentityArgs;
use crate::settings::Found;
use crate::settings::faults::Faults;
use crate::settings::profile::ClientLayers;
use crate::settings::section::{CLIENT_ID, TOKEN_URL};

/// Which client at which authorization server.
#[derive(Debug)]
pub(crate) struct IdentitySettings {
    pub(crate) token_url: Found<String>,
    pub(crate) client_id: String,
}

impl ClientLayers<'_> {
    /// Which client is meant, at which authorization server, or all that is wrong with that.
    pub(crate) fn identity(&self, args: &IdentityArgs) -> Result<IdentitySettings, Faults> {
        let mut faults = Faults::default();
        let token_url = self.text(&TOKEN_URL, args.token_url.as_deref());
        let token_url =
            token_url.and_then(|url| url.ok_or_else(|| self.missing("the token url", &TOKEN_URL.name)));
        let token_url = faults.keep(token_url);
        let client_id = self.text(&CLIENT_ID, args.client_id.as_deref());
        let client_id =
            client_id.and_then(|id| id.ok_or_else(|| self.missing("the client id", &CLIENT_ID.name)));
        let client_id = faults.keep(client_id);
        match (token_url, client_id) {
            (Some(token_url), Some(client_id)) => {
                Ok(IdentitySettings { token_url, client_id: client_id.value })
            }
            (_, _) => Err(faults),
        }
    }
}
