//! What a place is that a secret is read from, and what a read brings.

use jeton_proto::secret::Secret;
use jeton_proto::time::Timestamp;
use jeton_proto::wire::error_response::printable;
use std::fmt;
use std::future::Future;
use std::pin::Pin;

/// Where a secret comes from: a file, a secret manager, whatever may hold another one tomorrow.
///
/// It is asked when the first token is needed, once more whenever the server answers `invalid_client`, and as often besides as
/// [`reread`](Self::reread) says: a secret that has changed by then is tried at once. However many keys need it at the same time,
/// it is asked once for all, and has 10 s, or what is left of the token request's time where that is less; before a request for
/// which there is a secret in hand 2 s, or a quarter of that time.
///
/// A wrong secret is harmless but for the refused request. A read that fails is harmless once there was one that did not: the
/// secret in hand stays in force.
pub trait SecretSource: Send + Sync + 'static {
    /// Reads the secret.
    fn read(&self) -> SecretFuture<'_>;

    /// How soon another look is worth its cost. Default [`Reread::WhenRefused`].
    fn reread(&self) -> Reread {
        Reread::WhenRefused
    }
}

/// The secret to come, or why there is none.
pub type SecretFuture<'a> = Pin<Box<dyn Future<Output = Result<SecretReading, SourceFault>> + Send + 'a>>;

/// How soon a source is read again though nothing was refused.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Reread {
    /// Not at all: it holds the same for as long as the process lives, or nobody knows what a look costs.
    #[default]
    WhenRefused,
    /// Every [`credential_period`](crate::TokenManagerBuilder::credential_period), in the background: a look costs a request to
    /// somebody, or a process.
    Periodically,
    /// Before each token request, and every few seconds while the secret is refused: a look costs next to nothing, as with
    /// a file.
    BeforeEachRequest,
}

/// What a source holds: the secret in force, and the one before it where the source still has that.
///
/// ```
/// use jeton::Secret;
/// use jeton::credentials::SecretReading;
///
/// let reading = SecretReading::new(Secret::from("new")).with_previous(Secret::from("old"));
/// assert_eq!(format!("{reading:?}"), "SecretReading { current: Secret(…), previous: Some(Secret(…)), since: None }");
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SecretReading {
    /// The secret in force; it is tried first.
    pub current: Secret<String>,
    /// The one before it, which is tried when the server does not take the current one, as while a rotation is rolled out.
    pub previous: Option<Secret<String>>,
    /// Since when the current one is in force, as far as the source knows.
    pub since: Option<Timestamp>,
}

impl SecretReading {
    /// A secret of which nothing more is known.
    #[must_use]
    pub const fn new(current: Secret<String>) -> Self {
        Self { current, previous: None, since: None }
    }

    /// And the one before it.
    #[must_use]
    pub fn with_previous(mut self, previous: Secret<String>) -> Self {
        self.previous = Some(previous);
        self
    }

    /// And since when it is in force.
    #[must_use]
    pub fn in_force_since(mut self, since: Timestamp) -> Self {
        self.since = Some(since);
        self
    }
}

impl From<Secret<String>> for SecretReading {
    fn from(current: Secret<String>) -> Self {
        Self::new(current)
    }
}

/// Why a source gave no secret: which place, and what was wrong there. Nothing secret is in it; it is shown to people.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{place}: {what}")]
pub struct SourceFault {
    kind: SourceFaultKind,
    place: String,
    what: String,
}

/// What kind of fault it is, so that one knows who has to act.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum SourceFaultKind {
    /// There is nothing by that name: a variable that is not set, a file or a secret that is not there.
    Absent,
    /// The place does not let us: permissions, a token that was revoked, a login that was refused.
    Denied,
    /// The place did not answer, or not in time.
    Unreachable,
    /// What is there is no secret: empty, too long, not text, without the field that was named.
    Malformed,
    /// The settings of the source do not fit together, or it is not there on this platform.
    Unusable,
}

const EMPTY: &str = "it is empty";

impl SourceFault {
    /// A fault at `place`, such as "the secret file /run/secret", with `what` was wrong there and what to do, in lower case and
    /// without a full stop. Both are cut and cleaned of what a terminal would act on.
    pub fn new(kind: SourceFaultKind, place: impl fmt::Display, what: impl fmt::Display) -> Self {
        Self { kind, place: printable(&place.to_string()), what: printable(&what.to_string()) }
    }

    /// What kind of fault it is.
    pub fn kind(&self) -> SourceFaultKind {
        self.kind
    }

    /// That what is at `place` is empty.
    pub(super) fn of_nothing(place: impl fmt::Display) -> Self {
        Self::new(SourceFaultKind::Malformed, place, EMPTY)
    }

    /// Whether nothing is there, or something that is empty.
    pub(super) fn is_of_nothing(&self) -> bool {
        self.kind == SourceFaultKind::Absent || self.what == EMPTY
    }
}
