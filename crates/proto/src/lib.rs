//! Vocabulary and decisions of jeton, the OAuth 2.0 client-credentials system.
//!
//! Everything here is pure: values in (`now`, a jitter fraction), values out. There is no async, clock, random
//! source, file or socket in this crate; the crates around it (`jeton`, `jeton-guard`, `jeton-server`) are the
//! drivers. Most callers do not need this crate directly: they use the one that drives it.
//!
//! - [`wire`]: what goes over the wire, parsed strictly and rendered exactly (RFC 6749, 6750, 8414).
//! - [`jose`]: signed tokens and keys (RFC 7515, 7517, 9068), compact form only, a closed list of algorithms.
//! - [`lifecycle`], [`backoff`], [`replay`]: what a client does with a cached token, a failure, a refused call.
//! - [`credential`]: which of its credentials a client uses while they are replaced.
//! - [`gate`], [`breaker`], [`quota`]: whether it may ask the endpoint at all. [`skew`]: how far apart the clocks are.
//! - [`method_choice`]: how a client authenticates, of what the server's metadata offers.
//! - [`issuance`]: what an authorization server answers to a token request. [`throttle`]: how it slows failures down.
//!   [`mint_per_call`]: which of its clients do not keep their tokens. [`rotation`]: which of its keys signs, and when.
//! - [`introspection`], [`revocation`]: what it tells of a token, and how one ends early.
//! - [`verification`]: what a resource server makes of a bearer token.

pub mod backoff;
pub mod breaker;
pub mod credential;
pub mod flight;
pub mod gate;
pub mod hindsight;
pub mod introspection;
pub mod issuance;
pub mod jose;
pub mod lifecycle;
pub mod method_choice;
pub mod mint_per_call;
pub mod quota;
pub mod replay;
pub mod revocation;
pub mod rotation;
pub mod secret;
pub mod skew;
pub mod throttle;
pub mod time;
pub mod verification;
pub mod wire;
