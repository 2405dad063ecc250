//! The store in one `SQLite` file that several processes may have open at once.

mod schema;

use super::{
    ChangeNumber, Changes, CommitError, Expect, Extent, Kind, REMOVAL_REMEMBERED, Record, Store, StoreError,
    Write, sqlite_path,
};
use jeton_proto::time::Timestamp;
use rusqlite::{
    Connection, ErrorCode, OptionalExtension as _, Row, Transaction, TransactionBehavior, params,
};
use schema::{Access, FileId};
use std::path::{Path, PathBuf};

/// A connection to the file.
#[derive(Debug)]
pub(crate) struct SqliteStore {
    connection: Option<Connection>,
    access: Access,
    /// What was told last of the access.
    told: Access,
    path: PathBuf,
    file_id: FileId,
    /// Whether another file came in the place of the one that was read last.
    replaced: bool,
}

impl SqliteStore {
    /// Opens the file in `data_dir`, or makes it. On a disk that is read-only, what is there can be read until the disk can be written
    /// again, and everything from then on.
    pub(crate) fn open(data_dir: &Path) -> Result<Self, StoreError> {
        let path = sqlite_path(data_dir);
        let (connection, access) = schema::open(&path)?;
        // A file that was put in place meanwhile is found to be another one at the first look.
        let file_id = schema::file_id(&path)?.ok_or_else(|| schema::gone(&path))?;
        let connection = Some(connection);
        let mut store = Self { connection, access, told: Access::Writing, path, file_id, replaced: false };
        store.rest();
        Ok(store)
    }

    /// Does `work` over the connection, which is a new one when another file is in the place of the one that was open, such as a
    /// backup that was restored: the connection would go on with the one that nobody sees any more.
    fn call<T, E: From<StoreError>>(
        &mut self,
        work: impl FnOnce(&mut Connection, &Path) -> Result<T, E>,
    ) -> Result<T, E> {
        let mut connection = self.connected()?;
        let done = work(&mut connection, &self.path);
        self.connection = Some(connection);
        self.rest();
        done
    }

    fn connected(&mut self) -> Result<Connection, StoreError> {
        let file_id = schema::file_id(&self.path)?.ok_or_else(|| schema::gone(&self.path))?;
        if let Some(connection) = self.connection.take()
            && file_id == self.file_id
        {
            return Ok(connection);
        }
        let (connection, access) = schema::open(&self.path)?;
        self.replaced |= file_id != self.file_id;
        (self.file_id, self.access) = (file_id, access);
        Ok(connection)
    }

    /// What can only be read is opened for each call: the disk may be writable again, and nothing in this process can write for as long
    /// as one connection has the file open for reading.
    fn rest(&mut self) {
        match self.access {
            Access::Writing => {}
            Access::Reading => self.connection = None,
        }
    }

    /// Tells of a disk that is read-only, and of its end.
    fn tell_access(&mut self) {
        if std::mem::replace(&mut self.told, self.access) == self.access {
            return;
        }
        let path = self.path.display();
        match self.access {
            Access::Writing => tracing::info!(%path, "the registry can be written again"),
            Access::Reading => {
                tracing::warn!(%path, "the registry is on a disk that is read-only: it is read, and cannot be changed");
            }
        }
    }
}

impl Store for SqliteStore {
    fn changes(&mut self, after: ChangeNumber) -> Result<Changes, StoreError> {
        let mut connection = self.connected()?;
        self.tell_access();
        let after = if self.replaced { ChangeNumber(0) } else { after };
        let changes = read_changes(&mut connection, after);
        self.connection = Some(connection);
        self.rest();
        let changes = changes.map_err(|source| database(&self.path, source))?;
        self.replaced = false;
        Ok(changes)
    }

    fn record(&mut self, kind: Kind, id: &str) -> Result<Option<Record>, StoreError> {
        let query = "SELECT kind, id, body, change, expires_at_ms FROM record WHERE kind = ?1 AND id = ?2";
        let found = self.call(|connection, path| {
            let found = connection.query_row(query, params![kind.name(), id], read_record).optional();
            found.map_err(|source| database(path, source))
        });
        Ok(found?.flatten().filter(|record| record.body.is_some()))
    }

    fn page(&mut self, kind: Kind, after: &str, limit: usize) -> Result<Vec<Record>, StoreError> {
        self.call(|connection, path| {
            read_page(connection, kind, after, limit).map_err(|source| database(path, source))
        })
    }

