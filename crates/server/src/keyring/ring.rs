//! The signing keys in memory: what signs, and what is published.

use super::book::Book;
use super::document::StoredKey;
use super::{KeyringError, document};
use crate::http::PublishedKeys;
use crate::server_key::Sealer;
use crate::store::{Changes, Follower};
use arc_swap::{ArcSwap, Guard};
use jeton_proto::jose::access_token::AccessTokenSigner;
use jeton_proto::jose::jwk::JwkSet;
use jeton_proto::jose::jws::Algorithm;
use jeton_proto::rotation::{KeyState, ScheduledKey, Turns, state};
use jeton_proto::time::Timestamp;
use jeton_proto::wire::error_response::printable;
use serde_json::json;
use std::cmp::{Ordering, Reverse};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};

/// The signing keys as of the last look at the store.
#[derive(Debug)]
pub(crate) struct Keyring {
    sealer: Arc<Sealer>,
    published: Arc<PublishedKeys>,
    keys: ArcSwap<Keys>,
    /// Tells the schedule that the keys have changed.
    nudge: SyncSender<()>,
}

/// The signing keys at one moment.
#[derive(Debug, Default)]
pub(crate) struct Keys {
    pub(super) book: Book,
    signers: BTreeMap<String, Arc<Signer>>,
    es256: Turns<Arc<Signer>>,
    eddsa: Turns<Arc<Signer>>,
    rs256: Turns<Arc<Signer>>,
    /// Every key that is published, to verify with.
    verification: JwkSet,
    /// Keys that are published and cannot be opened here: their ids, and why.
    unopened: BTreeMap<String, String>,
}

/// How many signing keys there are in each state.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct KeyCounts {
    pub(crate) announced: u64,
    pub(crate) active: u64,
    pub(crate) retired: u64,
}

/// A key that can sign.
#[derive(Debug)]
struct Signer {
    key_id: String,
    signer: AccessTokenSigner,
}

impl Keyring {
    /// A keyring that opens with `sealer` and shows its keys in `published`, and what its schedule listens to.
    pub(crate) fn new(sealer: Arc<Sealer>, published: Arc<PublishedKeys>) -> (Arc<Self>, Receiver<()>) {
        let (nudge, nudged) = sync_channel(1);
        (Arc::new(Self { sealer, published, keys: ArcSwap::default(), nudge }), nudged)
    }

    /// The keys of now. To be held for a moment, never across an await.
    pub(crate) fn keys(&self) -> Guard<Arc<Keys>> {
        self.keys.load()
    }

    /// How many keys there are in each state at `now`.
    pub(crate) fn counts(&self, now: Timestamp) -> KeyCounts {
        let schedule = self.keys().book.schedule();
        let mut counts = KeyCounts::default();
        for key in &schedule {
            let count = match state(key, &schedule, now) {
                KeyState::Announced { .. } => &mut counts.announced,
                KeyState::Active { .. } => &mut counts.active,
                KeyState::Retired { .. } => &mut counts.retired,
            };
            *count += 1;
        }
        counts
    }

    pub(super) fn sealer(&self) -> &Sealer {
        &self.sealer
    }

    /// Lets the schedule look at once. When the channel is full it is about to.
    pub(super) fn nudge(&self) {
        let _about_to = self.nudge.try_send(());
    }

    /// The first key that cannot be used, as an error.
    pub(crate) fn check(&self) -> Result<(), KeyringError> {
        let keys = self.keys();
        let unreadable = keys.book.unreadable().iter().map(|(key_id, fault)| (key_id, &fault.what));
        match unreadable.chain(&keys.unopened).next() {
            None => Ok(()),
            Some((key_id, fault)) => {
                Err(KeyringError::Unreadable { key_id: printable(key_id), fault: fault.clone() })
            }
        }
    }
}

