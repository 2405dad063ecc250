//! Signing keys of an authorization server over time: announced, active, retired, dropped (trap T39).
//!
//! What a key is at a moment follows from the times on record and the clock alone, so that every instance comes to the same
//! answer, and a key takes its turn without anybody writing anything. Two decisions say what is to be written: [`decide`] what
//! the schedule wants, [`obey`] what somebody wants. Both are about records that were read, and hold only if nothing has
//! changed since: the driver commits them whole, on that condition, and decides anew where it fails.
//!
//! A time that others must be able to rely on is written by somebody who has *seen* on record what it counts from. A successor is
//! announced in two steps: the first puts its public key into the JWK Set, the second says from when on it signs, a
//! [lead](RotationPolicy::lead) later. The end of a key has two steps too: it signs no more, and then somebody who has seen that
//! writes down since when. So a process may stand still between deciding and writing for as long as it likes: no key signs
//! before verifiers can have it, and none is dropped while a token of it lives.

mod command;
mod policy;
#[cfg(test)]
mod tests;

pub use command::{Command, Refused, Urgency, obey};
pub use policy::{
    CLOCK_DIFFERENCE, DEFAULT_JWKS_MAX_AGE, DEFAULT_ROTATION_PERIOD, InvalidRotationPolicy, KEPT_BEYOND,
    MAX_JWKS_MAX_AGE, MAX_KEYS_PER_ALGORITHM, MAX_ROTATION_PERIOD, MIN_JWKS_MAX_AGE, RotationPolicy,
};

use crate::issuance::MAX_TOKEN_LIFETIME;
use crate::jose::jws::Algorithm;
use crate::time::Timestamp;
use std::time::Duration;

/// A signing key as it is on record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ScheduledKey {
    /// The `kid`.
    pub key_id: String,
    /// What it signs with.
    pub algorithm: Algorithm,
    /// When it is what.
    pub times: KeyTimes,
}

/// The times of a signing key. It is in the JWK Set for as long as it is on record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KeyTimes {
    /// Its place in the order in which keys were put on record, which no clock can change.
    pub number: u64,
    /// When it was put on record, by the clock of whoever did.
    pub announced_at: Timestamp,
    /// From when on it signs, unless a later one does; `None`: not settled yet, which the schedule does.
    pub active_from: Option<Timestamp>,
    /// Whether it was taken out of service, for good.
    pub retired: Option<Retirement>,
    /// The longest life of a token that it may have signed; `None`: not known, which counts as [`MAX_TOKEN_LIFETIME`].
    pub token_lifetime: Option<Duration>,
}

impl KeyTimes {
    /// A key that is put into the JWK Set at `now` and is to sign at a time that is settled later.
    #[must_use]
    pub const fn announced(now: Timestamp) -> Self {
        Self { number: 0, announced_at: now, active_from: None, retired: None, token_lifetime: None }
    }

    /// A key that signs from `now` on, known to no verifier yet: for an algorithm without a key.
    #[must_use]
    pub const fn at_once(now: Timestamp) -> Self {
        Self { active_from: Some(now), ..Self::announced(now) }
    }

    /// When its turn to sign begins, if it has one.
    const fn turn(&self) -> Option<Timestamp> {
        match self.retired {
            None => self.active_from,
            Some(_) => None,
        }
    }

    /// When the last token that it may have signed is over for every verifier, when it signed no more at `since`.
    fn tokens_end(&self, since: Timestamp) -> Timestamp {
        let longest = self.token_lifetime.unwrap_or(MAX_TOKEN_LIFETIME);
        since.saturating_add(longest).saturating_add(KEPT_BEYOND)
    }
}

/// How far a key that was taken out of service is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Retirement {
    /// It signs no more from the moment in which an instance reads this. When that was, the schedule writes down.
    Ordered,
    /// It signed no more at this time.
    Since(Timestamp),
}

/// Which of the keys of one algorithm signs at which time.
///
/// The one whose turn began last signs. Where the clock stands before every turn, because it was set back, it is one that was
/// to sign at once, or else the first one on record: whenever there is a key with a turn, exactly one signs, and
/// never one that waits for verifiers.
///
/// ```
/// use jeton_proto::rotation::{KeyTimes, Turns};
/// use jeton_proto::time::Timestamp;
///
/// let at = Timestamp::from_unix_seconds;
/// let turns = Turns::new([
///     (&KeyTimes::at_once(at(100)), "a"),
///     (&KeyTimes { active_from: Some(at(200)), ..KeyTimes::announced(at(150)) }, "b"),
///     (&KeyTimes::announced(at(190)), "c"),
/// ]);
/// assert_eq!(turns.at(at(199)), Some(&"a"));
/// assert_eq!(turns.at(at(200)), Some(&"b"));
/// assert_eq!(turns.at(at(1)), Some(&"a"));
/// ```
#[derive(Clone, Debug)]
pub struct Turns<T> {
    latest_first: Vec<(Timestamp, T)>,
    /// The place of the one that signs before every turn.
    before_all: usize,
}

