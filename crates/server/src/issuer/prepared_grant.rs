//! What is made of a grant before a token is.

use crate::endpoint::Granted;
use crate::throttle::PerCall;
use jeton_proto::issuance::{Grant, RegisteredClient};
use jeton_proto::jose::access_token::CommonClaims;
use std::sync::Arc;

/// All that the tokens of one grant to one client have in common.
#[derive(Debug)]
pub(crate) struct PreparedGrant {
    pub(crate) granted: Arc<Granted>,
    pub(crate) claims: CommonClaims,
    /// By what it is counted that a client asks for it again.
    pub(crate) mint_key: u64,
}

impl PreparedGrant {
    pub(super) fn new(
        issuer: &str,
        client: &RegisteredClient,
        grant: &Grant<'_>,
        per_call: &PerCall,
    ) -> Self {
        let client_id = client.settings().client_id.as_str();
        let audience = grant.audience.join(" ");
        let scope = grant.scope.to_text();
        Self {
            claims: CommonClaims::new(issuer, &grant.audience, client_id, Some(&grant.scope)),
            mint_key: per_call.key(client_id, &scope, &audience),
            granted: Arc::new(Granted::new(client_id, Some(scope), &audience)),
        }
    }
}