impl Keys {
    /// What signs with this algorithm at `now`.
    pub(crate) fn signer(&self, algorithm: Algorithm, now: Timestamp) -> Option<&AccessTokenSigner> {
        let turns = match algorithm {
            Algorithm::Es256 => &self.es256,
            Algorithm::EdDsa => &self.eddsa,
            Algorithm::Rs256 => &self.rs256,
        };
        turns.at(now).map(|signer| &signer.signer)
    }

    /// Every key that a live token may be signed with.
    pub(crate) const fn verification(&self) -> &JwkSet {
        &self.verification
    }

    /// Whether the private half of this key is at hand.
    pub(super) fn has_opened(&self, key_id: &str) -> bool {
        self.signers.contains_key(key_id)
    }

    fn following(before: &Self, book: Book, sealer: &Sealer) -> Self {
        let mut keys = Self { book, ..Self::default() };
        for stored in keys.book.keys() {
            let key_id = &stored.key.key_id;
            // A key id stands for one key for ever, so what was opened once stays.
            let known = before.signers.get(key_id).cloned().map(Ok);
            match known.unwrap_or_else(|| open(stored, sealer)) {
                Ok(signer) => drop(keys.signers.insert(key_id.clone(), signer)),
                Err(error) => drop(keys.unopened.insert(key_id.clone(), error.to_string())),
            }
        }
        let turns = |algorithm| {
            let of_algorithm = keys.book.keys().filter(|stored| stored.key.algorithm == algorithm);
            Turns::new(of_algorithm.filter_map(|stored| {
                let signer = keys.signers.get(&stored.key.key_id)?;
                Some((&stored.key.times, Arc::clone(signer)))
            }))
        };
        let [es256, eddsa, rs256] = [Algorithm::Es256, Algorithm::EdDsa, Algorithm::Rs256].map(turns);
        // One that cannot be used leaves the others in.
        let verification = JwkSet::parse(&keys.jwks()).unwrap_or_default();
        Self { es256, eddsa, rs256, verification, ..keys }
    }

    /// The public keys as a JWK Set (RFC 7517 §5), the newest first: the same bytes at every instance.
    fn jwks(&self) -> Vec<u8> {
        let mut keys: Vec<_> = self.book.keys().collect();
        keys.sort_by_key(|stored| Reverse(stored.key.times.number));
        let keys: Vec<_> = keys.iter().map(|stored| stored.jwk.to_json()).collect();
        json!({ "keys": keys }).to_string().into_bytes()
    }

    fn tell_of_faults(&self, before: &Self) {
        let unreadable = self.book.unreadable().iter().map(|(key_id, fault)| (key_id, &fault.what));
        for (key_id, fault) in unreadable.chain(&self.unopened) {
            if !before.book.unreadable().contains_key(key_id) && !before.unopened.contains_key(key_id) {
                let key_id = printable(key_id);
                tracing::warn!(
                    key_id,
                    fault,
                    "a signing key in the registry cannot be used; the others go on"
                );
            }
        }
    }
}

impl Follower for Keyring {
    fn follow(&self, changes: &Changes) {
        let before = self.keys.load_full();
        let mut book = before.book.clone();
        if !book.follow(changes) {
            return;
        }
        let keys = Keys::following(&before, book, &self.sealer);
        keys.tell_of_faults(&before);
        // Published before it can sign.
        self.published.publish(keys.jwks());
        self.keys.store(Arc::new(keys));
        self.nudge();
    }
}

fn open(stored: &StoredKey, sealer: &Sealer) -> Result<Arc<Signer>, document::Unopened> {
    let key = stored.open(sealer)?;
    let ScheduledKey { key_id, .. } = &stored.key;
    Ok(Arc::new(Signer { key_id: key_id.clone(), signer: AccessTokenSigner::new(key) }))
}

impl Ord for Signer {
    fn cmp(&self, other: &Self) -> Ordering {
        self.key_id.cmp(&other.key_id)
    }
}

impl PartialOrd for Signer {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Signer {
    fn eq(&self, other: &Self) -> bool {
        self.key_id == other.key_id
    }
}

impl Eq for Signer {}
