//! A token that lives for a few seconds is renewed in the background, and no caller waits (R1.4).

use super::{Caller, Proof, Step, counted, failed, milliseconds, reading_handle};
use crate::failure::Failure;
use crate::output::Progress;
use jeton::{Clock as _, SystemClock, Timestamp, TokenHandle, TokenId};
use serde_json::json;
use std::time::{Duration, Instant};
use tokio::task::JoinSet;

/// How long the tokens of this step live.
const LIFETIME: Duration = Duration::from_secs(5);
/// How many callers keep calling.
const CALLERS: usize = 10;
/// How long a caller pauses between two calls.
const PAUSE: Duration = Duration::from_millis(20);
/// How long the callers go on when the first token has expired.
const AFTERWARDS: Duration = Duration::from_millis(300);

/// Callers call from the first token's beginning to beyond its end.
pub(super) async fn renew(proof: &Proof<'_>) -> Result<Step, Failure> {
    let manager = proof.stage.short_lived_manager(LIFETIME)?;
    let _progress = Progress::show(&format!("watching tokens that live for {} s", LIFETIME.as_secs()));
    let handle = reading_handle(&manager)?;
    let before = proof.token_requests();
    let first = handle.token().await.map_err(|error| Failure::from(&error))?;
    let mut watches = JoinSet::new();
    for _ in 0..CALLERS {
        let watch = Watch {
            caller: proof.caller.clone(),
            handle: handle.clone(),
            first: first.id(),
            until: first.expires_at().saturating_add(AFTERWARDS),
        };
        watches.spawn(watch.run());
    }
    let mut seen = Seen::default();
    while let Some(ended) = watches.join_next().await {
        let ended = ended.unwrap_or_else(|error| Err(failed(&error)));
        seen = seen.and(&ended?);
    }
    let requests = proof.token_requests() - before;
    proof.stage.remove_short_lived_client()?;
    Ok(step(&seen, requests, first.expires_at()))
}

/// One caller that calls again and again.
struct Watch {
    caller: Caller,
    handle: TokenHandle,
    first: TokenId,
    until: Timestamp,
}

impl Watch {
    async fn run(self) -> Result<Seen, Failure> {
        let mut seen = Seen::default();
        loop {
            let now = SystemClock.now();
            if now >= self.until {
                return Ok(seen);
            }
            let began = Instant::now();
            let in_hand = self.handle.get_with(|token| (token.id(), token.expires_at()));
            let (id, expires_at) = if let Some(got) = in_hand {
                got
            } else {
                seen.waited += 1;
                let token = self.handle.token().await.map_err(|error| Failure::from(&error))?;
                (token.id(), token.expires_at())
            };
            seen.longest_get = seen.longest_get.max(began.elapsed());
            seen.gets += 1;
            seen.expired += u64::from(expires_at <= now);
            if id != self.first {
                seen.renewed_at = seen.renewed_at.or(Some(now));
            }
            seen.calls_refused += u64::from(self.caller.call(self.handle.clone()).await? != 200);
            tokio::time::sleep(PAUSE).await;
        }
    }
}

/// What callers saw.
#[derive(Clone, Debug, Default)]
struct Seen {
    gets: u64,
    /// Gets that had to wait for a token.
    waited: u64,
    /// Gets that brought an expired token.
    expired: u64,
    calls_refused: u64,
    longest_get: Duration,
    /// When another token than the first was there for the first time.
    renewed_at: Option<Timestamp>,
}

impl Seen {
    fn and(self, other: &Self) -> Self {
        let renewed_at = [self.renewed_at, other.renewed_at].into_iter().flatten().min();
        Self {
            gets: self.gets + other.gets,
            waited: self.waited + other.waited,
            expired: self.expired + other.expired,
            calls_refused: self.calls_refused + other.calls_refused,
            longest_get: self.longest_get.max(other.longest_get),
            renewed_at,
        }
    }
}

fn step(seen: &Seen, requests: u64, first_expires_at: Timestamp) -> Step {
    let early = seen.renewed_at.map(|at| first_expires_at.saturating_since(at)).unwrap_or_default();
    let nobody_suffered = seen.waited == 0 && seen.expired == 0 && seen.calls_refused == 0;
    let longest_get_ms = milliseconds(seen.longest_get);
    let waited = match seen.waited {
        0 => "nobody waited".to_owned(),
        waited => format!("{} had to wait", counted(waited, "get")),
    };
    Step {
        name: "renewal",
        // The first token, and the one that took its place.
        ok: nobody_suffered && !early.is_zero() && requests == 2,
        text: format!(
            "a token of {} s renewed in the background {} ms before its expiry; {CALLERS} callers made {} calls \
             meanwhile: {waited} (longest get {longest_get_ms} ms), {} refused",
            LIFETIME.as_secs(),
            early.as_millis(),
            seen.gets,
            seen.calls_refused,
        ),
        facts: json!({
            "lifetime_seconds": LIFETIME.as_secs(),
            "renewed_before_expiry_ms": early.as_millis(),
            "token_requests": requests,
            "gets": seen.gets,
            "gets_that_waited": seen.waited,
            "expired_tokens_served": seen.expired,
            "longest_get_ms": longest_get_ms,
            "calls_refused": seen.calls_refused,
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_an_early_renewal_that_nobody_noticed_is_a_proof() {
        let at = Timestamp::from_unix_seconds;
        let good = Seen { gets: 9, renewed_at: Some(at(99)), ..Seen::default() };
        assert!(step(&good, 2, at(100)).ok);
        assert!(!step(&good, 3, at(100)).ok, "one token request too many");
        assert!(!step(&good, 2, at(99)).ok, "renewed at expiry");
        assert!(!step(&Seen { renewed_at: None, ..good.clone() }, 2, at(100)).ok, "not renewed");
        assert!(!step(&Seen { waited: 1, ..good.clone() }, 2, at(100)).ok);
        assert!(!step(&Seen { expired: 1, ..good.clone() }, 2, at(100)).ok);
        assert!(!step(&Seen { calls_refused: 1, ..good.clone() }, 2, at(100)).ok);
        let sum = good.clone().and(&Seen { gets: 1, renewed_at: Some(at(98)), ..Seen::default() });
        assert_eq!((sum.gets, sum.renewed_at), (10, Some(at(98))));
    }
}
