//! The secret itself: its newest version, the one before it, and what it means when there is none.

use super::super::content::MAX_SECRET_BYTES;
use super::super::source::{SecretReading, SourceFault, SourceFaultKind};
use super::VaultSource;
use super::answer::{Fields, Frame, Metadata, NoField, Versioned, Words};
use super::place::{KvVersion, VaultPlace};
use super::server::{Answer, Question};
use super::session::{Session, Standing};
use bytes::Bytes;
use http::StatusCode;
use jeton_proto::secret::Secret;
use tokio::time::Instant;

/// What the server says to a session.
pub(super) enum Reply {
    Reading(SecretReading),
    /// 403: the token is worth nothing, or may not read this. Both are said with the same words.
    Denied(Words),
}

impl VaultSource {
    pub(super) async fn ask(&self, session: &Session, deadline: Instant) -> Result<Reply, SourceFault> {
        match self.place.engine {
            KvVersion::One => self.unversioned(session, deadline).await,
            KvVersion::Two => self.newest(session, deadline).await,
        }
    }

    async fn unversioned(&self, session: &Session, deadline: Instant) -> Result<Reply, SourceFault> {
        let path = [&*self.place.mount, &*self.place.path];
        let body = match self.server.ask(Question::get(&path, &session.token), deadline).await? {
            Answer::Data(body) => body,
            Answer::Refused { status, words, body } => return self.refused(status, words, &body),
        };
        let frame = self.server.read::<Frame<Fields>>(&body)?;
        if frame.is_dynamic() {
            let what = "it is made anew for each read and has a lease of its own: only key-value engines are supported";
            return Err(self.server.fault(SourceFaultKind::Unusable, what));
        }
        let fields = frame.data.ok_or_else(|| self.server.foreign())?;
        self.field(fields).map(|secret| Reply::Reading(SecretReading::new(secret)))
    }

    async fn newest(&self, session: &Session, deadline: Instant) -> Result<Reply, SourceFault> {
        let (secret, metadata) = match self.version(None, session, deadline).await? {
            Answer::Data(body) => self.versioned(&body)?,
            Answer::Refused { status, words, body } => return self.refused(status, words, &body),
        };
        let mut reading = SecretReading::new(secret);
        let Some(metadata) = metadata else {
            return Ok(Reply::Reading(reading));
        };
        reading.since = metadata.created();
        if let Some(before) = metadata.version.and_then(|version| version.checked_sub(1)).filter(|it| *it > 0)
        {
            let previous = self.before(before, session, deadline).await;
            reading.previous = previous.filter(|previous| *previous != reading.current);
        }
        Ok(Reply::Reading(reading))
    }

    /// The secret of an older version. That it is deleted, destroyed or of another form is no fault of the newest one.
    async fn before(&self, version: u64, session: &Session, deadline: Instant) -> Option<Secret<String>> {
        let body = match self.version(Some(version), session, deadline).await {
            Ok(Answer::Data(body)) => body,
            Ok(Answer::Refused { .. }) => return None,
            Err(fault) => {
                tracing::debug!(%fault, version, "the secret before the newest was not read");
                return None;
            }
        };
        self.versioned(&body).ok().map(|(secret, _)| secret)
    }

    async fn version(
        &self,
        version: Option<u64>,
        session: &Session,
        deadline: Instant,
    ) -> Result<Answer, SourceFault> {
        let path = [&*self.place.mount, "data", &*self.place.path];
        let question = Question { version, ..Question::get(&path, &session.token) };
        self.server.ask(question, deadline).await
    }

    fn versioned(&self, body: &Bytes) -> Result<(Secret<String>, Option<Metadata>), SourceFault> {
        let versioned = self.server.read::<Frame<Versioned>>(body)?.data;
        let Versioned { data, metadata } = versioned.ok_or_else(|| self.server.foreign())?;
        // An engine of version 1 answers so when a secret happens to lie below `data`.
        let fields = data.ok_or_else(|| self.server.foreign())?;
        Ok((self.field(fields)?, metadata))
    }

