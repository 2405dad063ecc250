//! Which of a client's credentials is in force, while they are replaced: the current one, or the one before it while a
//! rotation is rolled out and the server does not take the current one yet; and whether a rotation is due.

#[cfg(test)]
mod tests;

use crate::gate::CredentialGeneration;
use crate::time::{Moment, Timestamp};
use std::time::Duration;

/// For how long a previous credential that works is used before the current one is tried again. Short enough that a rotation
/// which has arrived at the server is noticed soon, long enough that a server sees hardly any refusals.
pub const PREVIOUS_FOR: Duration = Duration::from_mins(5);

/// After how long a rotation is due, unless it is set otherwise.
pub const ROTATION_DUE_AFTER: Duration = Duration::from_hours(90 * 24);

/// The credentials of one client, in the order in which they are tried. `T` is whatever tells one credential from another.
///
/// Every credential that takes the place of another has a [generation](CredentialGeneration) of its own, so that what was
/// remembered of a refusal ends at once. Where both have been refused, they share one: then a request goes with the one or the
/// other whenever the memory of the last refusal ends, and its pauses grow as for a single credential (trap T24).
///
/// ```
/// use jeton_proto::credential::Succession;
/// use jeton_proto::time::{Moment, Timestamp};
///
/// let now = Moment::from(Timestamp::from_unix_seconds(1_000_000));
/// let read = Succession::default().read("new", Some("old"), now);
/// let (credential, generation) = read.in_force().unwrap();
/// assert_eq!(*credential, "new");
///
/// let refused = read.refused(generation, now);
/// assert_eq!(*refused.in_force().unwrap().0, "old", "the server has not heard of the new one yet");
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Succession<T> {
    known: Option<Known<T>>,
    generation: CredentialGeneration,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Known<T> {
    current: T,
    previous: Option<T>,
    in_force: Rank,
}

/// Which one of the two is in force.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rank {
    /// The current one.
    Current,
    /// The one before it, since the current one was refused.
    Previous {
        /// When it took the current one's place.
        since: Moment,
    },
    /// Both were refused, or the only one, and the current one is tried next.
    CurrentAgain,
    /// Both were refused, and the previous one is tried next.
    PreviousAgain,
}

impl<T> Default for Succession<T> {
    fn default() -> Self {
        Self { known: None, generation: CredentialGeneration::default() }
    }
}

impl<T: Clone + PartialEq> Succession<T> {
    /// What its source holds. Whatever is new there is in force at once, as a generation of its own; the same as before changes
    /// nothing.
    #[must_use]
    pub fn read(&self, current: T, previous: Option<T>, now: Moment) -> Self {
        let previous = previous.filter(|previous| *previous != current);
        let Some(known) = &self.known else {
            let known = Known { current, previous, in_force: Rank::Current };
            return Self { known: Some(known), generation: self.generation };
        };
        if known.current == current && known.previous == previous {
            return self.clone();
        }
        let on_hand = *known.credential() == current;
        let (in_force, generation) = match (known.current == current, known.in_force, &previous) {
            // Another one to try beside a current one that was refused is tried at once.
            (true, Rank::Previous { .. } | Rank::CurrentAgain | Rank::PreviousAgain, Some(_)) => {
                (Rank::Previous { since: now }, self.generation.next())
            }
            // It is refused as before, and there is no other any more.
            (true, Rank::CurrentAgain | Rank::PreviousAgain, None) => (Rank::CurrentAgain, self.generation),
            _ if on_hand => (Rank::Current, self.generation),
            _ => (Rank::Current, self.generation.next()),
        };
        Self { known: Some(Known { current, previous, in_force }), generation }
    }

    /// The server refused the credential of the generation `of`: the previous one is in force, if there is one that was not
    /// refused as well. One that is read later is tried at once. A refusal of an earlier generation is late, and changes nothing.
    #[must_use]
    pub fn refused(&self, of: CredentialGeneration, now: Moment) -> Self {
        let Some(known) = self.known.as_ref().filter(|_| of == self.generation) else {
            return self.clone();
        };
        let (in_force, generation) = match (known.in_force, &known.previous) {
            (Rank::Current, Some(_)) => (Rank::Previous { since: now }, self.generation.next()),
            (Rank::CurrentAgain, Some(_)) => (Rank::PreviousAgain, self.generation),
            (_, None) | (Rank::Previous { .. } | Rank::PreviousAgain, Some(_)) => {
                (Rank::CurrentAgain, self.generation)
            }
        };
        Self { known: Some(Known { in_force, ..known.clone() }), generation }
    }

    /// The server took the credential of the generation `of`.
    #[must_use]
    pub fn accepted(&self, of: CredentialGeneration, now: Moment) -> Self {
        let Some(known) = self.known.as_ref().filter(|_| of == self.generation) else {
            return self.clone();
        };
        let in_force = match known.in_force {
            Rank::CurrentAgain => Rank::Current,
            Rank::PreviousAgain => Rank::Previous { since: now },
            Rank::Current | Rank::Previous { .. } => return self.clone(),
        };
        Self { known: Some(Known { in_force, ..known.clone() }), generation: self.generation }
    }

    /// What is in force now: the current one again, once the previous one was for [`PREVIOUS_FOR`].
    #[must_use]
    pub fn at(&self, now: Moment) -> Self {
        match &self.known {
            Some(known @ Known { in_force: Rank::Previous { since }, .. })
                if now.since(*since).is_none_or(|passed| passed >= PREVIOUS_FOR) =>
            {
                Self {
                    known: Some(Known { in_force: Rank::Current, ..known.clone() }),
                    generation: self.generation.next(),
                }
            }
            Some(_) | None => self.clone(),
        }
    }

    /// The credential in force, and its generation; nothing before the first [`read`](Self::read).
    pub fn in_force(&self) -> Option<(&T, CredentialGeneration)> {
        self.known.as_ref().map(|known| (known.credential(), self.generation))
    }

    /// The current credential, be it in force or not.
    pub fn current(&self) -> Option<&T> {
        self.known.as_ref().map(|known| &known.current)
    }

    /// The credential of which `is_it` is true, be it the current or the previous one.
    pub fn knows(&self, is_it: impl Fn(&T) -> bool) -> Option<&T> {
        let known = self.known.as_ref()?;
        [Some(&known.current), known.previous.as_ref()]
            .into_iter()
            .flatten()
            .find(|credential| is_it(credential))
    }

    /// The generation of the credential in force, or of the one that is read first.
    pub fn generation(&self) -> CredentialGeneration {
        self.generation
    }

    /// Whether the credential in force is the previous one.
    pub fn is_on_previous(&self) -> bool {
        self.known.as_ref().is_some_and(Known::is_previous)
    }
}

impl<T> Known<T> {
    fn credential(&self) -> &T {
        match (&self.previous, self.in_force) {
            (Some(previous), Rank::Previous { .. } | Rank::PreviousAgain) => previous,
            (Some(_) | None, _) => &self.current,
        }
    }

    fn is_previous(&self) -> bool {
        match self.in_force {
            Rank::Previous { .. } | Rank::PreviousAgain => self.previous.is_some(),
            Rank::Current | Rank::CurrentAgain => false,
        }
    }
}

/// Whether a credential that is in force since `since` ought to be replaced, `after` that long.
#[must_use]
pub fn is_rotation_due(since: Timestamp, after: Duration, now: Timestamp) -> bool {
    now.saturating_since(since) >= after
}
