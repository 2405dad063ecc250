//! What can be given and what can happen, as it stands in the file.

use super::duration::{ClockStep, Span};
use crate::clock::BootClock;
use serde::Deserialize;
use std::collections::BTreeMap;
use std::time::Duration;

/// How things are when the scenario begins.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Given {
    pub(super) lasts: Span,
    pub(super) server: ServerForm,
    #[serde(default = "default_latency")]
    pub(super) latency: Span,
    #[serde(default = "one")]
    pub(super) managers: u32,
    #[serde(default)]
    pub(super) store: Sharing,
    #[serde(default)]
    pub(super) breaker: Breaker,
    #[serde(default)]
    pub(super) boot_clock: BootClock,
    #[serde(default)]
    pub(super) renew: Renew,
    #[serde(default)]
    pub(super) prefetch: Vec<String>,
    #[serde(default)]
    pub(super) narrower_scope: Narrower,
    #[serde(default)]
    pub(super) secret_from: SecretFrom,
    pub(super) request_timeout: Option<Span>,
    pub(super) total_timeout: Option<Span>,
    pub(super) quota: Option<Quota>,
    #[serde(default)]
    pub(super) seed: u64,
}

fn default_latency() -> Span {
    Span(Duration::from_millis(20))
}

fn one() -> u32 {
    1
}

/// Whether the managers share a store, as processes of a fleet do.
#[derive(Clone, Copy, Debug, Default, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Sharing {
    #[default]
    None,
    Shared,
}

/// How the store is.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "kebab-case")]
pub(super) enum StoreIs {
    Well,
    /// No connection.
    Down,
    /// No answer.
    Silent,
    /// It cannot be written.
    ReadOnly,
}

/// What the store loses.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Loss {
    Everything,
    /// The last write of each record, as in a failover.
    LastWrite,
    /// Which record is which: each is in the place of another.
    Order,
    /// What is there now: each record is as it was a write ago.
    Present,
    /// One bit of each record is another.
    OneBit,
}

/// A manager that is held for a while.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Hold {
    pub(super) manager: u32,
    #[serde(rename = "for")]
    pub(super) span: Span,
}

/// Whether the managers share what they know of the endpoint's health.
#[derive(Clone, Copy, Debug, Default, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Breaker {
    #[default]
    Own,
    Shared,
}

#[derive(Clone, Copy, Debug, Default, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Renew {
    #[default]
    WhileUsed,
    OnDemand,
}

#[derive(Clone, Copy, Debug, Default, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Narrower {
    #[default]
    Given,
    Refused,
}

#[derive(Clone, Copy, Debug, Default, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "kebab-case")]
pub(super) enum SecretFrom {
    #[default]
    Settings,
    Source,
}

/// So many requests at once, and then one in each interval.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Quota {
    pub(super) at_once: u32,
    pub(super) then_every: Span,
}

/// How the token endpoint behaves; exactly one of `grants`, `reissues`, `fails` and `answers`.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ServerForm {
    grants: Option<Span>,
    reissues: Option<Span>,
    fails: Option<Failure>,
    answers: Option<u16>,
    expires_in: Option<String>,
    scope: Option<String>,
    error: Option<String>,
    body: Option<String>,
    #[serde(default)]
    headers: BTreeMap<String, String>,
}

#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Failure {
    /// The connection breaks before the answer.
    Reset,
    /// No connection.
    Refused,
    /// No answer, ever.
    Silent,
    /// The exchange itself panics.
    Panic,
}

/// How the token endpoint behaves, once the form was held against its rules.
#[derive(Clone, Debug)]
pub(super) struct Behaviour {
    pub(super) does: Does,
    pub(super) headers: BTreeMap<String, String>,
}

#[derive(Clone, Debug)]
pub(super) enum Does {
    /// A new token each time.
    Grant {
        life: Duration,
        expires_in: Option<String>,
        scope: Option<String>,
    },
    /// One token until it dies.
    Reissue {
        life: Duration,
    },
    Fail(Failure),
    Answer {
        status: u16,
        body: String,
    },
}

impl ServerForm {
    /// The behaviour.
    ///
    /// # Errors
    /// What is wrong, and what to do.
    pub(super) fn behaviour(&self) -> Result<Behaviour, (String, String)> {
        let wrong = |what: &str, remedy: &str| Err((what.to_owned(), remedy.to_owned()));
        let may_state = self.grants.is_some();
        if !may_state && (self.expires_in.is_some() || self.scope.is_some()) {
            return wrong("expires_in and scope belong to grants", "give grants, or leave them out");
        }
        if self.answers.is_none() && (self.error.is_some() || self.body.is_some()) {
            return wrong(
                "error and body belong to answers",
                "give the status as answers = 400, or leave them out",
            );
        }
        let does = match (self.grants, self.reissues, self.fails, self.answers) {
            (Some(Span(life)), None, None, None) => {
                Does::Grant { life, expires_in: self.expires_in.clone(), scope: self.scope.clone() }
            }
            (None, Some(Span(life)), None, None) => Does::Reissue { life },
            (None, None, Some(failure), None) => Does::Fail(failure),
            (None, None, None, Some(status)) if (200..=599).contains(&status) => {
                let body = match (&self.error, &self.body) {
                    (Some(error), None) => format!("{{\"error\":\"{error}\"}}"),
                    (None, body) => body.clone().unwrap_or_default(),
                    (Some(_), Some(_)) => return wrong("both error and body are given", "give one of them"),
                };
                Does::Answer { status, body }
            }
            (None, None, None, Some(_)) => {
                return wrong("answers is no final HTTP status", "give one from 200 to 599");
            }
            _ => {
                let remedy = "give exactly one of grants, reissues, fails and answers";
                return wrong("the server does not do one thing", remedy);
            }
        };
        Ok(Behaviour { does, headers: self.headers.clone() })
    }
}

