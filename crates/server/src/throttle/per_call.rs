//! What is done about clients that ask for a new token for every call.

use super::{KeptTokens, MintPerCall, SHARDS, Sharded, Source, Throttling};
use crate::endpoint::{Limit, TokenRefusal};
use jeton_proto::mint_per_call::MintDetector;
use jeton_proto::time::Moment;
use jeton_proto::wire::error_response::printable;
use std::hash::{BuildHasher as _, RandomState};
use std::net::SocketAddr;
use std::time::Duration;

/// How many combinations of client, source, scope and audience are remembered at most.
const MAX_KEYS: usize = 65_536;

/// Who mints per call, and the tokens kept for them.
#[derive(Debug)]
pub(crate) struct PerCall {
    choice: MintPerCall,
    hashing: RandomState,
    detectors: Sharded<MintDetector>,
    kept: KeptTokens,
}

/// How a grant becomes a token.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Minting {
    /// By a new one.
    Usual,
    /// By a new one, though there was one a moment ago.
    PerCall,
    /// By the one that was handed out last, if there is one.
    Same,
    /// Not at all.
    Refused(TokenRefusal),
}

impl PerCall {
    pub(super) fn new(settings: &Throttling) -> Self {
        let detector = || MintDetector::new(settings.mints_per_token_life, MAX_KEYS / SHARDS);
        Self {
            choice: settings.mint_per_call,
            hashing: RandomState::new(),
            detectors: Sharded::new(detector),
            kept: KeptTokens::default(),
        }
    }

    /// By what it is counted that a client asks for this, as long as the process lives.
    pub(crate) fn key(&self, client_id: &str, scope: &str, audience: &str) -> u64 {
        self.hashing.hash_one((client_id, scope, audience))
    }

    /// Counts that `client_id` asks from `peer` for what has this key, and lives for `lifetime`.
    pub(crate) fn asked(
        &self,
        key: u64,
        client_id: &str,
        peer: SocketAddr,
        lifetime: Duration,
        now: Moment,
    ) -> Minting {
        if self.choice == MintPerCall::Off {
            return Minting::Usual;
        }
        let key = self.hashing.hash_one((key, Source::of(peer.ip())));
        let Err(exhausted) = self.detectors.lock(key).asked(key, lifetime, now) else {
            return Minting::Usual;
        };
        self.tell(client_id, peer, now);
        match self.choice {
            MintPerCall::Off | MintPerCall::Warn => Minting::PerCall,
            MintPerCall::SameToken => Minting::Same,
            MintPerCall::Refuse => Minting::Refused(TokenRefusal::slow_down(
                Limit::MintPerCall,
                "the client asks for a new token again and again; keep each token until it is about to expire, and \
                 use it for every call",
                exhausted.retry_after,
            )),
        }
    }

    /// The tokens that may be handed out once more.
    pub(crate) const fn kept(&self) -> &KeptTokens {
        &self.kept
    }

    fn tell(&self, client_id: &str, peer: SocketAddr, now: Moment) {
        let client = self.hashing.hash_one(client_id);
        if self.detectors.lock(client).is_to_be_told(client, now) {
            tracing::warn!(
                client_id = printable(client_id),
                %peer,
                done = self.choice.as_str(),
                "a client asks for a new token again and again while its last one is good; it should keep its tokens"
            );
        }
    }
}