    fn commit(&mut self, writes: &[Write], now: Timestamp) -> Result<ChangeNumber, CommitError> {
        self.call(|connection, path| {
            commit(connection, writes, now).map_err(|failed| match failed {
                Failed::Refused(refused) => refused,
                Failed::Sqlite(source) => CommitError::Store(database(path, source)),
            })
        })
    }

    fn purge(&mut self, now: Timestamp) -> Result<(), StoreError> {
        self.call(|connection, path| purge(connection, now).map_err(|source| database(path, source)))
    }

    fn setting(&mut self, name: &str, value: &[u8]) -> Result<Vec<u8>, StoreError> {
        self.call(|connection, path| {
            setting(connection, name, value).map_err(|source| database(path, source))
        })
    }

    #[cfg(test)]
    fn limit_pages(&mut self, pages: u32) {
        let pragma = format!("PRAGMA max_page_count = {pages}");
        let connection = self.connection.as_ref().unwrap();
        connection.query_row(&pragma, [], |row| row.get::<_, u32>(0)).unwrap();
    }
}

fn setting(connection: &Connection, name: &str, value: &[u8]) -> rusqlite::Result<Vec<u8>> {
    let kept = || {
        let query = "SELECT value FROM setting WHERE name = ?1";
        connection.query_row(query, [name], |row| row.get(0)).optional()
    };
    // First of all, since the disk may be read-only.
    if let Some(kept) = kept()? {
        return Ok(kept);
    }
    let insert = "INSERT INTO setting (name, value) VALUES (?1, ?2) ON CONFLICT DO NOTHING";
    connection.execute(insert, params![name, value])?;
    kept()?.ok_or(rusqlite::Error::QueryReturnedNoRows)
}

fn read_changes(connection: &mut Connection, after: ChangeNumber) -> rusqlite::Result<Changes> {
    let transaction = connection.transaction()?;
    let (through, purged): (u64, u64) =
        transaction.query_row("SELECT change, purged FROM counter", [], |row| {
            Ok((unsigned(row.get(0)?), unsigned(row.get(1)?)))
        })?;
    // A counter that went back is that of a backup; what was removed before `purged` is not told any more.
    let extent = if after.0 == 0 || after.0 < purged || after.0 > through {
        Extent::Everything
    } else {
        Extent::Since
    };
    let from = match extent {
        Extent::Everything => 0,
        Extent::Since => signed(after.0),
    };
    let mut records = Vec::new();
    if from < signed(through) || extent == Extent::Everything {
        let mut query = transaction.prepare(
            "SELECT kind, id, body, change, expires_at_ms FROM record WHERE change > ?1 ORDER BY change",
        )?;
        let mut rows = query.query([from])?;
        while let Some(row) = rows.next()? {
            records.extend(read_record(row)?);
        }
    }
    if extent == Extent::Everything {
        records.retain(|record: &Record| record.body.is_some());
    }
    Ok(Changes { through: ChangeNumber(through), extent, records })
}

fn read_page(
    connection: &Connection,
    kind: Kind,
    after: &str,
    limit: usize,
) -> rusqlite::Result<Vec<Record>> {
    let mut query = connection.prepare(
        "SELECT kind, id, body, change, expires_at_ms FROM record \
         WHERE kind = ?1 AND id > ?2 AND body IS NOT NULL ORDER BY id LIMIT ?3",
    )?;
    let mut rows = query.query(params![kind.name(), after, i64::try_from(limit).unwrap_or(i64::MAX)])?;
    let mut records = Vec::new();
    while let Some(row) = rows.next()? {
        records.extend(read_record(row)?);
    }
    Ok(records)
}

/// The record of a row; `None` when it is of a kind that is not known.
fn read_record(row: &Row<'_>) -> rusqlite::Result<Option<Record>> {
    let Some(kind) = Kind::named(row.get_ref(0)?.as_str()?) else { return Ok(None) };
    let expires_at: Option<i64> = row.get(4)?;
    Ok(Some(Record {
        kind,
        id: row.get(1)?,
        body: row.get(2)?,
        change: ChangeNumber(unsigned(row.get(3)?)),
        expires_at: expires_at.map(|millis| Timestamp::from_unix_millis(unsigned(millis))),
    }))
}

enum Failed {
    Refused(CommitError),
    Sqlite(rusqlite::Error),
}

impl From<rusqlite::Error> for Failed {
    fn from(error: rusqlite::Error) -> Self {
        Self::Sqlite(error)
    }
}

