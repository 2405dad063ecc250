//! What a token is asked for.

use jeton_proto::wire::scope::{InvalidScope, Scope};

/// What a token is asked for: scope, resource, audience and parameters of a vendor. Two keys that are equal share one
/// token; scopes are compared as sets (RFC 6749 §3.3).
///
/// ```
/// use jeton::TokenKey;
///
/// assert_eq!(TokenKey::scope("orders:write orders:read")?, TokenKey::scope("orders:read orders:write")?);
/// assert_ne!(TokenKey::scope("orders:read")?, TokenKey::default());
/// # Ok::<(), jeton::InvalidScope>(())
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct TokenKey {
    pub(crate) scope: Option<Scope>,
    pub(crate) resources: Vec<String>,
    pub(crate) audience: Option<String>,
    pub(crate) extra: Vec<(String, String)>,
}

impl TokenKey {
    /// A token with the scope tokens of `scope`, space-delimited.
    ///
    /// # Errors
    /// When a scope token has a character that RFC 6749 §3.3 does not allow.
    pub fn scope(scope: &str) -> Result<Self, InvalidScope> {
        Ok(Self { scope: Some(scope.parse()?), ..Self::default() })
    }

    /// A token with whatever scope the server grants by default.
    #[must_use]
    pub fn default_scope() -> Self {
        Self::default()
    }

    /// Asks for a token for `resource`, an absolute URI; may be given several times (RFC 8707 §2).
    #[must_use]
    pub fn with_resource(mut self, resource: impl Into<String>) -> Self {
        self.resources.push(resource.into());
        self.resources.sort_unstable();
        self.resources.dedup();
        self
    }

    /// Asks for a token for `audience`, for servers that do not know `resource`.
    #[must_use]
    pub fn with_audience(mut self, audience: impl Into<String>) -> Self {
        self.audience = Some(audience.into());
        self
    }

    /// Sends a parameter of a vendor along. A name that has a setting of its own here is refused by the token request.
    #[must_use]
    pub fn with_parameter(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.extra.push((name.into(), value.into()));
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn t20_empty_is_not_absent_and_order_does_not_matter() {
        assert_ne!(TokenKey::scope("").unwrap(), TokenKey::default_scope());
        let both = |first: &str, second: &str| TokenKey::default().with_resource(first).with_resource(second);
        assert_eq!(both("https://a", "https://b"), both("https://b", "https://a"));
        assert_ne!(TokenKey::default().with_audience("ab"), TokenKey::default().with_parameter("a", "b"));
    }
}
