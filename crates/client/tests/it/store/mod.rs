//! Stores that processes share.

mod conformance;
