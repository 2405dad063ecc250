//! The database file: how it is opened, and its schema from version to version.

use super::database;
use crate::data_dir::{PrivateFileError, create_private, private_file};
use crate::store::StoreError;
use rusqlite::{Connection, ErrorCode, OpenFlags, TransactionBehavior};
use std::cmp::Ordering;
use std::io::ErrorKind;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::time::Duration;
use url::Url;

/// How long a statement waits for another process that writes.
const BUSY_TIMEOUT: Duration = Duration::from_secs(5);

/// Every database begins with a header of this length.
const HEADER_BYTES: u64 = 100;

/// The version of the schema that this program writes.
const SCHEMA_VERSION: u32 = 2;

/// Each entry brings the schema from the version of its index to the next one. Entries are only ever added.
const MIGRATIONS: [&str; SCHEMA_VERSION as usize] =
    [include_str!("0001-tables-of-clients.sql"), include_str!("0002-records.sql")];

/// What can be done with an open file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Access {
    /// Everything.
    Writing,
    /// The disk is read-only now, so nothing but to read.
    Reading,
}

/// Opens the file at `path`, makes it where there is none, and brings its schema up to date. On a disk that is read-only it is
/// opened for reading, as it is.
pub(super) fn open(path: &Path) -> Result<(Connection, Access), StoreError> {
    match open_for_writing(path) {
        // With the log of a server that was killed, SQLite opens for reading by itself, and says nothing.
        Ok(connection) => {
            let reading = connection.is_readonly("main").map_err(|source| database(path, source))?;
            Ok((connection, if reading { Access::Reading } else { Access::Writing }))
        }
        Err(error) if may_be_read_only(&error) && is_on_read_only_disk(path) => {
            open_for_reading(path).map(|connection| (connection, Access::Reading))
        }
        Err(error) => Err(error),
    }
}

fn open_for_writing(path: &Path) -> Result<Connection, StoreError> {
    if file_id(path)?.is_none() {
        // An empty file is a good database for SQLite. Made whole before it has its name, a registry is never empty,
        // so one that lost its content is told from a new one.
        create_private(path, |temporary| {
            let mut connection = connect(temporary)?;
            migrate(&mut connection, path)?;
            connection.close().map_err(|(_, source)| database(path, source))
        })?;
    }
    let mut connection = connect(path)?;
    // Stays with the file; a log beside a file that is to be renamed would be left behind.
    connection.pragma_update(None, "journal_mode", "wal").map_err(|source| database(path, source))?;
    migrate(&mut connection, path)?;
    Ok(connection)
}

/// Whether `SQLite` has said what it says of a file on such a disk.
fn may_be_read_only(error: &StoreError) -> bool {
    let StoreError::Database { source, .. } = error else { return false };
    let code = source.downcast_ref::<rusqlite::Error>().and_then(rusqlite::Error::sqlite_error_code);
    matches!(code, Some(ErrorCode::ReadOnly | ErrorCode::CannotOpen | ErrorCode::SystemIoFailure))
}

/// Whether no file can be made beside `path` because of the disk, and not because of rights. The registry itself is not tried: to
/// close it would take its locks from the connections of this process.
fn is_on_read_only_disk(path: &Path) -> bool {
    let made = create_private(&path.with_extension("probe"), |_temporary| {
        Err(PrivateFileError::NotAFile { path: path.to_owned() })
    });
    let Err(PrivateFileError::Write { source, .. }) = made else { return false };
    source.kind() == ErrorKind::ReadOnlyFilesystem
}

/// Opens what is there. A log of changes that were not brought into the file yet is read with it; where there is none, whoever could
/// make one cannot write here either, and `SQLite` is told so, which would make one to read.
fn open_for_reading(path: &Path) -> Result<Connection, StoreError> {
    let failed = |source| database(path, source);
    let resolved = std::fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
    let flags =
        OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX | OpenFlags::SQLITE_OPEN_NOFOLLOW;
    let log = std::fs::symlink_metadata(path.with_extension("sqlite3-wal"));
    let connection = match (log, Url::from_file_path(&resolved)) {
        (Err(error), Ok(mut url)) if error.kind() == ErrorKind::NotFound => {
            url.set_query(Some("immutable=1"));
            Connection::open_with_flags(url.as_str(), flags | OpenFlags::SQLITE_OPEN_URI)
        }
        _ => Connection::open_with_flags(resolved, flags),
    };
    let connection = connection.map_err(failed)?;
    connection.busy_timeout(BUSY_TIMEOUT).map_err(failed)?;
    let version: u32 =
        connection.pragma_query_value(None, "user_version", |row| row.get(0)).map_err(failed)?;
    match version.cmp(&SCHEMA_VERSION) {
        Ordering::Equal => Ok(connection),
        Ordering::Greater => Err(newer(path, version)),
        // To be brought up to date, it must be written.
        Ordering::Less => {
            let code = rusqlite::ffi::Error::new(rusqlite::ffi::SQLITE_READONLY);
            let said = format!("its schema has version {version} and is to be brought up to date");
            Err(failed(rusqlite::Error::SqliteFailure(code, Some(said))))
        }
    }
}

/// What tells a file from one that was put in its place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct FileId {
    device: u64,
    inode: u64,
}

