//! The database file: how it is opened, and its schema from version to version.

use super::RegistryError;
use super::secrets::SecretHasher;
use crate::data_dir::{PrivateFileError, create_private, private_file};
use jeton_proto::secret::constant_time_eq;
use rusqlite::{Connection, OpenFlags, TransactionBehavior, params};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// How long a statement waits for another process that writes.
const BUSY_TIMEOUT: Duration = Duration::from_secs(5);

/// Every database begins with a header of this length.
const HEADER_BYTES: u64 = 100;

/// The version of the schema that this program writes.
const SCHEMA_VERSION: u32 = 1;

/// Each entry brings the schema from the version of its index to the next one. Entries are only ever added.
const MIGRATIONS: [&str; SCHEMA_VERSION as usize] = ["
    CREATE TABLE setting (
        name  TEXT PRIMARY KEY,
        value BLOB NOT NULL
    ) STRICT, WITHOUT ROWID;
    CREATE TABLE client (
        client_id              TEXT PRIMARY KEY,
        status                 TEXT NOT NULL CHECK (status IN ('enabled', 'disabled')),
        allowed_scope          TEXT NOT NULL,
        default_scope          TEXT,
        token_lifetime_seconds INTEGER NOT NULL,
        created_at_ms          INTEGER NOT NULL
    ) STRICT, WITHOUT ROWID;
    CREATE TABLE client_audience (
        client_id TEXT NOT NULL REFERENCES client ON DELETE CASCADE,
        position  INTEGER NOT NULL,
        audience  TEXT NOT NULL,
        PRIMARY KEY (client_id, position)
    ) STRICT, WITHOUT ROWID;
    CREATE TABLE client_secret (
        client_id     TEXT NOT NULL REFERENCES client ON DELETE CASCADE,
        digest        BLOB NOT NULL CHECK (length(digest) = 32),
        created_at_ms INTEGER NOT NULL,
        PRIMARY KEY (client_id, digest)
    ) STRICT, WITHOUT ROWID;
"];

/// Opens the registry in `data_dir`, makes it where there is none, and brings its schema up to date.
pub(super) fn open(data_dir: &Path, hasher: &SecretHasher) -> Result<Connection, RegistryError> {
    let path = path(data_dir);
    if file_id(&path)?.is_none() {
        // An empty file is a good database for SQLite. Made whole before it has its name, a registry is never empty,
        // so one that lost its content is told from a new one.
        create_private(&path, |temporary| {
            let mut connection = connect(temporary)?;
            migrate(&mut connection, &path)?;
            check_key(&connection, data_dir, hasher)?;
            connection.close().map_err(|(_, source)| database(&path, source))
        })?;
    }
    let mut connection = connect(&path)?;
    // Stays with the file; a log beside a file that is to be renamed would be left behind.
    connection.pragma_update(None, "journal_mode", "wal").map_err(|source| database(&path, source))?;
    migrate(&mut connection, &path)?;
    check_key(&connection, data_dir, hasher)?;
    Ok(connection)
}

/// What tells a file from one that was put in its place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct FileId {
    device: u64,
    inode: u64,
}

/// The registry file at `path`, which is checked; `None` when there is none.
pub(super) fn file_id(path: &Path) -> Result<Option<FileId>, RegistryError> {
    let Some(metadata) = private_file(path)? else {
        return Ok(None);
    };
    if metadata.len() < HEADER_BYTES {
        let code = rusqlite::ffi::Error::new(rusqlite::ffi::SQLITE_CORRUPT);
        let source = rusqlite::Error::SqliteFailure(code, Some("the file was cut off".to_owned()));
        return Err(database(path, source));
    }
    Ok(Some(FileId { device: metadata.dev(), inode: metadata.ino() }))
}

/// The error for a registry that is gone.
pub(super) fn gone(path: &Path) -> RegistryError {
    let source = std::io::ErrorKind::NotFound.into();
    PrivateFileError::Read { path: path.to_owned(), source }.into()
}

/// The database file in `data_dir`.
pub(super) fn path(data_dir: &Path) -> PathBuf {
    data_dir.join("registry.sqlite3")
}

fn connect(path: &Path) -> Result<Connection, RegistryError> {
    // SQLite gives the files beside the database the permissions of the database.
    let flags =
        OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX | OpenFlags::SQLITE_OPEN_NOFOLLOW;
    let database = |source| database(path, source);
    // SQLite refuses every link on the way with NOFOLLOW, so the directory is resolved first.
    let resolved = std::fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
    let connection = Connection::open_with_flags(resolved, flags).map_err(database)?;
    connection.busy_timeout(BUSY_TIMEOUT).map_err(database)?;
    connection.pragma_update(None, "synchronous", "full").map_err(database)?;
    connection.pragma_update(None, "foreign_keys", "on").map_err(database)?;
    Ok(connection)
}

fn migrate(connection: &mut Connection, path: &Path) -> Result<(), RegistryError> {
    let database = |source| database(path, source);
    // The write lock comes first: of two processes that start at once, one migrates and the other finds it done.
    let transaction =
        connection.transaction_with_behavior(TransactionBehavior::Immediate).map_err(database)?;
    let version: u32 =
        transaction.pragma_query_value(None, "user_version", |row| row.get(0)).map_err(database)?;
    if version > SCHEMA_VERSION {
        return Err(RegistryError::NewerSchema { path: path.to_owned(), version, known: SCHEMA_VERSION });
    }
    for migration in MIGRATIONS.iter().skip(version as usize) {
        transaction.execute_batch(migration).map_err(database)?;
    }
    if version < SCHEMA_VERSION {
        transaction.pragma_update(None, "user_version", SCHEMA_VERSION).map_err(database)?;
    }
    transaction.commit().map_err(database)
}