impl<T: Ord> Turns<T> {
    /// The turns of `keys`; `T` decides between two that begin at once, so it must be the same for everybody.
    pub fn new<'k>(keys: impl IntoIterator<Item = (&'k KeyTimes, T)>) -> Self {
        let turns = keys.into_iter().filter_map(|(times, key)| Some((times.turn()?, key, times)));
        let mut turns: Vec<_> = turns.collect();
        turns.sort_by(|(one, key, _), (other, other_key, _)| (other, other_key).cmp(&(one, key)));
        let waits = |(turn, _, times): &(Timestamp, T, &KeyTimes)| (times.announced_at < *turn, times.number);
        let before_all = (0..turns.len()).min_by_key(|place| turns.get(*place).map(waits));
        let latest_first = turns.into_iter().map(|(from, key, _)| (from, key)).collect();
        Self { latest_first, before_all: before_all.unwrap_or(0) }
    }
}

impl<T> Default for Turns<T> {
    fn default() -> Self {
        Self { latest_first: Vec::new(), before_all: 0 }
    }
}

impl<T> Turns<T> {
    /// Whose turn it is at `now`; `None` when there is no key at all.
    #[must_use]
    pub fn at(&self, now: Timestamp) -> Option<&T> {
        let begun = self.latest_first.iter().find(|(from, _)| *from <= now);
        begun.or_else(|| self.latest_first.get(self.before_all)).map(|(_, key)| key)
    }
}

/// What a key is at a moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeyState {
    /// In the JWK Set, and not signing yet.
    Announced {
        /// From when on it signs; `None`: the schedule has not settled that.
        active_from: Option<Timestamp>,
    },
    /// Signing.
    Active {
        /// When the next one takes over; `None`: none was announced with a time.
        until: Option<Timestamp>,
    },
    /// Signing no more, and in the JWK Set for the tokens that live.
    Retired {
        /// When the last of them is over, and the key is dropped; `None`: the schedule has not settled that.
        published_until: Option<Timestamp>,
    },
}

/// What `key`, one of `keys`, is at `now`.
#[must_use]
pub fn state(key: &ScheduledKey, keys: &[ScheduledKey], now: Timestamp) -> KeyState {
    match key.times.retired {
        Some(Retirement::Ordered) => return KeyState::Retired { published_until: None },
        Some(Retirement::Since(since)) => {
            return KeyState::Retired { published_until: Some(key.times.tokens_end(since)) };
        }
        None => {}
    }
    let Some(turn) = key.times.active_from else { return KeyState::Announced { active_from: None } };
    // A successor that was taken out of service does not count: it may never have had its turn.
    let later = of_algorithm(keys, key.algorithm)
        .filter_map(|other| Some((other.times.turn()?, &other.key_id)))
        .filter(|other| *other > (turn, &key.key_id))
        .map(|(from, _)| from)
        .min();
    if signing(keys, key.algorithm, now).is_some_and(|signing| signing.key_id == key.key_id) {
        return KeyState::Active { until: later.filter(|from| *from > now) };
    }
    match later {
        Some(from) if from <= now => KeyState::Retired { published_until: None },
        Some(_) | None => KeyState::Announced { active_from: Some(turn) },
    }
}

/// The key of this algorithm that signs at `now`.
#[must_use]
pub fn signing(keys: &[ScheduledKey], algorithm: Algorithm, now: Timestamp) -> Option<&ScheduledKey> {
    let turns = Turns::new(of_algorithm(keys, algorithm).map(|key| (&key.times, &key.key_id)));
    let key_id = *turns.at(now)?;
    of_algorithm(keys, algorithm).find(|key| key.key_id == *key_id)
}

/// What is to be written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Effect {
    /// Make a key, and put it on record with these times.
    Announce {
        /// What it is to sign with.
        algorithm: Algorithm,
        /// Its times.
        times: KeyTimes,
    },
    /// Give a key other times.
    Change {
        /// Which one.
        key_id: String,
        /// Its times from now on.
        times: KeyTimes,
    },
    /// Remove a key from the record, its private half with it.
    Drop {
        /// Which one.
        key_id: String,
    },
}

