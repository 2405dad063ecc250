//! What somebody wants done with the keys.

use super::{
    Effect, KeyState, KeyTimes, MAX_KEYS_PER_ALGORITHM, Retirement, ScheduledKey, dropped, newest,
    of_algorithm, state,
};
use crate::jose::jws::Algorithm;
use crate::time::Timestamp;
use crate::wire::error_response::printable;

/// What is wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Command<'a> {
    /// Announce a successor now, instead of when it is due.
    Rotate {
        /// Of the key of which algorithm.
        algorithm: Algorithm,
    },
    /// Let a key sign no more; it stays published for the tokens that live.
    Retire {
        /// Which one.
        key_id: &'a str,
        /// Whether what it costs is accepted.
        urgency: Urgency,
    },
    /// Let nobody accept a token of the key any more.
    Drop {
        /// Which one.
        key_id: &'a str,
        /// Whether what it costs is accepted.
        urgency: Urgency,
    },
}

/// What may be given up for a command.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Urgency {
    /// Nothing: what would let a live token be refused is not done.
    Planned,
    /// Live tokens, for a key that has come into wrong hands. A new one signs at once, before verifiers have it: those that look
    /// for unknown keys have it in a moment, the others when their copy of the JWK Set is too old. A key that is dropped takes
    /// all its tokens with it, at each verifier as soon as its copy is too old.
    Emergency,
}

/// What is to be written for `command` at `now`; nothing when all is as wanted already.
pub fn obey(keys: &[ScheduledKey], command: Command<'_>, now: Timestamp) -> Result<Vec<Effect>, Refused> {
    match command {
        Command::Rotate { algorithm } => rotate(keys, algorithm, now),
        Command::Retire { key_id, urgency } => retire(keys, find(keys, key_id)?, urgency, now),
        Command::Drop { key_id, urgency } => drop_key(keys, find(keys, key_id)?, urgency, now),
    }
}

fn find<'k>(keys: &'k [ScheduledKey], key_id: &str) -> Result<&'k ScheduledKey, Refused> {
    let found = keys.iter().find(|key| key.key_id == key_id);
    found.ok_or_else(|| Refused::NoSuchKey { key_id: printable(key_id) })
}

fn rotate(keys: &[ScheduledKey], algorithm: Algorithm, now: Timestamp) -> Result<Vec<Effect>, Refused> {
    if of_algorithm(keys, algorithm).next().is_none() {
        return Err(Refused::NotInUse { algorithm });
    }
    let announced = |key: &&ScheduledKey| matches!(state(key, keys, now), KeyState::Announced { .. });
    if let Some(key) = of_algorithm(keys, algorithm).find(announced) {
        return Err(Refused::AlreadyAnnounced { key_id: key.key_id.clone() });
    }
    check_room(keys, algorithm)?;
    Ok(vec![Effect::Announce { algorithm, times: newest(keys, KeyTimes::announced(now)) }])
}

fn retire(
    keys: &[ScheduledKey],
    key: &ScheduledKey,
    urgency: Urgency,
    now: Timestamp,
) -> Result<Vec<Effect>, Refused> {
    let retired = Effect::Change {
        key_id: key.key_id.clone(),
        times: KeyTimes { retired: Some(Retirement::Ordered), ..key.times },
    };
    match (state(key, keys, now), urgency) {
        (KeyState::Retired { .. }, _) => Ok(Vec::new()),
        (KeyState::Announced { .. }, _) => Ok(vec![retired]),
        (KeyState::Active { .. }, Urgency::Planned) => Err(Refused::Active { key_id: key.key_id.clone() }),
        (KeyState::Active { .. }, Urgency::Emergency) => {
            check_room(keys, key.algorithm)?;
            Ok(vec![retired, at_once(keys, key.algorithm, now)])
        }
    }
}

fn drop_key(
    keys: &[ScheduledKey],
    key: &ScheduledKey,
    urgency: Urgency,
    now: Timestamp,
) -> Result<Vec<Effect>, Refused> {
    let planned = urgency == Urgency::Planned;
    match state(key, keys, now) {
        KeyState::Active { .. } if planned => Err(Refused::Active { key_id: key.key_id.clone() }),
        KeyState::Active { .. } => Ok(vec![dropped(key), at_once(keys, key.algorithm, now)]),
        KeyState::Retired { published_until }
            if planned && published_until.is_none_or(|until| now < until) =>
        {
            Err(Refused::TokensLive { key_id: key.key_id.clone(), published_until })
        }
        // It may have signed: on an instance whose clock is ahead, or before the clock was set back.
        KeyState::Announced { active_from: Some(_) } if planned => {
            Err(Refused::HasATurn { key_id: key.key_id.clone() })
        }
        KeyState::Retired { .. } | KeyState::Announced { .. } => Ok(vec![dropped(key)]),
    }
}

fn at_once(keys: &[ScheduledKey], algorithm: Algorithm, now: Timestamp) -> Effect {
    Effect::Announce { algorithm, times: newest(keys, KeyTimes::at_once(now)) }
}

fn check_room(keys: &[ScheduledKey], algorithm: Algorithm) -> Result<(), Refused> {
    if of_algorithm(keys, algorithm).count() < MAX_KEYS_PER_ALGORITHM {
        Ok(())
    } else {
        Err(Refused::TooManyKeys { algorithm })
    }
}

/// Why a command is not obeyed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// There is no key with this id.
    #[error("there is no signing key {key_id}")]
    NoSuchKey {
        /// The id, cut and cleaned.
        key_id: String,
    },
    /// The algorithm has no key that could have a successor.
    #[error(
        "there is no {algorithm} key; the server makes the first one when it is to sign with {algorithm}"
    )]
    NotInUse {
        /// The algorithm.
        algorithm: Algorithm,
    },
    /// A successor was announced already.
    #[error("the key {key_id} is announced already and will be the next to sign")]
    AlreadyAnnounced {
        /// Its id.
        key_id: String,
    },
    /// The key signs, or is about to.
    #[error(
        "the key {key_id} signs tokens; announce a successor first, and it retires when that one is active"
    )]
    Active {
        /// Its id.
        key_id: String,
    },
    /// The key is to sign.
    #[error(
        "the key {key_id} is to sign; retire it first, and it is dropped by itself when no token of it can live"
    )]
    HasATurn {
        /// Its id.
        key_id: String,
    },
    /// Tokens of the key live.
    #[error(
        "tokens that the key {key_id} has signed may live; it is dropped by itself when the last of them is over"
    )]
    TokensLive {
        /// Its id.
        key_id: String,
        /// Until when, where that is known.
        published_until: Option<Timestamp>,
    },
    /// Verifiers do not read sets of any size.
    #[error(
        "there are {MAX_KEYS_PER_ALGORITHM} {algorithm} keys, which is the most; wait until the oldest is dropped, or drop one"
    )]
    TooManyKeys {
        /// The algorithm.
        algorithm: Algorithm,
    },
}
