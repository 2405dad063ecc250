//! The credential in force, and how another one takes its place: what its source holds by now, or the one before it.

use super::credential::{Credential, CredentialForm, InvalidCredential};
use super::source::{Reread, SecretReading, SecretSource, SourceFault, SourceFaultKind};
use super::status::{self, CredentialStatus, Rotation};
use super::watch::WatchKeeper;
use crate::error::{TokenError, TokenErrorKind};
use crate::sync::{Mutex, lock};
use jeton_proto::credential::Succession;
use jeton_proto::gate::CredentialGeneration;
use jeton_proto::secret::Secret;
use jeton_proto::time::{Clock, Moment, Timestamp};
use jeton_proto::wire::client_auth::ClientAuthMethod;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;

/// The credential in force, with its generation.
#[derive(Clone)]
pub(crate) struct InForce {
    pub(crate) credential: Arc<Credential>,
    pub(crate) generation: CredentialGeneration,
}

/// The credential of one client, which may be replaced at any time.
pub(crate) struct Credentials {
    form: Arc<CredentialForm>,
    clock: Arc<dyn Clock>,
    held: Mutex<Held>,
    source: Option<Arc<dyn SecretSource>>,
    /// Held by the flight that reads the source; the others wait for what it brings.
    reading: tokio::sync::Mutex<()>,
    pub(crate) watch: WatchKeeper,
}

struct Held {
    succession: Succession<Arc<Credential>>,
    /// Since when the current credential is in force: what its source told, else when it was first seen.
    since: Option<Timestamp>,
    /// What the source held when it was last read.
    read: Option<Arc<Credential>>,
    /// How many reads had begun when the one in force was put there by hand. It stays until the source holds another one than it
    /// did then, or until it is refused.
    by_hand: Option<u64>,
    /// Counts the reads that have begun.
    begun: u64,
    /// Which of them came to an end last, so that whoever waited for one takes what it brought.
    ended: u64,
    /// When the last one began.
    reading_since: Option<Instant>,
    /// How the last one failed.
    failure: Option<TokenError>,
    /// Since when the credential is in force of which it was told that its rotation is due.
    told_due: Option<Timestamp>,
}

impl Held {
    fn in_force(&self) -> Option<InForce> {
        let (credential, generation) = self.succession.in_force()?;
        Some(InForce { credential: Arc::clone(credential), generation })
    }
}

/// The longest time for which a source is waited, where the flight has that long.
pub(super) const READ_TIMEOUT: Duration = Duration::from_secs(10);
/// The longest time for which a source is waited that is looked at before each request, while there is a credential in hand: one
/// that hangs must not use the time of the request up (trap T10).
const LOOK_TIMEOUT: Duration = Duration::from_secs(2);
/// How much longer a read may hold the others up: after that its task is on a runtime that nobody drives.
const OVERDUE: Duration = Duration::from_secs(1);

/// Which reads of the source serve who wants it read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Serves {
    /// One that is under way too: there is nothing in hand.
    AnyRead,
    /// One that begins from now on: what was read before may be what was refused.
    LaterReads,
}

/// Where a credential comes from that is put in force.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Origin {
    /// The application gave it.
    Hand,
    /// It was read from the source, by the read of this number.
    Source { serial: u64 },
}

/// Whether a credential that was refused is looked up once more before the next one is tried.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Asking {
    /// Its source may hold another one by now (R3.3).
    TheSource,
    /// It was asked in this flight.
    Nobody,
}

impl Credentials {
    /// Those that are read from `source`.
    pub(crate) fn of_source(
        form: CredentialForm,
        source: Arc<dyn SecretSource>,
        clock: Arc<dyn Clock>,
    ) -> Self {
        Self::new(form, Some(source), clock)
    }

    /// The one in `text`.
    ///
    /// # Errors
    /// When it is none.
    pub(crate) fn of_text(
        form: CredentialForm,
        text: Secret<String>,
        clock: Arc<dyn Clock>,
    ) -> Result<Self, InvalidCredential> {
        let credentials = Self::new(form, None, clock);
        credentials.put(SecretReading::new(text), Origin::Hand)?;
        Ok(credentials)
    }

    fn new(form: CredentialForm, source: Option<Arc<dyn SecretSource>>, clock: Arc<dyn Clock>) -> Self {
        let held = Held {
            succession: Succession::default(),
            since: None,
            read: None,
            by_hand: None,
            begun: 0,
            ended: 0,
            reading_since: None,
            failure: None,
            told_due: None,
        };
        Self {
            form: Arc::new(form),
            clock,
            held: Mutex::new(held),
            source,
            reading: tokio::sync::Mutex::default(),
            watch: WatchKeeper::default(),
        }
    }

    /// How the credential is sent, whichever is in force.
    pub(crate) fn method(&self) -> ClientAuthMethod {
        self.form.method
    }