/// The registry file at `path`, which is checked; `None` when there is none.
pub(super) fn file_id(path: &Path) -> Result<Option<FileId>, StoreError> {
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
pub(super) fn gone(path: &Path) -> StoreError {
    let source = ErrorKind::NotFound.into();
    PrivateFileError::Read { path: path.to_owned(), source }.into()
}

fn connect(path: &Path) -> Result<Connection, StoreError> {
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

fn migrate(connection: &mut Connection, path: &Path) -> Result<(), StoreError> {
    let database = |source| database(path, source);
    // The write lock comes first: of two processes that start at once, one migrates and the other finds it done.
    let transaction =
        connection.transaction_with_behavior(TransactionBehavior::Immediate).map_err(database)?;
    let version: u32 =
        transaction.pragma_query_value(None, "user_version", |row| row.get(0)).map_err(database)?;
    if version > SCHEMA_VERSION {
        return Err(newer(path, version));
    }
    for migration in MIGRATIONS.iter().skip(version as usize) {
        transaction.execute_batch(migration).map_err(database)?;
    }
    if version < SCHEMA_VERSION {
        transaction.pragma_update(None, "user_version", SCHEMA_VERSION).map_err(database)?;
    }
    transaction.commit().map_err(database)
}

fn newer(path: &Path, version: u32) -> StoreError {
    StoreError::NewerSchema { place: path.display().to_string(), version, known: SCHEMA_VERSION }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::sqlite_path;

    fn open(path: &Path) -> Result<Connection, StoreError> {
        super::open(path).map(|(connection, access)| {
            assert_eq!(access, Access::Writing);
            connection
        })
    }

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
        let connection = open(&sqlite_path(dir.path())).unwrap();
        let mode: String = connection.pragma_query_value(None, "journal_mode", |row| row.get(0)).unwrap();
        assert_eq!(mode, "wal");
        let mut files = 0;
        for entry in std::fs::read_dir(dir.path()).unwrap() {
            let entry = entry.unwrap();
            assert_eq!(entry.metadata().unwrap().permissions().mode() & 0o777, 0o600, "{:?}", entry.path());
            files += 1;
        }
        assert!(files >= 2, "the database and its log");
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
        let path = sqlite_path(dir.path());
        let first = open(&path).unwrap();
        assert!(is_locked(&path));
        drop(open(&path).unwrap());
        file_id(&path).unwrap().unwrap();
        assert!(is_locked(&path));
        drop(first);
        assert!(!is_locked(&path));
    }

    #[test]
    fn a_schema_of_a_newer_version_is_left_alone() {
        let dir = tempfile::tempdir().unwrap();
        let path = sqlite_path(dir.path());
        open(&path).unwrap().pragma_update(None, "user_version", 99).unwrap();
        let error = open(&path).unwrap_err();
        assert!(matches!(error, StoreError::NewerSchema { version: 99, .. }), "{error}");
    }

    #[test]
    fn a_file_that_is_no_database_is_told() {
        let dir = tempfile::tempdir().unwrap();
        let path = sqlite_path(dir.path());
        drop(open(&path).unwrap());
        for content in ["canary ".repeat(1000), "canary".to_owned(), String::new()] {
            std::fs::write(&path, &content).unwrap();
            let message = open(&path).unwrap_err().to_string();
            assert!(message.contains("registry.sqlite3 is damaged; restore it from a backup"), "{message}");
            assert!(!message.contains("canary"), "{message}");
            assert_eq!(std::fs::read_to_string(&path).unwrap(), content, "it is left alone");
        }
    }

    #[test]
    fn many_who_open_at_once_all_succeed() {
        let dir = tempfile::tempdir().unwrap();
        let path = sqlite_path(dir.path());
        std::thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| open(&path).unwrap());
            }
        });
    }

    #[test]
    fn the_tables_of_the_first_version_become_records() {
        let dir = tempfile::tempdir().unwrap();
        let old = Connection::open(dir.path().join("old")).unwrap();
        old.execute_batch(MIGRATIONS[0]).unwrap();
        old.execute_batch(
            "INSERT INTO client VALUES ('a\"b', 'disabled', 'x y', 'x', 300, 17);
             INSERT INTO client_audience VALUES ('a\"b', 1, 'https://two'), ('a\"b', 0, 'https://one');
             INSERT INTO client_secret VALUES ('a\"b', zeroblob(32), 18);
             INSERT INTO client VALUES ('plain', 'enabled', '', NULL, 3600, 19);",
        )
        .unwrap();
        old.execute_batch(MIGRATIONS[1]).unwrap();
        let read = |id: &str| -> serde_json::Value {
            let query = "SELECT body FROM record WHERE kind = 'client' AND id = ?1 AND change = 1";
            let body: String = old.query_row(query, [id], |row| row.get(0)).unwrap();
            serde_json::from_str(&body).unwrap()
        };
        let expected = serde_json::json!({
            "status": "disabled", "scope": "x y", "default_scope": "x",
            "audience": ["https://one", "https://two"], "token_lifetime_seconds": 300, "created_at_ms": 17,
            "secrets": [{ "name": "1", "digest": "00".repeat(32), "created_at_ms": 18 }],
        });
        assert_eq!(read("a\"b"), expected);
        let plain = read("plain");
        assert_eq!((&plain["audience"], &plain["secrets"]), (&serde_json::json!([]), &serde_json::json!([])));
        let counted: (i64, i64) = old
            .query_row(
                "SELECT change, (SELECT records FROM tally WHERE kind = 'client') FROM counter",
                [],
                |row| Ok((row.get(0)?, row.get(1)?)),
            )
            .unwrap();
        assert_eq!(counted, (1, 2));
    }
}
