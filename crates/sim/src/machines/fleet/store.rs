//! The store as its contract has it, and as others may have left it.

use super::engine::FleetEngine;
use crate::machines::clocks::Reading;
use jeton_proto::flight::{Found, Sequence, Shared, Version};
use jeton_proto::lifecycle::{CachedToken, TokenId};
use jeton_proto::secret::Secret;
use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

/// How many earlier states of a record are remembered, for replicas that are behind and for those who put one back.
const MOST_PAST: usize = 8;
/// What the store's clock shows at first: some day of the year 2023.
const STORE_EPOCH_MS: u64 = 1_700_000_000_000;

/// A token as it is sealed.
#[derive(Clone, Debug)]
pub struct Sealed {
    /// The token.
    pub text: Arc<str>,
    /// Its fingerprint.
    pub id: TokenId,
    /// For which key it was sealed.
    pub place: usize,
    /// Its place among the tokens of that key.
    pub sequence: Sequence,
    /// When it was asked for, by the wall clock of who asked.
    pub obtained_wall_ms: u64,
    /// When it was asked for, by the store's clock.
    pub obtained_by_store_ms: u64,
    /// Its life.
    pub life_ms: u64,
}

/// What goes with a lease, or stays in its place.
#[derive(Clone, Copy, Debug, Default)]
pub struct Note {
    /// For which key it was sealed.
    pub place: usize,
    /// The token whose rejection the lease was taken for.
    pub rejected: Option<TokenId>,
    /// Until when the server is to be left alone, by the store's clock.
    pub pause_end_ms: u64,
}

/// What the store keeps for a key. Its ends are by the store's clock.
#[derive(Clone, Debug)]
pub struct Record {
    /// Of which write it is.
    pub version: Version,
    /// The token.
    pub body: Option<Sealed>,
    /// When the store lets go of it.
    pub body_end_ms: u64,
    /// The note.
    pub note: Note,
    /// The end of the lease.
    pub lease_end_ms: u64,
}

impl Record {
    /// Whether somebody has the lease.
    pub fn is_leased(&self, store_ms: u64) -> bool {
        self.lease_end_ms > store_ms
    }

    fn is_kept(&self, store_ms: u64) -> bool {
        self.lease_end_ms.max(self.body_end_ms).max(self.note.pause_end_ms) > store_ms
    }
}

/// What becomes of a record.
#[derive(Clone, Debug)]
pub enum Change {
    /// The lease is taken; the token goes where it is rejected.
    Lease {
        /// For how long.
        for_ms: u64,
        /// The rejected token.
        rejecting: Option<TokenId>,
    },
    /// The lease is prolonged, and nothing else changes.
    Prolong {
        /// For how long from now.
        for_ms: u64,
    },
    /// The token is put in, the lease out.
    Token {
        /// The token.
        body: Sealed,
        /// For how long it is kept.
        for_ms: u64,
    },
    /// The lease is put out.
    Nothing {
        /// For how long the server is to be left alone.
        pause_ms: u64,
    },
}

/// What came of a change: the new version and the store's clock, or what is there.
pub type Swapped = Result<(Version, u64), Box<Option<Record>>>;

#[derive(Debug, Default)]
struct Shelf {
    current: Option<Record>,
    past: VecDeque<Option<Record>>,
}

/// The store.
#[derive(Debug)]
pub struct Store {
    shelves: Vec<Shelf>,
    versions: u64,
    ahead_ms: u64,
}

impl Store {
    /// An empty one for `keys` keys.
    pub fn new(keys: usize) -> Self {
        let shelves = std::iter::repeat_with(Shelf::default).take(keys).collect();
        Self { shelves, versions: 0, ahead_ms: STORE_EPOCH_MS }
    }

    /// What its clock shows at `true_ms`.
    pub fn clock_ms(&self, true_ms: u64) -> u64 {
        self.ahead_ms.saturating_add(true_ms)
    }

    /// Its clock is set forward, or back.
    pub fn step_clock(&mut self, by_ms: i64) {
        self.ahead_ms = self.ahead_ms.saturating_add_signed(by_ms);
    }

    /// What is there.
    pub fn record(&self, key: usize, true_ms: u64) -> Option<&Record> {
        let now_ms = self.clock_ms(true_ms);
        self.shelves.get(key)?.current.as_ref().filter(|record| record.is_kept(now_ms))
    }

    /// What a replica has that is `behind` by so many writes.
    pub fn replica(&self, key: usize, behind: usize, true_ms: u64) -> Option<Record> {
        let Some(before) = behind.checked_sub(1) else { return self.record(key, true_ms).cloned() };
        let now_ms = self.clock_ms(true_ms);
        let past = &self.shelves.get(key)?.past;
        let record = past.get(before).or(past.back())?.as_ref();
        record.filter(|record| record.is_kept(now_ms)).cloned()
    }

