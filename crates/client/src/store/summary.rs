//! What a record is about, for a listing: everything but the token.

use super::entry::{Entry, Note};
use super::seal::{KeyRing, Part, Unopened};
use super::{Reading, RecordName};
use crate::clock::SystemClock;
use jeton_proto::lifecycle::{Life, TokenId};
use jeton_proto::time::{Clock, Moment, Timestamp};
use jeton_proto::wire::scope::Scope;
use std::time::Duration;

/// What is in a record. Nothing of it is secret to whoever may read the record; the token is not in it.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct EntrySummary {
    /// The token, if there is one that has not expired.
    pub token: Option<TokenSummary>,
    /// For how long a process may go on fetching a token, if one does.
    pub lease_left: Option<Duration>,
    /// For how long the server wants to be left alone, if it does.
    pub pause_left: Option<Duration>,
    /// The token that an API refused last, if that is why the next one is fetched.
    pub rejected: Option<TokenId>,
}

/// A token without the token.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct TokenSummary {
    /// Where it was fetched.
    pub token_endpoint: String,
    /// For whom.
    pub client_id: String,
    /// How that was proved, as RFC 7591 spells it.
    pub auth_method: String,
    /// What was asked for; `None` for what the server gives without being asked.
    pub scope: Option<String>,
    /// What was granted, if the server told.
    pub granted_scope: Option<String>,
    /// The audience that was asked for.
    pub audience: Option<String>,
    /// The resources that it is for (RFC 8707).
    pub resources: Vec<String>,
    /// The names of further parameters; their values may be secret.
    pub parameter_names: Vec<String>,
    /// Its fingerprint.
    pub id: TokenId,
    /// When it was asked for, by the clock of who asked.
    pub obtained_at: Timestamp,
    /// When it expires, by the same clock.
    pub expires_at: Timestamp,
    /// How long that is from now; zero when it is over.
    pub life_left: Duration,
    /// Its life, and whether the server has stated it.
    pub life: Life,
}

/// Why a record cannot be told about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NoSummary {
    /// There is none.
    #[error("there is no such record, or it is over")]
    Absent,
    /// It was sealed with another key.
    #[error("the record was sealed with a key that is not here")]
    UnknownKey,
    /// It is of a later version of this crate.
    #[error("the record is of a later version")]
    UnknownFormat,
    /// It was changed, belongs to another name, or is no record.
    #[error("the record is damaged, or belongs to another name")]
    Damaged,
}

impl From<Unopened> for NoSummary {
    fn from(unopened: Unopened) -> Self {
        match unopened {
            Unopened::UnknownFormat => Self::UnknownFormat,
            Unopened::UnknownKey => Self::UnknownKey,
            Unopened::Damaged => Self::Damaged,
        }
    }
}

impl KeyRing {
    /// What is in the record `name`, as a store has read it, without the token.
    ///
    /// # Errors
    /// When there is no record, or it cannot be opened with these keys.
    pub fn summarize(&self, name: &RecordName, reading: &Reading) -> Result<EntrySummary, NoSummary> {
        self.summarize_at(name, reading, SystemClock.moment())
    }

    fn summarize_at(
        &self,
        name: &RecordName,
        reading: &Reading,
        now: Moment,
    ) -> Result<EntrySummary, NoSummary> {
        let record = reading.record.as_ref().ok_or(NoSummary::Absent)?;
        let token = match &record.body {
            Some(body) => {
                let opened = self.open(name, Part::Body, body)?;
                let entry = Entry::from_bytes(&opened).ok_or(NoSummary::Damaged)?;
                Some(TokenSummary::of(entry, reading.now, now))
            }
            None => None,
        };
        let note = if record.note.is_empty() {
            Ok(Note::default())
        } else {
            let opened = self.open(name, Part::Note, &record.note).map_err(NoSummary::from);
            opened.and_then(|opened| Note::from_bytes(&opened).ok_or(NoSummary::Damaged))
        };
        // A note that cannot be read counts as none where there is a token to tell about.
        let note = if token.is_some() { note.unwrap_or_default() } else { note? };
        let pause_left = note.paused_until.checked_sub(reading.now).filter(|millis| *millis > 0);
        Ok(EntrySummary {
            token,
            lease_left: record.lease_left,
            pause_left: pause_left.map(Duration::from_millis),
            rejected: note.rejected,
        })
    }
}

