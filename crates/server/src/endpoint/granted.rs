//! What tokens have in common.

use crate::audit::Members;
use crate::http::shown;

/// To whom a token is granted, and for what.
///
/// ```
/// use jeton_server::endpoint::Granted;
///
/// let granted = Granted::new("orders-worker", Some("orders:read".to_owned()), "https://orders.example");
/// assert_eq!(granted.scope(), Some("orders:read"));
/// ```
#[derive(Debug)]
pub struct Granted {
    client_id: String,
    scope: Option<String>,
    /// What the audit log says of it.
    members: Members,
}

impl Granted {
    /// A grant to the client `client_id`. The scope is left out of the answer when it is `None` or empty. `audience` is the `aud` of
    /// the token, space-delimited: for the audit log, it is not in the answer.
    #[must_use]
    pub fn new(client_id: &str, scope: Option<String>, audience: &str) -> Self {
        let client_id = shown(client_id).into_owned();
        let scope = scope.filter(|scope| !scope.is_empty());
        let members = Members::default()
            .text("client_id", &client_id)
            .text("scope", scope.as_deref().unwrap_or_default())
            .text("audience", audience);
        Self { client_id, scope, members }
    }

    /// The client, as the logs show it.
    #[must_use]
    pub fn client_id(&self) -> &str {
        &self.client_id
    }

    /// The scope; never empty.
    #[must_use]
    pub fn scope(&self) -> Option<&str> {
        self.scope.as_deref()
    }

    pub(crate) const fn members(&self) -> &Members {
        &self.members
    }
}
