//! Stores that processes share.

mod conformance;
#[cfg(unix)]
mod file;
mod redis;