impl TokenSummary {
    fn of(entry: Entry, store_now: u64, now: Moment) -> Self {
        let left = entry.token(store_now, now).map(|token| token.left(now));
        let id = TokenId::of(entry.access_token.expose());
        let identity = entry.identity;
        Self {
            token_endpoint: identity.token_endpoint,
            client_id: identity.client_id,
            auth_method: identity.auth_method,
            scope: identity.scope,
            granted_scope: entry.granted_scope.as_ref().map(Scope::to_string),
            audience: identity.audience,
            resources: identity.resources,
            parameter_names: identity.parameters.into_iter().map(|(name, _)| name).collect(),
            id,
            obtained_at: entry.obtained_at,
            expires_at: entry.obtained_at.saturating_add(entry.life.span()),
            life_left: left.unwrap_or_default(),
            life: entry.life,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::entry::Identity;
    use super::super::seal::{StoreKey, new_version};
    use super::super::{Record, RecordName};
    use super::*;
    use crate::key::TokenKey;
    use bytes::Bytes;
    use jeton_proto::flight::Sequence;
    use jeton_proto::secret::Secret;
    use jeton_proto::wire::client_auth::ClientAuthMethod;

    const NOW_MILLIS: u64 = 1_800_000_000_000;

    fn ring(byte: u8) -> KeyRing {
        KeyRing::new(&StoreKey::from_bytes(&[byte; 32])).unwrap()
    }

    fn now() -> Moment {
        Moment::from(Timestamp::from_unix_millis(NOW_MILLIS))
    }

    fn entry() -> Entry {
        let key = TokenKey::scope("b a")
            .unwrap()
            .with_audience("orders")
            .with_resource("https://api")
            .with_parameter("assertion", "canary-parameter");
        Entry {
            identity: Identity::of("https://as/token", "billing", ClientAuthMethod::ClientSecretBasic, &key),
            sequence: Sequence::new(7),
            obtained_by_store: Some(NOW_MILLIS - 100_000),
            obtained_at: Timestamp::from_unix_millis(NOW_MILLIS - 100_000),
            life: Life::Stated(Duration::from_secs(300)),
            granted_scope: Some("a".parse().unwrap()),
            access_token: Secret::from("canary-token"),
        }
    }

    fn reading(ring: &KeyRing, name: &RecordName, body: Option<&Entry>, note: Note) -> Reading {
        let seal = |part, plain| Bytes::from(ring.seal(name, part, plain).unwrap());
        let record = Record {
            version: new_version().unwrap(),
            lease_left: Some(Duration::from_secs(5)),
            note: seal(Part::Note, note.to_bytes()),
            body: body.map(|entry| seal(Part::Body, entry.to_bytes())),
        };
        Reading { now: NOW_MILLIS, record: Some(record) }
    }

    #[test]
    fn a_record_with_a_lease_alone_is_told_about() {
        let (ring, lease) = (ring(1), Duration::from_secs(3));
        let version = new_version().unwrap();
        let record = Record { version, lease_left: Some(lease), note: Bytes::new(), body: None };
        let reading = Reading { now: NOW_MILLIS, record: Some(record) };
        let summary = ring.summarize_at(&ring.name(b"a"), &reading, now()).unwrap();
        assert_eq!((summary.lease_left, summary.token, summary.pause_left), (Some(lease), None, None));
    }

    #[test]
    fn t34_a_summary_tells_everything_but_the_token_and_the_values() {
        let ring = ring(1);
        let name = ring.name(b"a");
        let note =
            Note { rejected: Some(TokenId::of("other")), paused_until: NOW_MILLIS + 2000, ..Note::default() };
        let summary = ring.summarize_at(&name, &reading(&ring, &name, Some(&entry()), note), now()).unwrap();
        let token = summary.token.as_ref().unwrap();
        assert_eq!(
            (token.token_endpoint.as_str(), token.client_id.as_str()),
            ("https://as/token", "billing")
        );
        assert_eq!(token.auth_method, "client_secret_basic");
        assert_eq!((token.scope.as_deref(), token.granted_scope.as_deref()), (Some("a b"), Some("a")));
        assert_eq!(
            (token.audience.as_deref(), token.resources.as_slice()),
            (Some("orders"), &["https://api".to_owned()][..])
        );
        assert_eq!(token.parameter_names, ["assertion"]);
        assert_eq!(token.id, TokenId::of("canary-token"));
        assert_eq!(token.life_left, Duration::from_secs(200));
        assert_eq!(token.expires_at.as_unix_millis(), NOW_MILLIS + 200_000);
        assert_eq!(summary.lease_left, Some(Duration::from_secs(5)));
        assert_eq!(summary.pause_left, Some(Duration::from_secs(2)));
        assert_eq!(summary.rejected, Some(TokenId::of("other")));
        assert!(!format!("{summary:?}").contains("canary"), "{summary:?}");
    }

    #[test]
    fn a_lease_without_a_token_and_a_token_that_is_over_are_told() {
        let ring = ring(1);
        let name = ring.name(b"a");
        let leased = ring.summarize_at(&name, &reading(&ring, &name, None, Note::default()), now()).unwrap();
        assert_eq!((leased.token, leased.pause_left), (None, None));
        let old = Entry { obtained_at: Timestamp::from_unix_millis(0), ..entry() };
        let over =
            ring.summarize_at(&name, &reading(&ring, &name, Some(&old), Note::default()), now()).unwrap();
        assert_eq!(over.token.unwrap().life_left, Duration::ZERO);
    }

    #[test]
    fn t29_a_record_that_cannot_be_opened_is_told_to_be_so() {
        let (ring, other) = (ring(1), ring(2));
        let name = ring.name(b"a");
        let whole = reading(&ring, &name, Some(&entry()), Note::default());
        let absent = Reading { now: NOW_MILLIS, record: None };
        assert_eq!(ring.summarize(&name, &absent), Err(NoSummary::Absent));
        assert_eq!(other.summarize(&name, &whole), Err(NoSummary::UnknownKey));
        assert_eq!(ring.summarize(&ring.name(b"b"), &whole), Err(NoSummary::Damaged));
        let mut changed = whole.clone();
        let body = changed.record.as_mut().unwrap().body.as_mut().unwrap();
        *body = Bytes::from([&[9], &body[1..]].concat());
        assert_eq!(ring.summarize(&name, &changed), Err(NoSummary::UnknownFormat));
        let mut noteless = whole;
        noteless.record.as_mut().unwrap().note = Bytes::from_static(b"no note");
        assert!(ring.summarize(&name, &noteless).is_ok(), "the token is there all the same");
        noteless.record.as_mut().unwrap().body = None;
        assert_eq!(ring.summarize(&name, &noteless), Err(NoSummary::Damaged));
    }
}
