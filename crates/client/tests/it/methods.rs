//! Every way in which a client proves who it is, as it goes over the wire.

mod assertions;
mod mutual_tls;
mod settings;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::Value;

/// A part of a JWT: 0 is the header, 1 the claims.
pub(crate) fn part(assertion: &str, number: usize) -> Value {
    let part = assertion.split('.').nth(number).unwrap();
    serde_json::from_slice(&URL_SAFE_NO_PAD.decode(part).unwrap()).unwrap()
}
