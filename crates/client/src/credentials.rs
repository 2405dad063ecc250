//! What a client proves itself with.

use jeton_proto::secret::Secret;
use jeton_proto::wire::client_auth::{BasicEncoding, ClientAuthMethod, ColonInClientId, basic_authorization};
use jeton_proto::wire::token_request::BodyCredential;

/// A client id with its secret, and the method by which they are sent (RFC 6749 §2.3.1).
#[derive(Clone, Debug)]
pub(crate) struct Credential {
    pub(crate) client_id: String,
    pub(crate) client_secret: Secret<String>,
    pub(crate) method: ClientAuthMethod,
    pub(crate) basic_encoding: BasicEncoding,
}

impl Credential {
    /// The `Authorization` value, where the method uses the header.
    pub(crate) fn header(&self) -> Result<Option<http::HeaderValue>, ColonInClientId> {
        match self.method {
            ClientAuthMethod::ClientSecretBasic => {
                basic_authorization(&self.client_id, &self.client_secret, self.basic_encoding).map(Some)
            }
            ClientAuthMethod::ClientSecretPost => Ok(None),
        }
    }

    /// The parameters, where the method uses the body. Never both.
    pub(crate) fn body(&self) -> Option<BodyCredential<'_>> {
        match self.method {
            ClientAuthMethod::ClientSecretBasic => None,
            ClientAuthMethod::ClientSecretPost => {
                Some(BodyCredential { client_id: &self.client_id, client_secret: &self.client_secret })
            }
        }
    }
}