    /// Which credential is in force.
    pub(crate) fn generation(&self) -> CredentialGeneration {
        lock(&self.held).succession.generation()
    }

    /// How soon the source is to be read again.
    pub(crate) fn reread(&self) -> Reread {
        self.source.as_ref().map_or(Reread::WhenRefused, |source| source.reread())
    }

    /// The credential in force. Reads the source the first time, and whenever a look costs next to nothing, for `within` at most;
    /// a later read that fails leaves the credential in hand in force.
    pub(crate) async fn in_force(&self, within: Duration) -> Result<InForce, TokenError> {
        let known = lock(&self.held).succession.in_force().is_some();
        let read = match (known, self.reread()) {
            (false, _) => self.read_source(Serves::AnyRead, within).await,
            (true, Reread::BeforeEachRequest) => {
                self.read_source(Serves::LaterReads, (within / 4).min(LOOK_TIMEOUT)).await
            }
            (true, Reread::WhenRefused | Reread::Periodically) => Ok(()),
        };
        let now = self.clock.moment();
        let mut held = lock(&self.held);
        held.succession = held.succession.at(now);
        let nothing = || TokenError::new(TokenErrorKind::FlightLost);
        match (held.in_force(), read) {
            (Some(in_force), _) => Ok(in_force),
            (None, Err(error)) => Err(error),
            // A source that was read has brought a credential.
            (None, Ok(())) => Err(nothing()),
        }
    }

    /// Whom to ask when the credential in force is refused: nobody where it is the previous one, since the source was asked when the
    /// current one was.
    pub(crate) fn whom_to_ask(&self) -> Asking {
        if lock(&self.held).succession.is_on_previous() { Asking::Nobody } else { Asking::TheSource }
    }

    /// The credential to try in place of the one of `refused`: another one that the source holds by now, else the previous one.
    /// Takes half of `within` at most, so that there is time left to try it.
    pub(crate) async fn replacing(
        &self,
        refused: CredentialGeneration,
        asking: Asking,
        within: Duration,
    ) -> Option<InForce> {
        let is_in_force = {
            let mut held = lock(&self.held);
            let is_in_force = held.succession.generation() == refused;
            // What was put in force by hand and is refused gives way to what the source holds.
            held.by_hand = held.by_hand.filter(|_| !is_in_force);
            is_in_force
        };
        if asking == Asking::TheSource
            && is_in_force
            && let Err(error) = self.read_source(Serves::LaterReads, within / 2).await
        {
            tracing::warn!(%error, "the client secret was refused, and its source cannot be read");
        }
        let now = self.clock.moment();
        let mut held = lock(&self.held);
        held.succession = held.succession.refused(refused, now);
        held.in_force().filter(|in_force| in_force.generation > refused)
    }

    /// Whether another credential is in force than the one of `with`, or its source holds another by now.
    pub(crate) async fn is_newer_than(&self, with: CredentialGeneration, within: Duration) -> bool {
        if self.generation() == with
            && let Err(error) = self.read_source(Serves::LaterReads, within).await
        {
            tracing::debug!(%error, "the source of a refused credential cannot be read");
        }
        self.generation() > with
    }

    /// Notes that the server took the credential of the generation `of`.
    pub(crate) fn accepted(&self, of: CredentialGeneration) {
        let now = self.clock.moment();
        let mut held = lock(&self.held);
        held.succession = held.succession.accepted(of, now);
    }

    /// Puts another credential in force, unless it is the one that already is.
    ///
    /// # Errors
    /// When it is none.
    pub(crate) fn replace(&self, text: Secret<String>) -> Result<(), InvalidCredential> {
        self.put(SecretReading::new(text), Origin::Hand)
    }

    /// Reads the source again, in the background; whether another credential is in force since.
    pub(crate) async fn look(&self) -> Result<bool, TokenError> {
        let before = self.generation();
        self.read_source(Serves::LaterReads, READ_TIMEOUT).await?;
        Ok(self.generation() != before)
    }

    /// What is known of the credential in force.
    pub(crate) fn status(&self, rotation_due_after: Duration) -> CredentialStatus {
        let now = self.clock.now();
        let held = lock(&self.held);
        status::of(&held.succession, held.since, rotation_due_after, now)
    }

    /// Whether it is to be told now that the rotation of this credential is due: once for each.
    pub(crate) fn is_to_be_told_due(&self, status: &CredentialStatus) -> bool {
        let mut held = lock(&self.held);
        let told = held.told_due == status.since;
        let due = status.rotation == Rotation::Due;
        if due && !told {
            held.told_due = status.since;
        }
        due && !told
    }