    fn field(&self, fields: Fields) -> Result<Secret<String>, SourceFault> {
        let name = self.place.field.as_deref();
        let malformed = |what: String| self.server.fault(SourceFaultKind::Malformed, what);
        let secret = fields.take(name, VaultPlace::FIELD).map_err(|no_field| match no_field {
            NoField::Missing { names } => {
                let name = name.unwrap_or(VaultPlace::FIELD);
                malformed(format!("there is no field {name}; name one by #FIELD: there are {names}"))
            }
            NoField::NotText => malformed("the field is not text".to_owned()),
        })?;
        match secret.expose().len() {
            0 => Err(malformed("the field is empty".to_owned())),
            1..=MAX_SECRET_BYTES => Ok(secret),
            _ => Err(malformed(format!("the field is longer than {MAX_SECRET_BYTES} bytes"))),
        }
    }

    /// What a refusal means, as far as it tells.
    fn refused(&self, status: StatusCode, words: Words, body: &Bytes) -> Result<Reply, SourceFault> {
        let fault = |kind, what: String| Err(self.server.fault(kind, what));
        match status {
            StatusCode::FORBIDDEN => Ok(Reply::Denied(words)),
            StatusCode::NOT_FOUND => Err(self.absent(&words, body)),
            StatusCode::BAD_REQUEST | StatusCode::METHOD_NOT_ALLOWED => {
                fault(SourceFaultKind::Unusable, format!("it does not take this for a secret{words}"))
            }
            status => fault(SourceFaultKind::Unreachable, format!("it answered {}{words}", status.as_u16())),
        }
    }

    fn absent(&self, words: &Words, body: &Bytes) -> SourceFault {
        let VaultPlace { mount, path, engine, .. } = &self.place;
        let fault = |kind, what: String| self.server.fault(kind, what);
        let metadata = self.server.read::<Frame<Versioned>>(body).ok().and_then(|frame| frame.data?.metadata);
        if let Some(metadata) = metadata {
            let version = metadata.version.unwrap_or_default();
            let end = match (metadata.destroyed, metadata.is_deleted()) {
                (true, _) => "destroyed: write a new one",
                (false, true) => "deleted: undelete it or write a new one",
                (false, false) => "not given: write a new one",
            };
            return fault(SourceFaultKind::Absent, format!("its newest version, {version}, was {end}"));
        }
        if words.contain("namespace not found") {
            return fault(
                SourceFaultKind::Absent,
                "there is no such namespace: check the option namespace".to_owned(),
            );
        }
        if words.contain("no handler for route") {
            let what = format!(
                "no engine is mounted at {mount}: check the path, or name the mount by the option mount"
            );
            return fault(SourceFaultKind::Absent, what);
        }
        if words.contain("versioned") {
            let what = format!("the engine at {mount} is of version 2: leave out the option kv");
            return fault(SourceFaultKind::Unusable, what);
        }
        let or = match engine {
            KvVersion::One => "",
            // As the policies and the addresses of the engine have it.
            KvVersion::Two if path.starts_with("data/") => ": leave out data/, which is put before it here",
            KvVersion::Two => ", or the engine is of version 1 and wants the option kv=1",
        };
        fault(
            SourceFaultKind::Absent,
            format!("there is no secret by this path in the engine at {mount}{or}{words}"),
        )
    }

    /// For a token that the server has just been asked about, and that may not read this.
    pub(super) fn denied(&self, session: &Session, words: &Words) -> SourceFault {
        let VaultPlace { mount, path, engine, .. } = &self.place;
        let what = match session.standing {
            Standing::Unknown => {
                "the token is not accepted: it was revoked or has expired; put another one where it is read from".to_owned()
            }
            Standing::Good => {
                let data = match engine {
                    KvVersion::One => "",
                    KvVersion::Two => "data/",
                };
                format!("the token is good, but no policy lets it read: it needs read on {mount}/{data}{path}")
            }
        };
        self.server.fault(SourceFaultKind::Denied, format!("{what}{words}"))
    }
}
