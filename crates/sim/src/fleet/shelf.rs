//! The store: what its contract wants, and what may become of it.

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD_NO_PAD, URL_SAFE_NO_PAD};
use bytes::Bytes;
use jeton::store::{BodyChange, Change, Reading, Record, RecordName, Subscription, Swap, Version};
use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;
use tokio::sync::watch;

/// How many earlier states of a record are remembered.
const MOST_PAST: usize = 8;
/// What the store's clock shows at first.
const STORE_EPOCH_MS: u64 = 1_790_000_000_000;

#[derive(Clone, Debug)]
struct Kept {
    version: Version,
    lease_end_ms: u64,
    note: Bytes,
    note_end_ms: u64,
    body: Bytes,
    body_end_ms: u64,
}

impl Kept {
    fn is_there(&self, now_ms: u64) -> bool {
        self.lease_end_ms.max(self.note_end_ms).max(self.body_end_ms) > now_ms
    }

    fn read(&self, now_ms: u64) -> Record {
        let left_ms = self.lease_end_ms.saturating_sub(now_ms);
        Record {
            version: self.version,
            lease_left: (left_ms > 0).then(|| Duration::from_millis(left_ms)),
            note: self.note.clone(),
            body: (self.body_end_ms > now_ms).then(|| self.body.clone()),
        }
    }
}

#[derive(Debug, Default)]
struct Place {
    current: Option<Kept>,
    past: VecDeque<Option<Kept>>,
    told: Vec<(usize, watch::Sender<()>)>,
}

/// All records.
#[derive(Debug, Default)]
pub struct Shelf {
    places: BTreeMap<RecordName, Place>,
    /// What nothing that it is given may show, in each of its forms.
    needles: Vec<String>,
    /// What was found in what it was given, and should not be there.
    leaked: Option<String>,
    ahead_ms: i64,
}

/// What somebody does to the store who should not, or what befalls it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mischief {
    /// The last writes of all records are lost.
    Failover {
        /// How many of each.
        writes: usize,
    },
    /// Everything is lost.
    Flush,
    /// All records are as they were so many writes ago.
    PutBack {
        /// How many.
        writes: usize,
    },
    /// Each record is in the place of the next.
    Exchange,
    /// One bit of each body is another.
    Flip {
        /// Where, in bits.
        bit: usize,
    },
}

impl Shelf {
    /// An empty one that looks for these words, as they are and encoded, in whatever it is given.
    pub fn watching(words: &[&str]) -> Self {
        Self { needles: words.iter().flat_map(|word| forms_of(word)).collect(), ..Self::default() }
    }

    fn clock_ms(&self, now_ms: u64) -> u64 {
        STORE_EPOCH_MS.saturating_add(now_ms).saturating_add_signed(self.ahead_ms)
    }

    /// Sets its clock forward, or back.
    pub fn step_clock(&mut self, by_ms: i64) {
        self.ahead_ms = self.ahead_ms.saturating_add(by_ms);
    }

    /// What is there, or what was so many writes ago.
    pub fn read(&self, name: &RecordName, behind: usize, now_ms: u64) -> Reading {
        let now = self.clock_ms(now_ms);
        let place = self.places.get(name);
        let kept = place.and_then(|place| match behind.checked_sub(1) {
            None => place.current.as_ref(),
            Some(before) => place.past.get(before).map_or(place.current.as_ref(), Option::as_ref),
        });
        Reading { now, record: kept.filter(|kept| kept.is_there(now)).map(|kept| kept.read(now)) }
    }

