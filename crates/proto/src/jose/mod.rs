//! Signed tokens and their keys: JWS compact serialization only (RFC 7515), JWK (RFC 7517) and JWT access tokens
//! (RFC 9068), with a closed list of algorithms: ES256, `EdDSA` (Ed25519) and RS256. Client assertions (RFC 7523) are
//! signed and verified with PS256 and HS256 besides. Of a certificate (RFC 5280) the names are read.

pub mod access_token;
pub mod assertion_key;
pub mod assertion_verification;
pub mod certificate_names;
pub mod client_assertion;
pub mod distinguished_name;
pub mod jwk;
pub mod jws;

mod assertion_algorithm;
mod der;