    /// Makes a change if the version is the expected one.
    pub fn swap(&mut self, key: usize, expected: Option<Version>, change: Change, true_ms: u64) -> Swapped {
        let now_ms = self.clock_ms(true_ms);
        let there = self.record(key, true_ms).cloned();
        if there.as_ref().map(|record| record.version) != expected {
            return Err(Box::new(there));
        }
        self.versions += 1;
        let version = Version::from_random(u128::from(self.versions).to_be_bytes());
        let (body, body_end_ms) = there
            .as_ref()
            .filter(|record| record.body_end_ms > now_ms)
            .map(|record| (record.body.clone(), record.body_end_ms))
            .unwrap_or_default();
        let kept = Record {
            version,
            body,
            body_end_ms,
            note: Note { place: key, rejected: None, pause_end_ms: 0 },
            lease_end_ms: 0,
        };
        let record = match change {
            Change::Lease { for_ms, rejecting: None } => Record { lease_end_ms: now_ms + for_ms, ..kept },
            Change::Lease { for_ms, rejecting } => Record {
                body: None,
                body_end_ms: 0,
                note: Note { rejected: rejecting, ..kept.note },
                lease_end_ms: now_ms + for_ms,
                ..kept
            },
            Change::Prolong { for_ms } => {
                let note = there.map_or(kept.note, |there| there.note);
                Record { note, lease_end_ms: now_ms + for_ms, ..kept }
            }
            Change::Token { body, for_ms } => {
                Record { body: Some(body), body_end_ms: now_ms + for_ms, ..kept }
            }
            Change::Nothing { pause_ms } => {
                let pause_end_ms = if pause_ms > 0 { now_ms + pause_ms } else { 0 };
                Record { note: Note { pause_end_ms, ..kept.note }, ..kept }
            }
        };
        self.put(key, Some(record));
        Ok((version, now_ms))
    }

    fn put(&mut self, key: usize, record: Option<Record>) {
        if let Some(shelf) = self.shelves.get_mut(key) {
            shelf.past.push_front(std::mem::replace(&mut shelf.current, record));
            shelf.past.truncate(MOST_PAST);
        }
    }

    /// The last `writes` writes of every key are lost.
    pub fn fail_over(&mut self, writes: usize) {
        for shelf in &mut self.shelves {
            for _ in 0..writes {
                if let Some(before) = shelf.past.pop_front() {
                    shelf.current = before;
                }
            }
        }
    }

    /// A record is lost.
    pub fn lose(&mut self, key: usize) {
        self.put(key, None);
    }

    /// Somebody puts back what was there so many writes ago.
    pub fn put_back(&mut self, key: usize, writes_ago: usize) {
        let past = self.shelves.get(key).and_then(|shelf| shelf.past.get(writes_ago).cloned());
        if let Some(record) = past {
            self.put(key, record);
        }
    }

    /// Somebody puts the record of one key in the place of another, and that one in its place.
    pub fn exchange(&mut self, one: usize, other: usize) {
        let record = |key: usize| self.shelves.get(key).and_then(|shelf| shelf.current.clone());
        let (first, second) = (record(one), record(other));
        self.put(one, second);
        self.put(other, first);
    }
}

/// What the sealing layer makes of a record that was read for `key` by a process whose clocks showed `asked` before it asked.
pub fn opened(
    engine: &mut impl FleetEngine,
    record: &Record,
    key: usize,
    store_ms: u64,
    asked: Reading,
) -> Found {
    let left = |end_ms: u64| end_ms.checked_sub(store_ms).filter(|left_ms| *left_ms > 0);
    let note = if engine.opens(record.note.place, key) { record.note } else { Note::default() };
    let sealed = record.body.as_ref().filter(|_| record.body_end_ms > store_ms);
    let token = sealed.filter(|sealed| engine.opens(sealed.place, key)).cloned();
    let token = token.and_then(|sealed| {
        let by_wall_ms = asked.wall_ms.saturating_sub(sealed.obtained_wall_ms);
        let by_store_ms = store_ms.saturating_sub(sealed.obtained_by_store_ms);
        let age = Duration::from_millis(engine.age_ms(by_wall_ms, by_store_ms));
        let life = Duration::from_millis(sealed.life_ms);
        let left = life.checked_sub(age).filter(|left| !left.is_zero())?;
        let (obtained, life) =
            asked.moment().checked_sub(age).map_or((asked.moment(), left), |obtained| (obtained, life));
        let token = CachedToken::new(Secret::from(&*sealed.text), None, obtained, life).ok()?;
        Some(Shared { token: Arc::new(token), sequence: sealed.sequence })
    });
    Found {
        version: record.version,
        token,
        rejected: note.rejected,
        lease_left: left(record.lease_end_ms).map(Duration::from_millis),
        pause_left: left(note.pause_end_ms).map(Duration::from_millis),
    }
}
