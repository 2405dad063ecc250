//! The failures of one key, as far as they keep it from asking.

use super::{Heard, doubled, retry_after_ms, stays, terminal_span};
use crate::machines::client::Answer;
use crate::machines::clocks::{Left, Reading};
use crate::machines::findings::Findings;
use crate::machines::law::Law;
use crate::machines::setting::Numbers;
use jeton_proto::backoff::FailureClass;
use jeton_proto::gate::CredentialGeneration;

/// The shortest pause of all.
const LEAST_PAUSE_MS: u64 = 50;

#[derive(Clone, Copy, Debug)]
struct Pause {
    since: Reading,
    least_ms: u64,
    most_ms: u64,
    count: u32,
    class: FailureClass,
}

/// What a key has met since it last had a token.
#[derive(Debug, Default)]
pub(super) struct Failing {
    pause: Option<Pause>,
    with: CredentialGeneration,
}

impl Failing {
    pub(super) fn failed(&mut self, numbers: &Numbers, heard: &Heard, now: Reading) {
        self.with = heard.with;
        let failure = heard.failure;
        let count = self.pause.map_or(0, |pause| pause.count).saturating_add(1);
        let (least_ms, most_ms) = match failure.class {
            FailureClass::Transient => {
                let bound = doubled(numbers.base_ms, count).min(numbers.cap_ms);
                (LEAST_PAUSE_MS, bound.max(LEAST_PAUSE_MS))
            }
            FailureClass::Terminal => (terminal_span(numbers, count), terminal_span(numbers, count)),
            // The gate sees to these.
            FailureClass::Credential | FailureClass::Local => return,
        };
        let asked_ms = retry_after_ms(failure).unwrap_or_default();
        self.pause = Some(Pause {
            since: now,
            least_ms: least_ms.max(asked_ms),
            most_ms: most_ms.max(asked_ms),
            count,
            class: failure.class,
        });
    }

    pub(super) fn over(&mut self) {
        self.pause = None;
    }

    /// What stays does so for the credential that met it.
    pub(super) fn credential_in_force(&mut self, with: CredentialGeneration) {
        if self.with < with && self.pause.is_some_and(|pause| stays(pause.class)) {
            self.pause = None;
        }
    }

    pub(super) fn left_of_cause(&self, left: Left, now: Reading) -> u64 {
        self.pause.map_or(0, |pause| left(now, pause.most_ms, pause.since))
    }

    pub(super) fn asked(&self, answer: Answer, now: Reading, findings: &mut Findings) {
        let Some(pause) = self.pause else { return };
        let law = if stays(pause.class) { Law::TerminalRemembered } else { Law::Backoff };
        let left_ms = now.left_of(pause.least_ms, pause.since);
        let holds = answer.wants.is_none() || left_ms == 0;
        findings.unless(holds, law, || {
            format!("a request is wanted {left_ms} ms before the end of the {:?} pause", pause.class)
        });
    }
}