/// A step, as the file has it: when, and exactly one of the others.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct StepForm {
    pub(super) at: Option<Span>,
    server: Option<ServerForm>,
    latency: Option<Span>,
    call: Option<CallForm>,
    cancel: Option<String>,
    reject: Option<Judged>,
    accept: Option<Judged>,
    prefetch: Option<String>,
    clock: Option<ClockStep>,
    suspend: Option<Span>,
    client_secret: Option<String>,
    source_secret: Option<String>,
    server_secret: Option<String>,
    close: Option<Span>,
    store: Option<StoreIs>,
    store_latency: Option<Span>,
    store_loses: Option<Loss>,
    hold: Option<Hold>,
    kill: Option<u32>,
}

/// A token that an API judges, in whatever manager holds it for this scope.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Judged {
    pub(super) token: u64,
    pub(super) scope: Option<String>,
    pub(super) manager: Option<u32>,
}

/// Calls, as the file has them.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct CallForm {
    pub(super) name: String,
    #[serde(default = "one")]
    pub(super) callers: u32,
    pub(super) manager: Option<u32>,
    pub(super) scope: Option<String>,
    pub(super) scopes: Option<u32>,
    pub(super) every: Option<Span>,
    pub(super) until: Option<Span>,
    pub(super) within: Option<Span>,
    #[serde(default)]
    pub(super) how: How,
    #[serde(default)]
    pub(super) then: Then,
}

/// How a token is asked for.
#[derive(Clone, Copy, Debug, Default, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "kebab-case")]
pub(super) enum How {
    /// It is waited for.
    #[default]
    Wait,
    /// It is taken if it is there: the hot path.
    Look,
}

/// What the API says to the token that a call got.
#[derive(Clone, Copy, Debug, Default, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Then {
    #[default]
    Nothing,
    Accept,
    Reject,
}

/// What happens.
#[derive(Clone, Debug)]
pub(super) enum Action {
    Server(Behaviour),
    Latency(Duration),
    Call(CallForm),
    Cancel(String),
    Reject(Judged),
    Accept(Judged),
    Prefetch(String),
    Clock(ClockStep),
    Suspend(Duration),
    ClientSecret(String),
    SourceSecret(String),
    ServerSecret(String),
    Close(Duration),
    Store(StoreIs),
    StoreLatency(Duration),
    StoreLoses(Loss),
    Hold(Hold),
    Kill(u32),
}

impl StepForm {
    /// What happens in this step.
    ///
    /// # Errors
    /// What is wrong, and what to do.
    pub(super) fn action(self) -> Result<Action, (String, String)> {
        let server = self.server.map(|form| form.behaviour()).transpose()?;
        let actions = [
            server.map(Action::Server),
            self.latency.map(|Span(latency)| Action::Latency(latency)),
            self.call.map(Action::Call),
            self.cancel.map(Action::Cancel),
            self.reject.map(Action::Reject),
            self.accept.map(Action::Accept),
            self.prefetch.map(Action::Prefetch),
            self.clock.map(Action::Clock),
            self.suspend.map(|Span(span)| Action::Suspend(span)),
            self.client_secret.map(Action::ClientSecret),
            self.source_secret.map(Action::SourceSecret),
            self.server_secret.map(Action::ServerSecret),
            self.close.map(|Span(within)| Action::Close(within)),
            self.store.map(Action::Store),
            self.store_latency.map(|Span(latency)| Action::StoreLatency(latency)),
            self.store_loses.map(Action::StoreLoses),
            self.hold.map(Action::Hold),
            self.kill.map(Action::Kill),
        ];
        let mut actions = actions.into_iter().flatten();
        match (actions.next(), actions.next()) {
            (Some(action), None) => Ok(action),
            (None, _) => Err((
                "nothing happens in this step".to_owned(),
                "say what does: server, latency, call, cancel, reject, accept, prefetch, clock, suspend, client_secret, source_secret, server_secret, close, store, store_latency, store_loses, hold or kill".to_owned(),
            )),
            (Some(_), Some(_)) => Err((
                "two things happen in this step".to_owned(),
                "give each a [[step]] of its own; without `at` it happens at the same time".to_owned(),
            )),
        }
    }
}
