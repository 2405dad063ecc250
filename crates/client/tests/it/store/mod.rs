//! Stores that processes share.

mod conformance;
#[cfg(unix)]
mod file;
#[cfg(feature = "redis")]
mod redis;
