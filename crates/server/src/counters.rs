//! How many token requests were answered, and how.

use crate::endpoint::Limit;
use crate::metrics::OUTCOMES;
use jeton_proto::wire::client_auth::ClientAuthMethod;
use jeton_proto::wire::error_response::ErrorCode;
use std::sync::atomic::{AtomicU64, Ordering};

/// How a token request is told apart by its method: those of RFC 7591, and none.
pub(crate) const METHODS: usize = ClientAuthMethod::ALL.len() + 1;

/// How many requests were answered, by outcome, in the order of [`OUTCOMES`], and by method.
pub(crate) type RequestCounts = [[u64; METHODS]; OUTCOMES.len()];

/// Counts of answered token requests since the server began. Cheap to read at any time.
#[derive(Debug, Default)]
pub struct Counters {
    requests: [[AtomicU64; METHODS]; OUTCOMES.len()],
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
        let requests = self.requests();
        let answered = |outcome: usize| requests.get(outcome).map_or(0, |row| row.iter().sum());
        let refused = |code: ErrorCode| answered(outcome_of(&code));
        let limited = [&self.limited_client, &self.limited_failures, &self.limited_mint_per_call].map(read);
        let unavailable: u64 = refused(ErrorCode::TemporarilyUnavailable);
        let [limited_client, limited_failures, limited_mint_per_call] = limited;
        CounterValues {
            granted: answered(GRANTED),
            invalid_request: refused(ErrorCode::InvalidRequest),
            invalid_client: refused(ErrorCode::InvalidClient),
            unsupported_grant_type: refused(ErrorCode::UnsupportedGrantType),
            invalid_scope: refused(ErrorCode::InvalidScope),
            invalid_target: refused(ErrorCode::InvalidTarget),
            server_error: refused(ErrorCode::ServerError),
            other: refused(ErrorCode::InvalidGrant)
                + refused(ErrorCode::UnauthorizedClient)
                + unavailable.saturating_sub(limited.iter().sum())
                + answered(OUTCOMES.len() - 1),
            limited_client,
            limited_failures,
            limited_mint_per_call,
            minted_per_call: read(&self.minted_per_call),
            same_token: read(&self.same_token),
            connections_refused: read(&self.connections_refused),
        }
    }

    /// How many requests were answered how, by which method.
    pub(crate) fn requests(&self) -> RequestCounts {
        self.requests.each_ref().map(|row| row.each_ref().map(|counter| counter.load(Ordering::Relaxed)))
    }

    pub(crate) fn count_granted(&self, method: Option<ClientAuthMethod>) {
        self.count(GRANTED, method);
    }

    /// Counts a refusal, which may be by a limit on callers.
    pub(crate) fn count_refused(
        &self,
        code: &ErrorCode,
        limit: Option<Limit>,
        method: Option<ClientAuthMethod>,
    ) {
        self.count(outcome_of(code), method);
        let limited = match limit {
            Some(Limit::ClientRequests) => &self.limited_client,
            Some(Limit::Failures) => &self.limited_failures,
            Some(Limit::MintPerCall) => &self.limited_mint_per_call,
            None => return,
        };
        limited.fetch_add(1, Ordering::Relaxed);
    }

    fn count(&self, outcome: usize, method: Option<ClientAuthMethod>) {
        if let Some(counter) = self.requests.get(outcome).and_then(|row| row.get(method_index(method))) {
            counter.fetch_add(1, Ordering::Relaxed);
        }
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
}

const GRANTED: usize = 0;

/// Where `code` stands in [`OUTCOMES`].
const fn outcome_of(code: &ErrorCode) -> usize {
    match code {
        ErrorCode::InvalidRequest => 1,
        ErrorCode::InvalidClient => 2,
        ErrorCode::InvalidGrant => 3,
        ErrorCode::UnauthorizedClient => 4,
        ErrorCode::UnsupportedGrantType => 5,
        ErrorCode::InvalidScope => 6,
        ErrorCode::InvalidTarget => 7,
        ErrorCode::ServerError => 8,
        ErrorCode::TemporarilyUnavailable => 9,
        ErrorCode::Other(_) => OUTCOMES.len() - 1,
    }
}

fn method_index(method: Option<ClientAuthMethod>) -> usize {
    let known = |method| ClientAuthMethod::ALL.iter().position(|known| *known == method);
    method.and_then(known).unwrap_or(METHODS - 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_request_is_counted_once_whatever_refused_it() {
        let counters = Counters::default();
        let basic = Some(ClientAuthMethod::ClientSecretBasic);
        let codes = [
            ErrorCode::InvalidRequest,
            ErrorCode::InvalidClient,
            ErrorCode::InvalidGrant,
            ErrorCode::UnauthorizedClient,
            ErrorCode::UnsupportedGrantType,
            ErrorCode::InvalidScope,
            ErrorCode::InvalidTarget,
            ErrorCode::ServerError,
            ErrorCode::TemporarilyUnavailable,
            ErrorCode::Other("x".into()),
        ];
        counters.count_granted(basic);
        for (at, code) in codes.iter().enumerate() {
            counters.count_refused(code, None, basic.filter(|_| at % 2 == 0));
            let name = if matches!(code, ErrorCode::Other(_)) { "other" } else { code.as_str() };
            assert_eq!(OUTCOMES.iter().position(|outcome| *outcome == name), Some(at + 1));
        }
        for limit in [Limit::ClientRequests, Limit::Failures, Limit::MintPerCall, Limit::Failures] {
            counters.count_refused(&ErrorCode::TemporarilyUnavailable, Some(limit), basic);
        }
        let values = counters.values();
        assert_eq!((values.granted, values.refused(), values.requests()), (1, 14, 15));
        assert_eq!((values.other, values.limited_failures, values.server_error), (4, 2, 1));
        let told: u64 = counters.requests().iter().flatten().sum();
        assert_eq!(told, 15);
    }
}
