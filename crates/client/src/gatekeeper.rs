//! Whether a token request may go now: the breaker of the endpoint, and the gate of the client, as all slots share them.

use crate::error::{TokenError, TokenErrorKind};
use crate::sync::{Mutex, lock};
use jeton_proto::backoff::{BackoffPolicy, Failure, FailureClass};
use jeton_proto::breaker::{Breaker, BreakerPolicy, Outlook, Passage, Phase, Verdict};
use jeton_proto::gate::{CredentialGeneration, Gate};
use jeton_proto::lifecycle::Way;
use jeton_proto::quota::QuotaPolicy;
use jeton_proto::time::Moment;
use std::sync::Arc;
use std::time::Duration;

/// How many of the breaker's longest windows a fault is recent for. Until then a probe goes without anybody waiting for it;
/// later nobody knows, and the caller that asks waits for the probe.
const RECENT_WINDOWS: u32 = 2;

/// The breaker of one endpoint, shared by all clients that ask it.
pub(crate) struct BreakerCell {
    breaker: Mutex<Breaker>,
    policy: BreakerPolicy,
}

impl BreakerCell {
    pub(crate) fn new(policy: BreakerPolicy) -> Self {
        Self { breaker: Mutex::new(Breaker::default()), policy }
    }

    fn outlook(&self, now: Moment) -> Outlook {
        lock(&self.breaker).outlook(&self.policy, now)
    }

    /// Leave to send one request, or nothing when it has to wait.
    pub(crate) fn admit(&self, now: Moment) -> Option<Passage> {
        let mut breaker = lock(&self.breaker);
        let (next, passage) = breaker.admit(&self.policy, now)?;
        *breaker = next;
        Some(passage)
    }

    /// Notes what came of the request that had `passage`; gives the phases before and after.
    pub(crate) fn settle(
        &self,
        passage: Passage,
        verdict: Verdict,
        jitter: f64,
        now: Moment,
    ) -> (Phase, Phase) {
        let mut breaker = lock(&self.breaker);
        let before = breaker.phase();
        *breaker = breaker.settled(passage, verdict, &self.policy, jitter, now);
        (before, breaker.phase())
    }

    pub(crate) fn phase(&self) -> Phase {
        lock(&self.breaker).phase()
    }
}

/// What stands between a client's slots and its endpoint.
pub(crate) struct Gatekeeper {
    pub(crate) breaker: Arc<BreakerCell>,
    client: Mutex<Client>,
    backoff_policy: BackoffPolicy,
    quota_policy: QuotaPolicy,
}

#[derive(Default)]
struct Client {
    gate: Gate,
    /// The last failure that may be the endpoint's, for slots that did not fail themselves.
    last_fault: Option<TokenError>,
    /// Why the credential was refused. An endpoint that is down besides does not hide it (trap T25).
    refusal: Option<TokenError>,
}

/// What came of a request, for the breaker and the gate.
pub(crate) struct Settlement<'a> {
    pub(crate) outcome: Result<(), &'a TokenError>,
    pub(crate) with: CredentialGeneration,
    pub(crate) jitter: f64,
    pub(crate) now: Moment,
}

impl Gatekeeper {
    pub(crate) fn new(
        breaker: Arc<BreakerCell>,
        backoff_policy: BackoffPolicy,
        quota_policy: QuotaPolicy,
    ) -> Self {
        Self { breaker, client: Mutex::default(), backoff_policy, quota_policy }
    }

    /// What is known of the endpoint, for a slot that decides.
    pub(crate) fn way(&self, with: CredentialGeneration, now: Moment) -> Way {
        let closed_for = lock(&self.client).gate.closed_for(with, now);
        let recent = self.breaker.policy.longest_window().saturating_mul(RECENT_WINDOWS);
        match (self.breaker.outlook(now), closed_for) {
            (Outlook::Closed { retry_after }, closed_for) => {
                Way::Closed { retry_after: retry_after.max(closed_for.unwrap_or_default()) }
            }
            (Outlook::Clear | Outlook::Probe { .. }, Some(retry_after)) => Way::Closed { retry_after },
            (Outlook::Probe { last_fault }, None) if last_fault < recent => Way::Doubtful,
            (Outlook::Clear | Outlook::Probe { .. }, None) => Way::Clear,
        }
    }

    /// Reserves a turn in the quota: how long to wait for it.
    pub(crate) fn reserve(
        &self,
        patience: Duration,
        now: Moment,
        refused: impl FnOnce() -> TokenErrorKind,
    ) -> Result<Duration, TokenError> {
        let mut client = lock(&self.client);
        let (gate, turn) = client.gate.reserve(&self.quota_policy, patience, now);
        client.gate = gate;
        turn.map_err(|exhausted| TokenError::new(refused()).retry_after_of(Some(exhausted.retry_after)))
    }

    /// Leave to send one request with the credential `with`, or nothing when the way is closed.
    pub(crate) fn admit(&self, with: CredentialGeneration, now: Moment) -> Option<Passage> {
        // Held over both, so that one request alone tries a credential whose refusal has just been forgotten.
        let mut client = lock(&self.client);
        if client.gate.closed_for(with, now).is_some() {
            return None;
        }
        let passage = self.breaker.admit(now)?;
        client.gate = client.gate.sent(with, self.breaker.policy.probe_time(), now);
        Some(passage)
    }

    pub(crate) fn settle(&self, passage: Passage, settlement: &Settlement<'_>) -> (Phase, Phase) {
        let &Settlement { outcome, with, jitter, now } = settlement;
        let mut client = lock(&self.client);
        match outcome {
            Ok(()) => {
                client.gate = client.gate.granted(with);
                client.last_fault = None;
            }
            Err(error) => {
                let failure: Failure = error.failure();
                client.gate = client.gate.failed(failure, with, &self.backoff_policy, jitter, now);
                match failure.class {
                    FailureClass::Credential => client.refusal = Some(error.clone()),
                    FailureClass::Transient => client.last_fault = Some(error.clone()),
                    // It answered: what was the matter before is not any more, and this is that scope's own.
                    FailureClass::Terminal => client.last_fault = None,
                    FailureClass::Local => {}
                }
            }
        }
        drop(client);
        let verdict = outcome.err().map_or(Verdict::Answered, TokenError::verdict);
        self.breaker.settle(passage, verdict, jitter, now)
    }

    /// Gives a passage back that was not used to its end: nothing is known of the server.
    pub(crate) fn abandon(&self, passage: Passage, with: CredentialGeneration, now: Moment) {
        let mut client = lock(&self.client);
        client.gate = client.gate.given_up(with);
        drop(client);
        self.breaker.settle(passage, Verdict::Abandoned, 0.0, now);
    }

    /// Why the way is closed, for a slot that did not fail itself.
    pub(crate) fn reason(&self, with: CredentialGeneration, now: Moment) -> Option<TokenError> {
        self.refused(with, now).or_else(|| lock(&self.client).last_fault.clone())
    }

    /// Why the credential `with` was refused, as long as that is remembered.
    pub(crate) fn refused(&self, with: CredentialGeneration, now: Moment) -> Option<TokenError> {
        let client = lock(&self.client);
        client.gate.refused_for(with, now).and(client.refusal.as_ref()).cloned()
    }

    /// How long no request may be sent with the credential `with`.
    pub(crate) fn closed_for(&self, with: CredentialGeneration, now: Moment) -> Option<Duration> {
        match self.way(with, now) {
            Way::Closed { retry_after } => Some(retry_after),
            Way::Clear | Way::Doubtful => None,
        }
    }
}
