//! How a client authenticates where it has the server's metadata: the best method of those that the server lists and
//! the client has something for.

#[cfg(test)]
mod tests;

use crate::jose::assertion_key::AssertionAlgorithm;
use crate::wire::client_auth::ClientAuthMethod;
use crate::wire::error_response::printable;
use crate::wire::metadata::AuthorizationServerMetadata;
use std::fmt;

/// The most characters that an error repeats of what a server lists.
const MAX_LISTED: usize = 200;

/// Something that a client can authenticate with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HeldCredential<'a> {
    /// A client secret.
    Secret,
    /// A private key, with the algorithms that it may sign with:
    /// [`AssertionKey::possible_algorithms`](crate::jose::assertion_key::AssertionKey::possible_algorithms).
    PrivateKey(&'a [AssertionAlgorithm]),
    /// A certificate with its key, for mutual TLS.
    Certificate,
}

/// A method, and what its assertions are signed with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ChosenMethod {
    /// The method.
    pub method: ClientAuthMethod,
    /// The algorithm, where the method has assertions.
    pub algorithm: Option<AssertionAlgorithm>,
}

/// Every method, the best first. What never leaves the client, a key, comes before a secret. Of the three for a secret,
/// Basic is first, for RFC 6749 §2.3.1 wants every server to have it.
const BY_RANK: [ClientAuthMethod; 6] = [
    ClientAuthMethod::PrivateKeyJwt,
    ClientAuthMethod::TlsClientAuth,
    ClientAuthMethod::SelfSignedTlsClientAuth,
    ClientAuthMethod::ClientSecretBasic,
    ClientAuthMethod::ClientSecretPost,
    ClientAuthMethod::ClientSecretJwt,
];

/// Chooses a method by `metadata` for a client that has `having`, in whatever order.
///
/// A server that lists no methods has `client_secret_basic` (RFC 8414 §2). An RSA key signs PS256 where the server lists
/// that, else RS256; where the server lists no algorithms, a key signs what it does by default.
///
/// ```
/// use jeton_proto::method_choice::{HeldCredential, choose_method};
/// use jeton_proto::wire::{client_auth::ClientAuthMethod, metadata::AuthorizationServerMetadata};
///
/// let document = br#"{"issuer":"https://as.example","token_endpoint":"https://as.example/token",
///     "token_endpoint_auth_methods_supported":["client_secret_post"]}"#;
/// let metadata = AuthorizationServerMetadata::parse(document, "https://as.example")?;
/// let chosen = choose_method(&metadata, &[HeldCredential::Secret])?;
/// assert_eq!(chosen.method, ClientAuthMethod::ClientSecretPost);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// # Errors
/// [`NoMethod`] names what the server offers and what the client has.
pub fn choose_method(
    metadata: &AuthorizationServerMetadata,
    having: &[HeldCredential<'_>],
) -> Result<ChosenMethod, NoMethod> {
    let listed = metadata.token_endpoint_auth_methods_supported.as_deref();
    let algorithms = metadata.token_endpoint_auth_signing_alg_values_supported.as_deref();
    let mut unsigned = None;
    for method in BY_RANK {
        let is_listed = listed.map_or(method == ClientAuthMethod::default(), |listed| {
            listed.iter().any(|name| name == method.as_str())
        });
        for held in having.iter().filter(|held| is_listed && held.is_for(method)) {
            match held.algorithm(method, algorithms) {
                Signature::None => return Ok(ChosenMethod { method, algorithm: None }),
                Signature::By(algorithm) => return Ok(ChosenMethod { method, algorithm: Some(algorithm) }),
                Signature::NoCommon => unsigned = unsigned.or(Some((method, held))),
            }
        }
    }
    Err(match unsigned {
        Some((method, held)) => {
            NoMethod::Algorithm { method, offered: list(algorithms), having: held.algorithms() }
        }
        None => NoMethod::Method {
            offered: listed
                .map_or_else(|| ClientAuthMethod::default().to_string(), |listed| list(Some(listed))),
            having: names(having.iter()),
        },
    })
}

/// Why no method can be chosen.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NoMethod {
    /// The server has no method for anything that the client has.
    #[error("the server offers the methods {offered}; the client has {having}")]
    Method {
        /// What the server lists, printable and cut short.
        offered: String,
        /// What the client has.
        having: String,
    },
    /// The server has the method, but none of the algorithms.
    #[error("the server takes {method} signed with {offered}; the key of the client signs {having}")]
    Algorithm {
        /// The method.
        method: ClientAuthMethod,
        /// What the server lists, printable and cut short.
        offered: String,
        /// What the client's key signs.
        having: String,
    },
}

enum Signature {
    None,
    By(AssertionAlgorithm),
    NoCommon,
}

impl HeldCredential<'_> {
    fn is_for(&self, method: ClientAuthMethod) -> bool {
        match method {
            ClientAuthMethod::ClientSecretBasic
            | ClientAuthMethod::ClientSecretPost
            | ClientAuthMethod::ClientSecretJwt => *self == Self::Secret,
            ClientAuthMethod::PrivateKeyJwt => matches!(self, Self::PrivateKey(_)),
            ClientAuthMethod::TlsClientAuth | ClientAuthMethod::SelfSignedTlsClientAuth => {
                *self == Self::Certificate
            }
        }
    }

    /// What an assertion by this method is signed with, of the algorithms that the server lists.
    fn algorithm(&self, method: ClientAuthMethod, listed: Option<&[String]>) -> Signature {
        let possible = match (method, self) {
            (ClientAuthMethod::ClientSecretJwt, _) => [AssertionAlgorithm::Hs256].as_slice(),
            (ClientAuthMethod::PrivateKeyJwt, Self::PrivateKey(algorithms)) => algorithms,
            (ClientAuthMethod::PrivateKeyJwt, Self::Secret | Self::Certificate) => {
                return Signature::NoCommon;
            }
            (
                ClientAuthMethod::ClientSecretBasic
                | ClientAuthMethod::ClientSecretPost
                | ClientAuthMethod::TlsClientAuth
                | ClientAuthMethod::SelfSignedTlsClientAuth,
                _,
            ) => return Signature::None,
        };
        let Some(listed) = listed else {
            return possible.first().copied().map_or(Signature::NoCommon, Signature::By);
        };
        let common = |algorithm: &&AssertionAlgorithm| listed.iter().any(|name| name == algorithm.as_str());
        // PSS has a proof of its security that the older padding has not.
        let rank = |algorithm: &&AssertionAlgorithm| **algorithm == AssertionAlgorithm::Ps256;
        possible.iter().filter(common).max_by_key(rank).copied().map_or(Signature::NoCommon, Signature::By)
    }

    fn algorithms(&self) -> String {
        match self {
            Self::PrivateKey(algorithms) => names(algorithms.iter()),
            Self::Secret | Self::Certificate => AssertionAlgorithm::Hs256.to_string(),
        }
    }
}

impl fmt::Display for HeldCredential<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Secret => "a client secret",
            Self::PrivateKey(_) => "a private key",
            Self::Certificate => "a certificate",
        })
    }
}

/// What the server lists, fit for a log line.
fn list(listed: Option<&[String]>) -> String {
    let listed = listed.unwrap_or_default();
    let joined: String = printable(&listed.join(", ")).chars().take(MAX_LISTED).collect();
    if joined.is_empty() { "(none)".to_owned() } else { joined }
}

fn names(having: impl Iterator<Item = impl fmt::Display>) -> String {
    let names: Vec<String> = having.map(|one| one.to_string()).collect();
    if names.is_empty() { "nothing".to_owned() } else { names.join(", ") }
}