/// Digests made under one key are of no use under another: a key file that was lost or swapped is told at once,
/// instead of letting every client fail.
fn check_key(connection: &Connection, data_dir: &Path, hasher: &SecretHasher) -> Result<(), RegistryError> {
    const NAME: &str = "secret_key_fingerprint";
    let fingerprint = hasher.fingerprint();
    let kept: Vec<u8> = (|| {
        connection.execute(
            "INSERT INTO setting (name, value) VALUES (?1, ?2) ON CONFLICT DO NOTHING",
            params![NAME, fingerprint.as_bytes()],
        )?;
        connection.query_row("SELECT value FROM setting WHERE name = ?1", [NAME], |row| row.get(0))
    })()
    .map_err(|source| database(&path(data_dir), source))?;
    if constant_time_eq(&kept, fingerprint.as_bytes()) {
        Ok(())
    } else {
        Err(RegistryError::ForeignKey { data_dir: data_dir.to_owned() })
    }
}

/// The error for a database that failed.
pub(super) fn database(path: &Path, source: rusqlite::Error) -> RegistryError {
    RegistryError::Database { path: path.to_owned(), source }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sqlite_is_past_the_wal_reset_fault() {
        let (major, minor, patch) = (3, 51, 3);
        assert!(
            rusqlite::version_number() >= major * 1_000_000 + minor * 1000 + patch,
            "{}",
            rusqlite::version()
        );
    }

    #[test]
    fn the_file_is_private_and_in_wal_mode() {
        use std::os::unix::fs::PermissionsExt as _;
        let dir = tempfile::tempdir().unwrap();
        let hasher = SecretHasher::open(dir.path()).unwrap();
        let connection = open(dir.path(), &hasher).unwrap();
        let mode: String = connection.pragma_query_value(None, "journal_mode", |row| row.get(0)).unwrap();
        assert_eq!(mode, "wal");
        let mut files = 0;
        for entry in std::fs::read_dir(dir.path()).unwrap() {
            let entry = entry.unwrap();
            assert_eq!(entry.metadata().unwrap().permissions().mode() & 0o777, 0o600, "{:?}", entry.path());
            files += 1;
        }
        assert!(files >= 3, "the database, its log and the key");
    }

    /// Whether this process has the lock that tells other processes of an open database.
    #[cfg(target_os = "linux")]
    fn is_locked(path: &Path) -> bool {
        const SHARED_LOCK: &str = "1073741826 1073742335";
        let inode = std::fs::metadata(path).unwrap().ino();
        let (process, file) = (format!(" {} ", std::process::id()), format!(":{inode} {SHARED_LOCK}"));
        let locks = std::fs::read_to_string("/proc/locks").unwrap();
        locks.lines().any(|line| line.contains(&process) && line.ends_with(&file))
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn opening_the_registry_again_takes_no_lock_from_the_first_who_opened_it() {
        let dir = tempfile::tempdir().unwrap();
        let hasher = SecretHasher::open(dir.path()).unwrap();
        let first = open(dir.path(), &hasher).unwrap();
        assert!(is_locked(&path(dir.path())));
        drop(open(dir.path(), &hasher).unwrap());
        file_id(&path(dir.path())).unwrap().unwrap();
        assert!(is_locked(&path(dir.path())));
        drop(first);
        assert!(!is_locked(&path(dir.path())));
    }

    #[test]
    fn a_schema_of_a_newer_version_is_left_alone() {
        let dir = tempfile::tempdir().unwrap();
        let hasher = SecretHasher::open(dir.path()).unwrap();
        open(dir.path(), &hasher).unwrap().pragma_update(None, "user_version", 99).unwrap();
        let error = open(dir.path(), &hasher).unwrap_err();
        assert!(matches!(error, RegistryError::NewerSchema { version: 99, .. }), "{error}");
    }

    #[test]
    fn a_file_that_is_no_database_is_told() {
        let dir = tempfile::tempdir().unwrap();
        let hasher = SecretHasher::open(dir.path()).unwrap();
        drop(open(dir.path(), &hasher).unwrap());
        for content in ["canary ".repeat(1000), "canary".to_owned(), String::new()] {
            std::fs::write(path(dir.path()), &content).unwrap();
            let message = open(dir.path(), &hasher).unwrap_err().to_string();
            assert!(message.contains("registry.sqlite3 is damaged; restore it from a backup"), "{message}");
            assert!(!message.contains("canary"), "{message}");
            assert_eq!(std::fs::read_to_string(path(dir.path())).unwrap(), content, "it is left alone");
        }
    }

    #[test]
    fn a_registry_with_another_key_is_told() {
        let dir = tempfile::tempdir().unwrap();
        open(dir.path(), &SecretHasher::open(dir.path()).unwrap()).unwrap();
        std::fs::remove_file(dir.path().join("client-secrets.key")).unwrap();
        let error = open(dir.path(), &SecretHasher::open(dir.path()).unwrap()).unwrap_err();
        assert!(matches!(error, RegistryError::ForeignKey { .. }), "{error}");
    }

    #[test]
    fn many_who_open_at_once_all_succeed() {
        let dir = tempfile::tempdir().unwrap();
        std::thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| open(dir.path(), &SecretHasher::open(dir.path()).unwrap()).unwrap());
            }
        });
    }
}