/// What the schedule wants at `now`, for a server that signs with the algorithms `in_use`, each there once. Nothing, most of the time.
///
/// Keys of other algorithms stay as they are, since another instance may sign with them, and are dropped when their tokens
/// are over.
#[must_use]
pub fn decide(
    keys: &[ScheduledKey],
    in_use: &[Algorithm],
    policy: &RotationPolicy,
    now: Timestamp,
) -> Vec<Effect> {
    let announced = in_use.iter().filter_map(|algorithm| succession(keys, *algorithm, policy, now));
    let ended = keys.iter().filter(|key| is_over(key, keys, now));
    announced
        .chain(keys.iter().filter_map(|key| settled(key, keys, in_use, policy, now)))
        .chain(ended.map(dropped))
        .collect()
}

/// A key that has to be made: because there is none, or because the youngest has served its time.
fn succession(
    keys: &[ScheduledKey],
    algorithm: Algorithm,
    policy: &RotationPolicy,
    now: Timestamp,
) -> Option<Effect> {
    let in_service = || of_algorithm(keys, algorithm).filter(|key| key.times.retired.is_none());
    if in_service().next().is_none() {
        return Some(Effect::Announce {
            algorithm,
            times: policy.of_new(newest(keys, KeyTimes::at_once(now))),
        });
    }
    if in_service().any(|key| key.times.active_from.is_none())
        || of_algorithm(keys, algorithm).count() >= MAX_KEYS_PER_ALGORITHM
    {
        return None;
    }
    // A turn far ahead was settled by a clock that went wrong; waiting for it would let a key sign for too long.
    let horizon = now.saturating_add(2 * policy.lead());
    let youngest = in_service().filter_map(|key| key.times.turn()).filter(|turn| *turn <= horizon).max();
    let due_at = youngest.unwrap_or(Timestamp::EPOCH).saturating_add(policy.period());
    let due = now.saturating_add(policy.lead()) >= due_at;
    let times = newest(keys, KeyTimes::announced(now));
    due.then(|| Effect::Announce { algorithm, times: policy.of_new(times) })
}

/// These times for a key that comes on record after all that are there.
fn newest(keys: &[ScheduledKey], times: KeyTimes) -> KeyTimes {
    let highest = keys.iter().map(|key| key.times.number).max().unwrap_or(0);
    KeyTimes { number: highest.saturating_add(1), ..times }
}

/// What is still open about a key: when its turn is, how long its tokens may live, since when it signs no more.
fn settled(
    key: &ScheduledKey,
    keys: &[ScheduledKey],
    in_use: &[Algorithm],
    policy: &RotationPolicy,
    now: Timestamp,
) -> Option<Effect> {
    let mut times = key.times;
    let in_use = in_use.contains(&key.algorithm);
    match state(key, keys, now) {
        KeyState::Retired { published_until: None } => times.retired = Some(Retirement::Since(now)),
        KeyState::Announced { active_from: None } if in_use => {
            // It need not wait for verifiers when there is no other one that could sign.
            let another = signing(keys, key.algorithm, now).is_some();
            let wait = if another { policy.lead() } else { Duration::ZERO };
            // Not before it was announced, by whatever clock: that is the mark of one that was to sign at once.
            let after = key.times.announced_at.saturating_add(Duration::from_millis(1));
            let turn = now.saturating_add(wait);
            times.active_from = Some(if another { turn.max(after) } else { turn });
        }
        KeyState::Retired { .. } | KeyState::Announced { .. } | KeyState::Active { .. } => {}
    }
    let known = times.token_lifetime.is_some_and(|longest| longest >= policy.longest_token_lifetime());
    if in_use && times.retired.is_none() && !known {
        times.token_lifetime = Some(policy.longest_token_lifetime());
    }
    (times != key.times).then(|| Effect::Change { key_id: key.key_id.clone(), times })
}

fn is_over(key: &ScheduledKey, keys: &[ScheduledKey], now: Timestamp) -> bool {
    match state(key, keys, now) {
        KeyState::Retired { published_until } => published_until.is_some_and(|until| until <= now),
        KeyState::Announced { .. } | KeyState::Active { .. } => false,
    }
}

fn dropped(key: &ScheduledKey) -> Effect {
    Effect::Drop { key_id: key.key_id.clone() }
}

fn of_algorithm(keys: &[ScheduledKey], algorithm: Algorithm) -> impl Iterator<Item = &ScheduledKey> {
    keys.iter().filter(move |key| key.algorithm == algorithm)
}
