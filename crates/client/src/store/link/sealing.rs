//! What is written into a record and read from it: opened, sealed, and counted where it cannot be used.

use super::{Draft, Pause, Place, Seen, StoreLink, Writing};
use crate::store::entry::{Entry, Note, Unreached};
use crate::store::seal::Part;
use crate::store::{BodyChange, Change, MAX_BODY_BYTES, Reading};
use crate::telemetry::Unusable;
use bytes::Bytes;
use jeton_proto::flight::{Found, LONGEST_LEASE, Shared};
use jeton_proto::lifecycle::TokenId;
use jeton_proto::time::Moment;
use std::sync::Arc;
use std::time::Duration;

/// The longest pause that another process is believed. Who was told a longer one keeps to it; the others ask again, lest one
/// process behind a proxy of its own stops the whole fleet for a day.
pub(crate) const LONGEST_PAUSE: Duration = Duration::from_secs(300);
/// For how long it is remembered that the server could not be reached.
const UNREACHED_FOR: Duration = Duration::from_secs(10);
/// How long a record that says nothing but that a flight ended is kept.
pub(super) const FREED_FOR: Duration = Duration::from_millis(1);

impl StoreLink {
    pub(super) fn open(&self, place: &Place, reading: Reading, moment: Moment) -> Seen {
        let now = reading.now;
        let Some(record) = reading.record else {
            return Seen { now, found: None, unreached: Unreached::default() };
        };
        let note = if record.note.is_empty() {
            Note::default()
        } else {
            let opened = self.ring.open(&place.name, Part::Note, &record.note);
            let note = opened
                .map_err(Unusable::from)
                .and_then(|plain| Note::from_bytes(&plain).ok_or(Unusable::Malformed));
            self.usable(note).unwrap_or_default()
        };
        let token = record.body.and_then(|body| self.usable(self.token(place, &body, now, moment)));
        let pause = Duration::from_millis(note.paused_until.saturating_sub(now)).min(LONGEST_PAUSE);
        let found = Found {
            version: record.version,
            token,
            rejected: note.rejected,
            lease_left: record.lease_left.map(|left| left.min(LONGEST_LEASE)),
            pause_left: (!pause.is_zero()).then_some(pause),
        };
        Seen { now, found: Some(found), unreached: note.unreached }
    }

    fn token(&self, place: &Place, body: &Bytes, now: u64, moment: Moment) -> Result<Shared, Unusable> {
        let plain = self.ring.open(&place.name, Part::Body, body)?;
        let entry = Entry::from_bytes(&plain).ok_or(Unusable::Malformed)?;
        if entry.identity != place.identity {
            return Err(Unusable::OfAnotherKey);
        }
        let token = entry.token(now, moment).ok_or(Unusable::Expired)?;
        Ok(Shared { token: Arc::new(token), sequence: entry.sequence })
    }

    /// What cannot be used counts as not there, and is counted.
    fn usable<T>(&self, opened: Result<T, Unusable>) -> Option<T> {
        opened.inspect_err(|why| self.telemetry.store_unusable(*why)).ok()
    }

    pub(super) fn sealed(&self, place: &Place, draft: &Draft) -> Option<Change> {
        let version = draft.version;
        match &draft.writing {
            Writing::Lease { rejecting, pause, unreached } => Some(Change {
                version,
                lease: Some(self.lease),
                note: self.note(place, *rejecting, *pause, *unreached)?,
                keep_for: kept_for(*pause, *unreached),
                body: if rejecting.is_some() { BodyChange::Drop } else { BodyChange::Keep },
            }),
            Writing::Token { shared, obtained_by_store, life } => {
                let (identity, token) = (place.identity.clone(), &shared.token);
                let entry = Entry::of(identity, token, shared.sequence, *obtained_by_store);
                let body = self.ring.seal(&place.name, Part::Body, entry.to_bytes())?;
                let fits = body.len() <= MAX_BODY_BYTES;
                fits.then(|| Change {
                    version,
                    lease: None,
                    note: Bytes::new(),
                    keep_for: Duration::ZERO,
                    body: BodyChange::Put { body: body.into(), life: *life },
                })
            }
            Writing::Nothing { pause, unreached } => Some(Change {
                version,
                lease: None,
                note: self.note(place, None, *pause, *unreached)?,
                keep_for: kept_for(*pause, *unreached),
                body: BodyChange::Keep,
            }),
        }
    }

    fn note(
        &self,
        place: &Place,
        rejected: Option<TokenId>,
        pause: Option<Pause>,
        unreached: Unreached,
    ) -> Option<Bytes> {
        let paused_until = pause.map(|pause| pause.until).unwrap_or_default();
        let note = Note { rejected, paused_until, unreached };
        if note == Note::default() {
            return Some(Bytes::new());
        }
        self.ring.seal(&place.name, Part::Note, note.to_bytes()).map(Bytes::from)
    }
}

/// How long a record is kept for the sake of its note.
fn kept_for(pause: Option<Pause>, unreached: Unreached) -> Duration {
    let remembered = if unreached.is_nobody() { FREED_FOR } else { UNREACHED_FOR };
    pause.map_or(remembered, |pause| remembered.max(pause.left.saturating_add(remembered)))
}
