//! The public keys that a client is registered with.

use super::credentials::{InvalidCredentials, MAX_CLIENT_JWKS_BYTES, is_text};
use crate::jose::jwk::ClientKeySet;

/// Where the public keys of a client are, by which its assertions are verified.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ClientKeys {
    /// Here: a JWK Set document (RFC 7517 §5) with at least one key that can verify and none that is private, as JSON of at most
    /// [`MAX_CLIENT_JWKS_BYTES`].
    Inline(String),
    /// At this URL: `jwks_uri` of RFC 7591 §2, https, or http to a loopback address.
    Url(String),
}

impl ClientKeys {
    pub(super) fn check(&self) -> Result<(), InvalidCredentials> {
        match self {
            Self::Inline(document) => {
                if document.len() > MAX_CLIENT_JWKS_BYTES {
                    return Err(InvalidCredentials::Keys);
                }
                let set = ClientKeySet::parse(document.as_bytes()).map_err(|_| InvalidCredentials::Keys)?;
                match set.private_key() {
                    Some(private) => Err(InvalidCredentials::PrivateKey(private)),
                    None if set.is_empty() => Err(InvalidCredentials::Keys),
                    None => Ok(()),
                }
            }
            Self::Url(url) => check_url(url).then_some(()).ok_or(InvalidCredentials::KeysUrl),
        }
    }
}

/// Whether `url` is https, or http to a loopback address. Only its beginning is judged: whoever fetches parses it.
pub(super) fn check_url(url: &str) -> bool {
    let authority = |rest: &str| rest.split(['/', '?', '#']).next().unwrap_or_default().to_owned();
    let plain = is_text(url) && !url.contains(['\\', ' ', '"', '<', '>']);
    let reachable = if let Some(rest) = url.strip_prefix("https://") {
        !authority(rest).is_empty() && !authority(rest).contains('@')
    } else if let Some(rest) = url.strip_prefix("http://") {
        let authority = authority(rest);
        let host = authority.rsplit_once(':').map_or(authority.as_str(), |(host, port)| {
            if port.bytes().all(|byte| byte.is_ascii_digit()) { host } else { authority.as_str() }
        });
        matches!(host, "localhost" | "127.0.0.1" | "[::1]")
    } else {
        false
    };
    plain && reachable
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::jose::jwk::PrivateKey;

    #[test]
    fn keys_are_a_set_that_can_verify_or_a_protected_url() {
        let with = |keys: ClientKeys| keys.check().is_ok();
        let url = |url: &str| with(ClientKeys::Url(url.to_owned()));
        for good in
            ["https://a.example/jwks", "http://localhost:80/j", "http://127.0.0.1/j", "http://[::1]:8/j"]
        {
            assert!(url(good), "{good}");
        }
        for bad in [
            "",
            "https://",
            "http://a.example/j",
            "http://localhost@evil.example/",
            "http://127.0.0.1.evil.example/",
            "https://user@a.example/",
            "ftp://localhost/",
            "https://a.example\\@b/",
        ] {
            assert!(!url(bad), "{bad}");
        }
        for bad in ["", "{}", r#"{"keys":[]}"#, r#"{"keys":[{"kty":"oct"}]}"#] {
            assert!(!with(ClientKeys::Inline(bad.to_owned())), "{bad}");
        }
    }

    #[test]
    fn a_private_key_is_refused_beside_a_public_one_and_told_without_anything_of_it() {
        const PUBLIC: &str =
            r#"{"kty":"OKP","crv":"Ed25519","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}"#;
        let private = PUBLIC.replace('}', r#","d":"canary"}"#);
        let symmetric = r#"{"kty":"oct","k":"canary"}"#;
        let unknown = r#"{"kty":"AKP","priv":"canary"}"#;
        // 64 are as many as are looked at for use.
        let many = format!("{PUBLIC},").repeat(64);
        for (key, member) in [(private.as_str(), "d"), (symmetric, "k"), (unknown, "priv")] {
            for (before, position) in [("", 1), (&*format!("{PUBLIC},"), 2), (&*many, 65)] {
                let keys = ClientKeys::Inline(format!(r#"{{"keys":[{before}{key}]}}"#));
                let error = keys.check().unwrap_err();
                let found = PrivateKey { position: Some(position), member };
                assert_eq!(error, InvalidCredentials::PrivateKey(found));
                let message = error.to_string();
                assert!(message.contains(&format!("key {position} ")), "{message}");
                assert!(!message.contains("canary"), "{message}");
            }
        }
    }
}
