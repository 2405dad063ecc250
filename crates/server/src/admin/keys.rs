//! The signing keys. Everything here may wait for the store.

use super::outcome::{Outcome, Told};
use super::problem::{Code, Problem};
use crate::audit::Event;
use crate::keyring::{KeyringError, ListedKey, SigningKeys};
use jeton_proto::jose::jws::Algorithm;
use jeton_proto::rotation::KeyState;
use jeton_proto::time::Timestamp;
use jeton_proto::wire::error_response::printable;
use serde_json::{Map, Value, json};

/// `GET /admin/keys`.
pub(super) fn list(keys: &mut SigningKeys) -> Result<Outcome, Problem> {
    let listing = keys.list()?;
    let unreadable: Vec<_> =
        listing.unreadable.iter().map(|key| json!({ "kid": key.key_id, "fault": key.fault })).collect();
    let keys: Vec<_> = listing.keys.iter().map(shown).collect();
    Ok(Outcome::shown(json!({ "keys": keys, "unreadable": unreadable })))
}

/// `POST /admin/keys/rotate`.
pub(super) fn rotate(keys: &mut SigningKeys, mut body: Map<String, Value>) -> Result<Outcome, Problem> {
    let algorithm = match body.remove("signing_algorithm") {
        None => None,
        Some(value) => {
            let algorithm = value.as_str().and_then(Algorithm::parse);
            let names = Algorithm::ALL.map(Algorithm::as_str).join(", ");
            let odd =
                || Problem::new(Code::InvalidRequest, format!("signing_algorithm: it is one of {names}"));
            Some(algorithm.ok_or_else(odd)?)
        }
    };
    let unread = body.keys().next();
    if let Some(other) = unread {
        let detail = format!("there is no member {} of this request", printable(other));
        return Err(Problem::new(Code::InvalidRequest, detail));
    }
    let announced = keys.rotate(algorithm)?;
    let told = announced
        .iter()
        .map(|key_id| Told::of_server(Event::SigningKeyAnnounced).with_detail(key_id.clone()));
    let outcome = Outcome::shown(json!({ "announced": announced }));
    Ok(told.fold(outcome, Outcome::telling))
}

fn shown(key: &ListedKey) -> Value {
    let (state, name, at) = match key.state {
        KeyState::Announced { active_from } => ("announced", "active_from", active_from),
        KeyState::Active { until } => ("active", "active_until", until),
        KeyState::Retired { published_until } => ("retired", "published_until", published_until),
    };
    let mut shown = json!({
        "kid": key.key_id,
        "alg": key.algorithm.as_str(),
        "state": state,
        "announced_at": key.times.announced_at.as_unix_seconds(),
    });
    if let (Some(at), Some(members)) = (at.map(Timestamp::as_unix_seconds), shown.as_object_mut()) {
        members.insert(name.to_owned(), json!(at));
    }
    shown
}

impl From<KeyringError> for Problem {
    fn from(error: KeyringError) -> Self {
        match &error {
            KeyringError::Refused(refused) => Self::new(Code::KeyState, printable(&refused.to_string())),
            KeyringError::Full => Self::new(Code::KeyState, printable(&error.to_string())),
            KeyringError::Contended => Self::new(Code::Busy, printable(&error.to_string())),
            KeyringError::File(_)
            | KeyringError::Damaged { .. }
            | KeyringError::Unreadable { .. }
            | KeyringError::Generate(_)
            | KeyringError::Seal(_)
            | KeyringError::Document(_)
            | KeyringError::Registry(_)
            | KeyringError::Store(_)
            | KeyringError::NotSeen
            | KeyringError::Thread(_) => Self::of_the_store(&error),
        }
    }
}
