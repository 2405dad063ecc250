//! What is set for the limits on callers.

use jeton_proto::mint_per_call::MintPolicy;
use jeton_proto::quota::QuotaPolicy;
use std::time::Duration;

/// Limits on what callers ask of the token endpoint. Failed authentications are always slowed down.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Throttling {
    /// How many token requests each client may make. Only requests of a client that proved who it is are counted, so
    /// nobody else can use it up. Default: 50 a second and 500 at once.
    pub client_requests: RequestRate,
    /// What is done about clients that ask for a new token for every call. Default: warn.
    pub mint_per_call: MintPerCall,
    /// From how many tokens on within the life of one a client, from one address and for one scope and audience, is said
    /// to mint per call. Default: 100.
    pub mints_per_token_life: MintPolicy,
}

/// How many token requests a client may make.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RequestRate {
    /// As many as it likes.
    Off,
    /// No more than this; 429 for those beyond.
    AtMost(QuotaPolicy),
}

impl RequestRate {
    /// The default number of requests a second.
    pub const DEFAULT_PER_SECOND: u32 = 50;
    /// The default number of requests at once.
    pub const DEFAULT_BURST: u32 = 500;

    /// `per_second` requests a second, from 1 to 100,000, and `burst` at once, from 1 to 100,000.
    ///
    /// # Errors
    /// [`InvalidRequestRate`] when a number is out of its bounds.
    pub fn new(per_second: u32, burst: u32) -> Result<Self, InvalidRequestRate> {
        if !(1..=100_000).contains(&per_second) {
            return Err(InvalidRequestRate::PerSecond);
        }
        if !(1..=100_000).contains(&burst) {
            return Err(InvalidRequestRate::Burst);
        }
        let span = Duration::from_secs(1) / per_second * burst;
        Ok(Self::AtMost(QuotaPolicy::spread(burst, span)))
    }
}

impl Default for RequestRate {
    fn default() -> Self {
        Self::new(Self::DEFAULT_PER_SECOND, Self::DEFAULT_BURST).unwrap_or(Self::Off)
    }
}

/// A request rate that is out of bounds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidRequestRate {
    /// The requests a second.
    #[error("the token requests of a client a second are from 1 to 100000, or off")]
    PerSecond,
    /// The requests at once.
    #[error("the token requests of a client at once are from 1 to 100000")]
    Burst,
}

/// What is done about clients that ask for a new token for every call.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum MintPerCall {
    /// Nothing.
    Off,
    /// A line in the log, once an hour for each client, and a count.
    #[default]
    Warn,
    /// The same, and 429 with `Retry-After` and a description that says what to do.
    Refuse,
    /// The same as [`MintPerCall::Warn`], and the token that the client was given last, with what is left of its life,
    /// while that is more than half.
    SameToken,
}

impl MintPerCall {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Off, Self::Warn, Self::Refuse, Self::SameToken];

    /// The name in settings.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Off => "off",
            Self::Warn => "warn",
            Self::Refuse => "refuse",
            Self::SameToken => "same_token",
        }
    }

    /// Reads the name in settings.
    #[must_use]
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|choice| choice.as_str() == name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn r5_6_the_default_limits_are_on() {
        let default = RequestRate::AtMost(QuotaPolicy::new(500, Duration::from_millis(20)).unwrap());
        assert_eq!(RequestRate::default(), default);
        assert_eq!(Throttling::default().mint_per_call, MintPerCall::Warn);
    }

    #[test]
    fn values_out_of_bounds_are_refused_and_names_are_read() {
        assert_eq!(RequestRate::new(0, 1), Err(InvalidRequestRate::PerSecond));
        assert_eq!(RequestRate::new(100_001, 1), Err(InvalidRequestRate::PerSecond));
        assert_eq!(RequestRate::new(1, 0), Err(InvalidRequestRate::Burst));
        assert!(RequestRate::new(100_000, 100_000).is_ok());
        for choice in MintPerCall::ALL {
            assert_eq!(MintPerCall::parse(choice.as_str()), Some(choice));
        }
        assert_eq!(MintPerCall::parse("Warn"), None);
    }
}
