//! How many token requests were answered, and how.

use crate::endpoint::Limit;
use jeton_proto::wire::error_response::ErrorCode;
use std::sync::atomic::{AtomicU64, Ordering};

/// Counts of answered token requests since the server began. Cheap to read at any time.
#[derive(Debug, Default)]
pub struct Counters {
    granted: AtomicU64,
    invalid_request: AtomicU64,
    invalid_client: AtomicU64,
    unsupported_grant_type: AtomicU64,
    invalid_scope: AtomicU64,
    invalid_target: AtomicU64,
    server_error: AtomicU64,
    other: AtomicU64,
    limited_client: AtomicU64,
    limited_failures: AtomicU64,
    limited_mint_per_call: AtomicU64,
    minted_per_call: AtomicU64,
    same_token: AtomicU64,
    connections_refused: AtomicU64,
}

/// The counts at one moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CounterValues {
    /// Requests answered with a token.
    pub granted: u64,
    /// Requests answered with `invalid_request`, those that were no token requests at all included.
    pub invalid_request: u64,
    /// Requests answered with `invalid_client`.
    pub invalid_client: u64,
    /// Requests answered with `unsupported_grant_type`.
    pub unsupported_grant_type: u64,
    /// Requests answered with `invalid_scope`.
    pub invalid_scope: u64,
    /// Requests answered with `invalid_target`.
    pub invalid_target: u64,
    /// Requests answered with `server_error`.
    pub server_error: u64,
    /// Requests answered with another error.
    pub other: u64,
    /// Requests answered with 429: the client had used up its requests.
    pub limited_client: u64,
    /// Requests answered with 429: too many failed authentications.
    pub limited_failures: u64,
    /// Requests answered with 429: the client mints per call.
    pub limited_mint_per_call: u64,
    /// Requests of clients that mint per call, whatever was done about it.
    pub minted_per_call: u64,
    /// Those of them that were granted the token that the client had already.
    pub same_token: u64,
    /// Connections that were closed unheard: their address had too many of them.
    pub connections_refused: u64,
}

impl CounterValues {
    /// Requests answered with an error.
    #[must_use]
    pub const fn refused(&self) -> u64 {
        self.invalid_request
            + self.invalid_client
            + self.unsupported_grant_type
            + self.invalid_scope
            + self.invalid_target
            + self.server_error
            + self.other
            + self.limited_client
            + self.limited_failures
            + self.limited_mint_per_call
    }

    /// All requests that were answered.
    #[must_use]
    pub const fn requests(&self) -> u64 {
        self.granted + self.refused()
    }
}

impl Counters {
    /// The counts now. They are read one after the other, so requests in between may be in some and not in others.
    pub fn values(&self) -> CounterValues {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        CounterValues {
            granted: read(&self.granted),
            invalid_request: read(&self.invalid_request),
            invalid_client: read(&self.invalid_client),
            unsupported_grant_type: read(&self.unsupported_grant_type),
            invalid_scope: read(&self.invalid_scope),
            invalid_target: read(&self.invalid_target),
            server_error: read(&self.server_error),
            other: read(&self.other),
            limited_client: read(&self.limited_client),
            limited_failures: read(&self.limited_failures),
            limited_mint_per_call: read(&self.limited_mint_per_call),
            minted_per_call: read(&self.minted_per_call),
            same_token: read(&self.same_token),
            connections_refused: read(&self.connections_refused),
        }
    }

    pub(crate) fn count_granted(&self) {
        self.granted.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn count_limited(&self, limit: Limit) {
        let counter = match limit {
            Limit::ClientRequests => &self.limited_client,
            Limit::Failures => &self.limited_failures,
            Limit::MintPerCall => &self.limited_mint_per_call,
        };
        counter.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn count_minted_per_call(&self) {
        self.minted_per_call.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn count_same_token(&self) {
        self.same_token.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn count_connection_refused(&self) {
        self.connections_refused.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn count_refused(&self, code: &ErrorCode) {
        let counter = match code {
            ErrorCode::InvalidRequest => &self.invalid_request,
            ErrorCode::InvalidClient => &self.invalid_client,
            ErrorCode::UnsupportedGrantType => &self.unsupported_grant_type,
            ErrorCode::InvalidScope => &self.invalid_scope,
            ErrorCode::InvalidTarget => &self.invalid_target,
            ErrorCode::ServerError => &self.server_error,
            ErrorCode::InvalidGrant
            | ErrorCode::UnauthorizedClient
            | ErrorCode::TemporarilyUnavailable
            | ErrorCode::Other(_) => &self.other,
        };
        counter.fetch_add(1, Ordering::Relaxed);
    }
}