    /// Reads the source, or waits for a read that serves as well and shares its outcome: many keys at once ask it once.
    async fn read_source(&self, serves: Serves, within: Duration) -> Result<(), TokenError> {
        let Some(source) = &self.source else {
            return Ok(());
        };
        let deadline = Instant::now() + within.min(READ_TIMEOUT);
        let (serves_after, overdue_at) = {
            let held = lock(&self.held);
            let overdue_at = held.reading_since.map(|since| since + READ_TIMEOUT + OVERDUE);
            let serves_after = match serves {
                Serves::AnyRead => held.ended,
                Serves::LaterReads => held.begun,
            };
            (serves_after, overdue_at)
        };
        let until = overdue_at.map_or(deadline, |overdue_at| overdue_at.min(deadline));
        let _turn = tokio::time::timeout_at(until, self.reading.lock()).await;
        let serial = {
            let mut held = lock(&self.held);
            if held.ended > serves_after {
                return held.failure.clone().map_or(Ok(()), Err);
            }
            if deadline <= Instant::now() {
                return Err(unavailable(too_late()));
            }
            held.reading_since = Some(Instant::now());
            held.begun += 1;
            held.begun
        };
        let read = tokio::time::timeout_at(deadline, source.read()).await;
        let read = read.unwrap_or_else(|_elapsed| Err(too_late()));
        let taken = read.and_then(|reading| self.take(reading, serial));
        let mut held = lock(&self.held);
        held.ended = held.ended.max(serial);
        let before = std::mem::replace(&mut held.failure, taken.err().map(unavailable));
        let Some(failure) = held.failure.clone() else { return Ok(()) };
        let goes_on = held.succession.in_force().is_some();
        drop(held);
        if goes_on && before.is_none() {
            tracing::warn!(error = %failure, "the source of the credential cannot be read; the one in hand stays in force");
        }
        Err(failure)
    }

    fn take(&self, reading: SecretReading, serial: u64) -> Result<(), SourceFault> {
        let unfit = |error| {
            SourceFault::new(SourceFaultKind::Malformed, "the credential that its source gave", error)
        };
        self.put(reading, Origin::Source { serial }).map_err(unfit)
    }

    /// Puts a credential in force. A previous one that cannot be used is none.
    fn put(&self, reading: SecretReading, origin: Origin) -> Result<(), InvalidCredential> {
        let now = self.clock.moment();
        let unfit_previous = lock(&self.held).put(&self.form, reading, origin, now)?;
        // Told with no lock held: whoever listens is the application's, and may ask for the credential's age.
        if let Some(error) = unfit_previous {
            tracing::warn!(%error, "the previous credential cannot be used");
        }
        Ok(())
    }
}

impl Held {
    /// Gives what is wrong with the previous one.
    fn put(
        &mut self,
        form: &Arc<CredentialForm>,
        reading: SecretReading,
        origin: Origin,
        now: Moment,
    ) -> Result<Option<InvalidCredential>, InvalidCredential> {
        if matches!(origin, Origin::Source { serial } if serial <= self.ended) {
            // A later read has ended before this one.
            return Ok(None);
        }
        let known = |text: &Secret<String>| self.succession.knows(|known| known.is_of(text)).cloned();
        let made = |text: Secret<String>| match known(&text) {
            Some(credential) => Ok(credential),
            None => form.credential(text).map(Arc::new),
        };
        let current = made(reading.current)?;
        let previous = reading.previous.map(made).transpose();
        let counts = match origin {
            Origin::Hand => {
                self.by_hand = Some(self.begun);
                true
            }
            Origin::Source { serial } => self.counts(&current, serial),
        };
        if !counts {
            return Ok(None);
        }
        let is_another = self.succession.current() != Some(&current);
        let (previous, unfit) = match previous {
            Ok(previous) => (previous, None),
            Err(error) => (None, Some(error)),
        };
        self.succession = self.succession.read(current, previous, now);
        if is_another {
            self.since = Some(reading.since.unwrap_or(now.wall()));
        } else if let Some(since) = reading.since {
            self.since = Some(since);
        }
        Ok(unfit)
    }

    /// Whether what the read `serial` brought takes the place of what is in force.
    fn counts(&mut self, current: &Arc<Credential>, serial: u64) -> bool {
        let before = self.read.replace(Arc::clone(current));
        let stays = self.by_hand.is_some_and(|begun| {
            // One that began before it was put there, or that found what was there before.
            serial <= begun || before.is_none_or(|before| before == *current)
        });
        if !stays {
            self.by_hand = None;
        }
        !stays
    }
}

fn too_late() -> SourceFault {
    SourceFault::new(
        SourceFaultKind::Unreachable,
        "the source of the credential",
        "it did not answer in time",
    )
}

fn unavailable(fault: SourceFault) -> TokenError {
    TokenError::new(TokenErrorKind::SecretUnavailable { fault })
}
