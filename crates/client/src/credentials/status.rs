//! What is known of the credential in force: its generation, its age, and whether it ought to be replaced.

use jeton_proto::credential::{Succession, is_rotation_due};
use jeton_proto::time::Timestamp;
use std::time::Duration;

/// What is known of the credential in force. Nothing of the credential is in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CredentialStatus {
    /// How many credentials were in force before this one, since the manager was built.
    pub generation: u64,
    /// Since when the current credential is what it is: as its source told, else since this manager first saw it. The previous one
    /// is older than that; while it is in force, this is still told of the current one. `None` before it was read.
    pub since: Option<Timestamp>,
    /// How old the current one is by that.
    pub age: Option<Duration>,
    /// Whether it is the one before the current one, since the server does not take that.
    pub is_previous: bool,
    /// Whether it ought to be replaced.
    pub rotation: Rotation,
}

/// Whether a credential ought to be replaced.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rotation {
    /// Not yet, as far as is known.
    NotDue,
    /// It is older than [`rotation_due_after`](crate::TokenManagerBuilder::rotation_due_after).
    Due,
}

pub(super) fn of<T: Clone + PartialEq>(
    succession: &Succession<T>,
    since: Option<Timestamp>,
    due_after: Duration,
    now: Timestamp,
) -> CredentialStatus {
    let due = since.is_some_and(|since| is_rotation_due(since, due_after, now));
    CredentialStatus {
        generation: succession.generation().count(),
        since,
        age: since.map(|since| now.saturating_since(since)),
        is_previous: succession.is_on_previous(),
        rotation: if due { Rotation::Due } else { Rotation::NotDue },
    }
}
