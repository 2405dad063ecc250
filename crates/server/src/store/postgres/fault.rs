//! What can be wrong with a database that is somewhere else, in words that say what to do.

use crate::store::StoreError;
use jeton_proto::wire::error_response::printable;
use std::error::Error;
use std::fmt;
use std::path::Path;
use tokio_postgres::error::SqlState;

/// Why something could not be done.
#[derive(Clone, Debug)]
pub(super) struct Fault {
    /// Completes "the registry in the database …".
    pub(super) advice: &'static str,
    /// What the database or the network said, cleaned.
    said: Said,
    pub(super) kind: FaultKind,
}

/// How the next attempt depends on a fault.
#[derive(Clone, Debug)]
pub(super) enum FaultKind {
    /// It may pass by itself.
    Passing,
    /// There was no answer in time, and the next question over the same connection is to get none either.
    Silent,
    /// It takes no changes, and another one of the hosts may be the one that does.
    ReadOnly,
    /// Somebody has to change something first.
    Standing,
    /// The schema is of this version, which a newer program has made.
    NewerSchema(u32),
}

/// The text of somebody else.
#[derive(Clone, Debug, thiserror::Error)]
#[error("{0}")]
struct Said(String);

const UNREACHABLE: &str =
    "cannot be reached; see that PostgreSQL runs there and that nothing is in between, and try again";
const SILENT: &str = "does not answer in time; see what PostgreSQL does there and try again";
const READ_ONLY: &str = "is read only, as a standby is, or as one whose disk was full; name the primary or all hosts of the cluster, or make it \
                         writable, and try again";
const GONE: &str =
    "is not there any more; restore it from a backup, or start the server anew to begin with an empty one";

impl Fault {
    fn new(kind: FaultKind, advice: &'static str, said: &str) -> Self {
        Self { advice, said: Said(printable(said)), kind }
    }

    /// The database has not answered in time.
    pub(super) fn silent() -> Self {
        Self::new(FaultKind::Silent, SILENT, "the time was over")
    }

    /// The connection is closed, or was never made.
    pub(super) fn unreachable(said: &dyn fmt::Display) -> Self {
        Self::new(FaultKind::Passing, UNREACHABLE, &said.to_string())
    }

    /// The connection broke when the commit had been sent.
    pub(super) fn doubtful_commit(said: &dyn fmt::Display) -> Self {
        let advice = "broke off while it made the change: look whether it was made before trying again";
        Self::new(FaultKind::Silent, advice, &said.to_string())
    }

    /// TLS cannot be set up.
    pub(super) fn tls(said: &dyn fmt::Display) -> Self {
        Self::new(FaultKind::Standing, "cannot be reached: TLS cannot be set up", &said.to_string())
    }

    /// The file of `sslrootcert` is of no use.
    pub(super) fn authorities(file: &Path, said: &dyn fmt::Display) -> Self {
        let advice =
            "cannot be reached: the file of sslrootcert must have PEM certificates that this user can read";
        Self::new(FaultKind::Standing, advice, &format!("{}: {said}", file.display()))
    }

    /// The place of the password gives none.
    pub(super) fn no_password(said: &dyn fmt::Display) -> Self {
        Self::new(FaultKind::Standing, "cannot be opened: its password cannot be read", &said.to_string())
    }

    /// The tables are not there.
    pub(super) fn gone() -> Self {
        Self::new(FaultKind::Standing, GONE, "there is no table jeton.schema_version")
    }

    /// The schema is of a newer version.
    pub(super) fn newer_schema(version: u32) -> Self {
        let advice = "was made by a newer program; use that one";
        Self::new(FaultKind::NewerSchema(version), advice, &format!("the schema has version {version}"))
    }

    /// Whether the connection is of no more use.
    pub(super) fn is_silent(&self) -> bool {
        matches!(self.kind, FaultKind::Silent)
    }

    /// Whether the database takes no changes.
    pub(super) fn is_read_only(&self) -> bool {
        matches!(self.kind, FaultKind::ReadOnly)
    }

    /// What is told of it.
    pub(super) fn error(self, place: &str) -> StoreError {
        let place = format!("in {place}");
        match self.kind {
            FaultKind::NewerSchema(version) => {
                StoreError::NewerSchema { place, version, known: super::schema::VERSION }
            }
            FaultKind::Passing | FaultKind::Silent | FaultKind::ReadOnly | FaultKind::Standing => {
                StoreError::Database { place, advice: self.advice, source: Box::new(self.said) }
            }
        }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.advice, self.said)
    }
}

impl From<tokio_postgres::Error> for Fault {
    fn from(error: tokio_postgres::Error) -> Self {
        let Some(said) = error.as_db_error() else {
            let text = with_sources(&error);
            // Of all hosts none can be written. The library says so by this text alone.
            if text.contains("does not allow writes") {
                return Self::new(FaultKind::ReadOnly, READ_ONLY, &text);
            }
            // Whoever shows a certificate that does not hold will not show another one by itself.
            if text.contains("invalid peer certificate") {
                let advice = "cannot be reached: its certificate is not good for that name, or of an authority that is not trusted; \
                              see sslrootcert";
                return Self::new(FaultKind::Standing, advice, &text);
            }
            return Self::unreachable(&text);
        };
        let (kind, advice) = advice(said.code());
        // Details and hints are left out: they may quote the row.
        Self::new(kind, advice, &format!("{} (SQLSTATE {})", said.message(), said.code().code()))
    }
}

fn with_sources(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(error) = source {
        let said = error.to_string();
        // The library says what its source says already.
        if !text.contains(&said) {
            text = format!("{text}: {said}");
        }
        source = error.source();
    }
    text
}

fn advice(code: &SqlState) -> (FaultKind, &'static str) {
    use FaultKind::{Passing, ReadOnly, Standing};
    match code.code() {
        "28P01" | "28000" => (
            Standing,
            "cannot be opened: PostgreSQL refuses the user or the password; see server.database_password, and pg_hba.conf there",
        ),
        "3D000" => (Standing, "is not there; make it by: createdb --owner=jeton DATABASE"),
        "42501" => (
            Standing,
            "cannot be used: its user lacks a right there; let it own the schema jeton, or see the grants in the documentation",
        ),
        "42P01" | "3F000" => (Standing, GONE),
        "53300" => (Passing, "takes no more connections; raise max_connections or end others, and try again"),
        "53100" => (Passing, "cannot be written: the disk of the database is full; make room and try again"),
        "57P01" | "57P02" | "57P03" => (Passing, "is starting or ending; try again"),
        "55P03" | "57014" | "25P03" => {
            (Passing, "is held by another program for more than 5 seconds; end that program or try again")
        }
        "25006" => (ReadOnly, READ_ONLY),
        _ => (Passing, "cannot be used: PostgreSQL refuses; see its log"),
    }
}
