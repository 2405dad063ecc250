//! Limits on what callers ask of the token endpoint: requests of each client, failed authentications, and clients that
//! mint per call. What to do is decided in `jeton_proto`; here is the memory of it, and the answers.
//!
//! A request that is granted costs a hash and two short locks here, of sixteen each; nothing is allocated for a key
//! that was seen before.

mod kept_tokens;
mod per_call;
mod settings;
mod source;

pub(crate) use kept_tokens::{KeptTokens, TokenKind};
pub(crate) use per_call::{Minting, PerCall};
pub use settings::{InvalidRequestRate, MintPerCall, RequestRate, Throttling};
pub(crate) use source::Source;

use crate::endpoint::{Limit, TokenRefusal};
use crate::http::shown;
use crate::store::{Changes, Extent, Follower, Kind};
use jeton_proto::quota::{QuotaExhausted, QuotaPolicy, QuotaTable};
use jeton_proto::throttle::{FailurePolicy, FailureThrottle, Suspect};
use jeton_proto::time::Moment;
use std::hash::{BuildHasher as _, Hash, RandomState};
use std::net::IpAddr;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// How many locks a table is divided among.
const SHARDS: usize = 16;
/// How many clients have their requests counted at most: more than a registry can have.
const MAX_CLIENTS: usize = 131_072;
/// The log tells of a source whose failures are slowed down once in this time, and remembers so many of them.
const TOLD_EVERY: Duration = Duration::from_mins(10);
const MAX_TOLD: usize = 1024;

/// What is remembered of clients and callers. It ends with the process.
#[derive(Debug)]
pub(crate) struct Throttle {
    /// Of this process alone: nobody outside can know which keys share a place.
    hashing: RandomState,
    rate: RequestRate,
    requests: Sharded<QuotaTable>,
    /// Locked for failures, and for proofs that are dear to check; a client secret that is right never comes here.
    failures: Mutex<FailureThrottle>,
    /// Which sources were told of in the log.
    told: Mutex<QuotaTable>,
    per_call: PerCall,
}

impl Throttle {
    pub(crate) fn new(settings: &Throttling) -> Self {
        Self {
            hashing: RandomState::new(),
            rate: settings.client_requests,
            requests: Sharded::new(|| QuotaTable::new(MAX_CLIENTS / SHARDS)),
            failures: Mutex::new(FailureThrottle::new(FailurePolicy::default())),
            told: Mutex::new(QuotaTable::new(MAX_TOLD)),
            per_call: PerCall::new(settings),
        }
    }

    /// By what the requests of a client are counted, as long as the process lives.
    pub(crate) fn request_key(&self, client_id: &str) -> u64 {
        self.hash(client_id)
    }

    /// Counts a request of a client that has proved who it is, and refuses one too many.
    pub(crate) fn requested(&self, key: u64, now: Moment) -> Result<(), TokenRefusal> {
        let RequestRate::AtMost(policy) = &self.rate else { return Ok(()) };
        self.requests.lock(key).reserve(key, policy, now).map_err(|exhausted| {
            TokenRefusal::slow_down(
                Limit::ClientRequests,
                "the client makes too many token requests; keep each token for its life, and try again later",
                exhausted.retry_after,
            )
        })
    }

    /// Whether a failure of this client id from this address is worth more work, such as a look at the registry.
    pub(crate) fn standing(&self, client_id: &str, address: IpAddr, now: Moment) -> Result<(), TokenRefusal> {
        let suspect = self.suspect(client_id, address);
        let standing = locked(&self.failures).standing(suspect, now);
        standing.map_err(|exhausted| {
            self.tell(client_id, address, suspect.source, now);
            too_many_failures(exhausted)
        })
    }

    /// Counts a failed authentication, and refuses one too many in other words.
    pub(crate) fn failed(&self, client_id: &str, address: IpAddr, now: Moment) -> Result<(), TokenRefusal> {
        let suspect = self.suspect(client_id, address);
        locked(&self.failures).failed(suspect, now).map_err(too_many_failures)
    }

    /// Whether a credential is to be checked that is dear to check, such as a signature.
    pub(crate) fn before_dear_check(
        &self,
        client_id: &str,
        address: IpAddr,
        now: Moment,
    ) -> Result<(), TokenRefusal> {
        let suspect = self.suspect(client_id, address);
        locked(&self.failures).before_dear_check(suspect, now).map_err(too_many_failures)
    }

    /// Remembers that a credential that was dear to check is good.
    pub(crate) fn proved(&self, client_id: &str, address: IpAddr, now: Moment) {
        let suspect = self.suspect(client_id, address);
        locked(&self.failures).proved(suspect, now);
    }

    /// What is known of clients that mint per call.
    pub(crate) const fn per_call(&self) -> &PerCall {
        &self.per_call
    }

    fn tell(&self, client_id: &str, address: IpAddr, source: u64, now: Moment) {
        if locked(&self.told).reserve(source, &QuotaPolicy::spread(1, TOLD_EVERY), now).is_ok() {
            tracing::warn!(
                client_id = &*shown(client_id),
                %address,
                "failed authentications from this address are slowed down; each further one is counted and not told"
            );
        }
    }

    fn suspect(&self, client_id: &str, address: IpAddr) -> Suspect {
        let source = Source::of(address);
        Suspect { pair: self.hash((client_id, source)), source: self.hash(source) }
    }

    fn hash(&self, value: impl Hash) -> u64 {
        self.hashing.hash_one(value)
    }
}

impl Follower for Throttle {
    /// A client that was changed is not given a token of before once more, and nobody is given one that was revoked.
    fn follow(&self, changes: &Changes) {
        if changes.extent == Extent::Everything {
            return self.per_call.kept().forget_all();
        }
        for record in &changes.records {
            match record.kind {
                Kind::Client => self.per_call.kept().forget_client(&record.id),
                Kind::Revocation => self.per_call.kept().forget_token(&record.id),
                Kind::SecretUse | Kind::SigningKey => {}
            }
        }
    }
}

fn too_many_failures(exhausted: QuotaExhausted) -> TokenRefusal {
    TokenRefusal::slow_down(
        Limit::Failures,
        "too many failed authentications from this address; check the credential, and try again later",
        exhausted.retry_after,
    )
}

/// A table divided among locks by the hash of the key.
#[derive(Debug)]
struct Sharded<T>([Mutex<T>; SHARDS]);

impl<T> Sharded<T> {
    fn new(make: impl Fn() -> T) -> Self {
        Self(std::array::from_fn(|_| Mutex::new(make())))
    }

    fn lock(&self, key: u64) -> MutexGuard<'_, T> {
        // The high bits: the low ones choose the place within the table.
        let [first, others @ ..] = &self.0;
        let shard = match usize::try_from(key >> 60).unwrap_or_default() {
            0 => first,
            at => others.get(at - 1).unwrap_or(first),
        };
        locked(shard)
    }
}

/// A panic leaves no state half changed here: each change is one assignment.
fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests;