    /// Makes a change if the version is the expected one; `deaf` are those who are not told.
    pub fn swap(
        &mut self,
        name: &RecordName,
        expected: Option<Version>,
        change: Change,
        now_ms: u64,
        is_told: impl FnMut(usize) -> bool,
    ) -> Swap {
        let mut is_told = is_told;
        self.look_for_secrets(name, &change);
        let now = self.clock_ms(now_ms);
        let place = self.places.entry(*name).or_default();
        let there = place.current.as_ref().filter(|kept| kept.is_there(now));
        if there.map(|kept| kept.version) != expected {
            return Swap::Conflict(Reading { now, record: there.map(|kept| kept.read(now)) });
        }
        let end = |span: Duration| now + u64::try_from(span.as_millis()).unwrap_or(u64::MAX / 4);
        let (body, body_end_ms) = match change.body {
            BodyChange::Keep => there.map(|kept| (kept.body.clone(), kept.body_end_ms)).unwrap_or_default(),
            BodyChange::Drop => Default::default(),
            BodyChange::Put { body, life } => (body, end(life)),
        };
        let lease_end_ms = change.lease.map(end).unwrap_or_default();
        let kept = Kept {
            version: change.version,
            lease_end_ms,
            note: change.note,
            note_end_ms: end(change.keep_for),
            body,
            body_end_ms,
        };
        place.put(Some(kept));
        if lease_end_ms <= now {
            place.told.retain(|(_, sender)| sender.receiver_count() > 0);
            place.told.iter().filter(|(who, _)| is_told(*who)).for_each(|(_, sender)| {
                sender.send_replace(());
            });
        }
        Swap::Written { now }
    }

    /// Tells `process` of changes from now on.
    pub fn subscribe(&mut self, name: &RecordName, process: usize) -> Subscription {
        let (sender, receiver) = watch::channel(());
        self.places.entry(*name).or_default().told.push((process, sender));
        Subscription::new(receiver, ())
    }

    /// Something befalls it.
    pub fn suffer(&mut self, mischief: Mischief) {
        match mischief {
            Mischief::Failover { writes } => {
                for place in self.places.values_mut() {
                    for _ in 0..writes {
                        if let Some(before) = place.past.pop_front() {
                            place.current = before;
                        }
                    }
                }
            }
            Mischief::Flush => self.places.values_mut().for_each(|place| place.put(None)),
            Mischief::PutBack { writes } => {
                for place in self.places.values_mut() {
                    if let Some(before) = place.past.get(writes).cloned() {
                        place.put(before);
                    }
                }
            }
            Mischief::Exchange => {
                let mut all: Vec<Option<Kept>> =
                    self.places.values().map(|place| place.current.clone()).collect();
                if !all.is_empty() {
                    all.rotate_left(1);
                }
                self.places.values_mut().zip(all).for_each(|(place, kept)| place.put(kept));
            }
            Mischief::Flip { bit } => {
                for kept in self.places.values_mut().filter_map(|place| place.current.as_mut()) {
                    let mut body = kept.body.to_vec();
                    let at = (bit / 8) % body.len().max(1);
                    if let Some(byte) = body.get_mut(at) {
                        *byte ^= 1 << (bit % 8);
                    }
                    kept.body = body.into();
                }
            }
        }
    }

    /// What leaked, if anything did.
    pub fn leaked(&self) -> Option<&str> {
        self.leaked.as_deref()
    }

    /// Nothing that reaches the store shows whose it is, or what.
    fn look_for_secrets(&mut self, name: &RecordName, change: &Change) {
        let body = match &change.body {
            BodyChange::Put { body, .. } => &body[..],
            BodyChange::Keep | BodyChange::Drop => &[],
        };
        for given in [&name.bytes()[..], &change.note, body] {
            let found = self
                .needles
                .iter()
                .find(|form| given.windows(form.len()).any(|window| window == form.as_bytes()));
            if let Some(form) = found {
                self.leaked = Some(form.clone());
            }
        }
    }
}

/// A word as it is, in hexadecimal digits, and the middle of it in base64 wherever it begins.
fn forms_of(word: &str) -> Vec<String> {
    let hex = word.bytes().fold(String::new(), |hex, byte| hex + &format!("{byte:02x}"));
    let mut forms = vec![word.to_owned(), hex];
    for shift in 0..3 {
        let padded = format!("{:shift$}{word}", "");
        for text in [URL_SAFE_NO_PAD.encode(&padded), STANDARD_NO_PAD.encode(&padded)] {
            forms.extend(text.get(shift + 2..text.len() - 3).map(str::to_owned));
        }
    }
    // What is shorter may be in any random bytes.
    forms.retain(|form| form.len() > 4);
    forms
}

impl Place {
    fn put(&mut self, kept: Option<Kept>) {
        self.past.push_front(std::mem::replace(&mut self.current, kept));
        self.past.truncate(MOST_PAST);
    }
}
