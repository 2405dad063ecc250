//! What was done, and what is to be said of it.

use super::answer;
use super::request::entity_tag;
use crate::audit::Event;
use crate::http::Answer;
use crate::store::ChangeNumber;
use http::StatusCode;
use http::header::{ETAG, HeaderValue, LOCATION};
use serde_json::Value;

/// Something that was done, and is committed.
#[derive(Debug)]
pub(super) struct Outcome {
    status: StatusCode,
    body: Option<Value>,
    tag: Option<ChangeNumber>,
    location: Option<String>,
    /// What the token path is to have seen before the answer.
    pub(super) effect: Effect,
    /// What the audit log is told.
    pub(super) told: Vec<Told>,
}

/// What a change does to those who ask for tokens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Effect {
    /// Nothing was changed.
    Nothing,
    /// Somebody may have more. Who tries too early is seen all the same, after a look at the store.
    Gives(ChangeNumber),
    /// Somebody may have less, and is to have no more from the answer on.
    Takes(ChangeNumber),
}

/// An act, for the audit log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Told {
    pub(super) event: Event,
    /// Empty for what concerns the server.
    pub(super) client_id: String,
    pub(super) detail: Option<String>,
}

impl Told {
    pub(super) fn new(event: Event, client_id: &str) -> Self {
        Self { event, client_id: client_id.to_owned(), detail: None }
    }

    /// An act that concerns no client.
    pub(super) fn of_server(event: Event) -> Self {
        Self::new(event, "")
    }

    pub(super) fn with_detail(self, detail: String) -> Self {
        Self { detail: Some(detail), ..self }
    }
}

impl Outcome {
    /// There is something to show.
    pub(super) fn shown(body: Value) -> Self {
        Self { status: StatusCode::OK, body: Some(body), ..Self::done() }
    }

    /// There is no more to say.
    pub(super) const fn done() -> Self {
        Self {
            status: StatusCode::NO_CONTENT,
            body: None,
            tag: None,
            location: None,
            effect: Effect::Nothing,
            told: Vec::new(),
        }
    }

    pub(super) fn with_status(self, status: StatusCode) -> Self {
        Self { status, ..self }
    }

    pub(super) fn with_tag(self, change: ChangeNumber) -> Self {
        Self { tag: Some(change), ..self }
    }

    pub(super) fn with_location(self, location: String) -> Self {
        Self { location: Some(location), ..self }
    }

    pub(super) fn giving(self, change: ChangeNumber) -> Self {
        Self { effect: Effect::Gives(change), ..self }
    }

    pub(super) fn taking(self, change: ChangeNumber) -> Self {
        Self { effect: Effect::Takes(change), ..self }
    }

    pub(super) fn telling(mut self, told: Told) -> Self {
        self.told.push(told);
        self
    }

    /// As it is answered.
    pub(super) fn into_answer(self) -> Answer {
        let mut answer = match &self.body {
            Some(body) => answer::json(self.status, body),
            None => answer::bare(self.status),
        };
        let tag = self.tag.and_then(|change| HeaderValue::from_str(&entity_tag(change)).ok());
        let location = self.location.and_then(|location| HeaderValue::from_str(&location).ok());
        for (name, value) in [(ETAG, tag), (LOCATION, location)] {
            if let Some(value) = value {
                answer.headers_mut().insert(name, value);
            }
        }
        answer
    }
}
