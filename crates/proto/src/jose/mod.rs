//! Signed tokens and their keys: JWS compact serialization only (RFC 7515), JWK (RFC 7517) and JWT access tokens
//! (RFC 9068), with a closed list of algorithms: ES256, `EdDSA` (Ed25519) and RS256.

pub mod access_token;
pub mod jwk;
pub mod jws;