fn commit(connection: &mut Connection, writes: &[Write], now: Timestamp) -> Result<ChangeNumber, Failed> {
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    let change =
        transaction.query_row("UPDATE counter SET change = change + 1 RETURNING change", [], |row| {
            row.get::<_, i64>(0)
        })?;
    for write in writes {
        write_one(&transaction, write, change, now)?;
    }
    transaction.commit()?;
    Ok(ChangeNumber(unsigned(change)))
}

fn write_one(
    transaction: &Transaction<'_>,
    write: &Write,
    change: i64,
    now: Timestamp,
) -> Result<(), Failed> {
    let there: Option<i64> = transaction
        .prepare("SELECT change FROM record WHERE kind = ?1 AND id = ?2 AND body IS NOT NULL")?
        .query_row(params![write.kind.name(), write.id], |row| row.get(0))
        .optional()?;
    let as_expected = match write.expect {
        Expect::Anything => true,
        Expect::Absent => there.is_none(),
        Expect::Change(expected) => there == Some(signed(expected.0)),
    };
    if !as_expected {
        return Err(Failed::Refused(CommitError::Conflict { kind: write.kind, id: write.id.clone() }));
    }
    let step = i64::from(write.body.is_some()) - i64::from(there.is_some());
    let records: i64 = transaction
        .prepare(
            "INSERT INTO tally (kind, records) VALUES (?1, ?2)
             ON CONFLICT (kind) DO UPDATE SET records = records + ?2 RETURNING records",
        )?
        .query_row(params![write.kind.name(), step], |row| row.get(0))?;
    if step > 0 && unsigned(records) > write.kind.most() {
        return Err(Failed::Refused(CommitError::Full(write.kind)));
    }
    let expires_at = match write.body {
        Some(_) => write.expires_at,
        None => Some(now.saturating_add(REMOVAL_REMEMBERED)),
    };
    transaction
        .prepare(
            "INSERT INTO record (kind, id, body, change, expires_at_ms) VALUES (?1, ?2, ?3, ?4, ?5)
             ON CONFLICT (kind, id) DO UPDATE
             SET body = excluded.body, change = excluded.change, expires_at_ms = excluded.expires_at_ms",
        )?
        .execute(params![
            write.kind.name(),
            write.id,
            write.body,
            change,
            expires_at.map(|end| signed(end.as_unix_millis())),
        ])?;
    Ok(())
}

fn purge(connection: &mut Connection, now: Timestamp) -> rusqlite::Result<()> {
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    let now = signed(now.as_unix_millis());
    transaction.execute(
        "UPDATE counter SET purged = max(purged, coalesce(
             (SELECT max(change) FROM record WHERE expires_at_ms <= ?1 AND body IS NULL), 0))",
        [now],
    )?;
    transaction.execute(
        "UPDATE tally SET records = records -
             (SELECT count(*) FROM record
              WHERE record.kind = tally.kind AND expires_at_ms <= ?1 AND body IS NOT NULL)",
        [now],
    )?;
    transaction.execute("DELETE FROM record WHERE expires_at_ms <= ?1", [now])?;
    transaction.commit()
}

/// Numbers of the database are signed. None of ours has the 64th bit, and one that is negative was written by a foreign hand.
fn unsigned(number: i64) -> u64 {
    u64::try_from(number).unwrap_or_default()
}

fn signed(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

/// The error for a database that failed.
fn database(path: &Path, source: rusqlite::Error) -> StoreError {
    let place = path.display().to_string();
    StoreError::Database { place, advice: advice(&source), source: Box::new(source) }
}

/// What is wrong with the registry, and what to do.
fn advice(source: &rusqlite::Error) -> &'static str {
    match source.sqlite_error_code() {
        Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase) => {
            "is damaged; restore it from a backup, or move it away and add the clients again"
        }
        Some(ErrorCode::DiskFull) => "cannot be written: the disk is full; make room and try again",
        Some(ErrorCode::ReadOnly) => {
            "cannot be written: its disk is read-only, or this user may not write there; make it writable and try again"
        }
        Some(ErrorCode::SystemIoFailure) => {
            "cannot be used: its disk is full, read-only or fails; see to the disk and try again"
        }
        Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => {
            "is held by another program for more than 5 seconds; end that program or try again"
        }
        _ => {
            "cannot be used; it must be a database that this user can write, in a directory that this user can write"
        }
    }
}
