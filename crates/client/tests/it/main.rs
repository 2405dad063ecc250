//! The client against token endpoints and APIs: under virtual time in memory, over real sockets, and against servers
//! that others wrote.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test that fails panics"
)]

mod attack;
#[cfg(feature = "aws")]
mod aws;
mod bearer;
mod discovery;
mod fleet;
mod foreign;
#[cfg(all(feature = "keyring", target_os = "linux"))]
mod keyring;
mod lifecycle;
mod methods;
mod negative;
mod outage;
mod rotation;
mod secrecy;
mod shutdown;
mod store;
mod support;
mod tls;
#[cfg(feature = "vault")]
mod vault;
mod wire;
