//! What is asked of the database. Nothing is prepared under a name, so a proxy for connections may be in between.

use super::fault::Fault;
use super::plan::{Present, plan};
use crate::store::{ChangeNumber, Changes, CommitError, Extent, Kind, REMOVAL_REMEMBERED, Record, Write};
use jeton_proto::time::Timestamp;
use std::collections::{BTreeMap, HashMap};
use std::time::Duration;
use tokio_postgres::types::{ToSql, Type};
use tokio_postgres::{Client, IsolationLevel, Row, Transaction};

/// The channel on which a commit is told to those who listen.
pub(super) const CHANNEL: &str = "jeton_change";

/// The longest wait for the answer to a commit. When it is over, nobody knows whether it was made.
const COMMIT_TIMEOUT: Duration = Duration::from_secs(5);

/// Why a piece of work was not done.
#[derive(Debug)]
pub(super) enum Failed {
    Refused(CommitError),
    Fault(Fault),
}

impl From<Fault> for Failed {
    fn from(fault: Fault) -> Self {
        Self::Fault(fault)
    }
}

impl From<tokio_postgres::Error> for Failed {
    fn from(error: tokio_postgres::Error) -> Self {
        Self::Fault(error.into())
    }
}

/// Tells a database from another one that was put in its place: a backup that was restored, or a standby that took over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Incarnation {
    table: u32,
    server_started_at_us: i64,
}

/// Whether a database takes changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Taking {
    Changes,
    /// It is a standby, or was made read-only.
    Nothing,
}

/// The counter as it stands.
#[derive(Clone, Copy, Debug)]
pub(super) struct Counter {
    pub(super) incarnation: Incarnation,
    pub(super) taking: Taking,
    change: u64,
    purged: u64,
}

impl Counter {
    /// How much is to be read by one who has seen `after`. A counter that went back is that of a backup; what was removed before
    /// `purged` is not told any more.
    fn extent(&self, after: ChangeNumber) -> Extent {
        if after.0 == 0 || after.0 < self.purged || after.0 > self.change {
            Extent::Everything
        } else {
            Extent::Since
        }
    }

    /// The answer to one who has seen `after` when there is nothing since.
    pub(super) fn nothing_since(&self, after: ChangeNumber) -> Option<Changes> {
        let extent = self.extent(after);
        (extent == Extent::Since && after.0 == self.change).then(|| Changes {
            through: after,
            extent,
            records: Vec::new(),
        })
    }
}

const COUNTER: &str = "
    SELECT tableoid, (extract(epoch FROM pg_postmaster_start_time()) * 1000000)::bigint, change, purged,
           pg_is_in_recovery() OR current_setting('default_transaction_read_only')::boolean
    FROM jeton.counter";

pub(super) async fn counter(client: &Client) -> Result<Counter, Fault> {
    let row = client.query_typed_one(COUNTER, &[]).await?;
    Ok(Counter {
        incarnation: Incarnation { table: row.try_get(0)?, server_started_at_us: row.try_get(1)? },
        taking: if row.try_get(4)? { Taking::Nothing } else { Taking::Changes },
        change: unsigned(row.try_get(2)?),
        purged: unsigned(row.try_get(3)?),
    })
}

/// Counter and records as they stood at one moment, so that no commit is seen in part.
pub(super) async fn changes(
    client: &mut Client,
    after: ChangeNumber,
    expected: Incarnation,
) -> Result<(Counter, Changes), Fault> {
    let transaction = client
        .build_transaction()
        .isolation_level(IsolationLevel::RepeatableRead)
        .read_only(true)
        .start()
        .await?;
    transaction.batch_execute("SET LOCAL statement_timeout = '28s'").await?;
    let counter = counter(transaction.client()).await?;
    let after = if counter.incarnation == expected { after } else { ChangeNumber(0) };
    let extent = counter.extent(after);
    let (from, condition) = match extent {
        Extent::Everything => (0, "body IS NOT NULL AND change > $1"),
        Extent::Since => (signed(after.0), "change > $1"),
    };
    let query = format!(
        "SELECT kind, id, body, change, expires_at_ms FROM jeton.record WHERE {condition} ORDER BY change"
    );
    let rows = transaction.query_typed(&query, &[(&from, Type::INT8)]).await?;
    transaction.commit().await?;
    let mut records = Vec::with_capacity(rows.len());
    for row in &rows {
        records.extend(read_record(row)?);
    }
    Ok((counter, Changes { through: ChangeNumber(counter.change), extent, records }))
}

pub(super) async fn record(client: &Client, kind: Kind, id: &str) -> Result<Option<Record>, Fault> {
    if id.contains('\0') {
        // A text of the database has no NUL, so no record has this id.
        return Ok(None);
    }
    let query = "SELECT kind, id, body, change, expires_at_ms FROM jeton.record
                 WHERE kind = $1 AND id = $2 AND body IS NOT NULL";
    let row = client.query_typed_opt(query, &[(&kind.name(), Type::TEXT), (&id, Type::TEXT)]).await?;
    row.map_or(Ok(None), |row| read_record(&row))
}

/// The records after an id, in the order of the bytes of their ids.
pub(super) async fn page(
    client: &Client,
    kind: Kind,
    after: &str,
    limit: usize,
) -> Result<Vec<Record>, Fault> {
    let query = "SELECT kind, id, body, change, expires_at_ms FROM jeton.record
                 WHERE kind = $1 AND id > $2 AND body IS NOT NULL ORDER BY id LIMIT $3";
    let limit = i64::try_from(limit).unwrap_or(i64::MAX);
    let parameters: [(&(dyn ToSql + Sync), Type); 3] =
        [(&kind.name(), Type::TEXT), (&after, Type::TEXT), (&limit, Type::INT8)];
    let rows = client.query_typed(query, &parameters).await?;
    rows.iter().filter_map(|row| read_record(row).transpose()).collect()
}

/// The record of a row; `None` when it is of a kind that is not known.
fn read_record(row: &Row) -> Result<Option<Record>, Fault> {
    let Some(kind) = Kind::named(row.try_get(0)?) else { return Ok(None) };
    let expires_at: Option<i64> = row.try_get(4)?;
    Ok(Some(Record {
        kind,
        id: row.try_get(1)?,
        body: row.try_get(2)?,
        change: ChangeNumber(unsigned(row.try_get(3)?)),
        expires_at: expires_at.map(|millis| Timestamp::from_unix_millis(unsigned(millis))),
    }))
}

/// Takes the counter first and has it until the end. Who takes it next sees all of this commit; so a reader who sees a number sees
/// all the commits up to it.
pub(super) async fn commit(
    client: &mut Client,
    writes: &[Write],
    now: Timestamp,
) -> Result<ChangeNumber, Failed> {
    let transaction = client.transaction().await?;
    let change = "UPDATE jeton.counter SET change = change + 1 RETURNING change";
    let change: i64 = transaction.query_typed_one(change, &[]).await?.try_get(0)?;
    let number = ChangeNumber(unsigned(change));
    let present = present(&transaction, writes).await?;
    let plan = plan(writes, number, present).map_err(Failed::Refused)?;
    let kinds: Vec<&str> = plan.rows.iter().map(|row| row.kind.name()).collect();
    let ids: Vec<&str> = plan.rows.iter().map(|row| row.id.as_str()).collect();
    let bodies: Vec<Option<&str>> = plan.rows.iter().map(|row| row.body.as_deref()).collect();
    let ends: Vec<Option<i64>> = plan.rows.iter().map(|row| end(row, now)).collect();
    let upsert = "INSERT INTO jeton.record (kind, id, body, change, expires_at_ms)
         SELECT kind, id, body, $5, expires_at_ms
         FROM unnest($1, $2, $3, $4) AS written (kind, id, body, expires_at_ms)
         ON CONFLICT (kind, id) DO UPDATE
         SET body = excluded.body, change = excluded.change, expires_at_ms = excluded.expires_at_ms";
    let parameters = [
        (&kinds as _, Type::TEXT_ARRAY),
        (&ids as _, Type::TEXT_ARRAY),
        (&bodies as _, Type::TEXT_ARRAY),
        (&ends as _, Type::INT8_ARRAY),
        (&change as _, Type::INT8),
    ];
    transaction.execute_typed(upsert, &parameters).await?;
    let kinds: Vec<&str> = plan.tally.keys().map(|kind| kind.name()).collect();
    let records: Vec<i64> = plan.tally.values().map(|records| signed(*records)).collect();
    let tally = "INSERT INTO jeton.tally (kind, records) SELECT * FROM unnest($1, $2)
                 ON CONFLICT (kind) DO UPDATE SET records = excluded.records";
    let parameters = [(&kinds as _, Type::TEXT_ARRAY), (&records as _, Type::INT8_ARRAY)];
    transaction.execute_typed(tally, &parameters).await?;
    transaction.query_typed("SELECT pg_notify($1, '')", &[(&CHANNEL, Type::TEXT)]).await?;
    match tokio::time::timeout(COMMIT_TIMEOUT, transaction.commit()).await {
        Ok(Ok(())) => Ok(number),
        Ok(Err(error)) => Err(Fault::doubtful_commit(&error).into()),
        Err(elapsed) => Err(Fault::doubtful_commit(&elapsed).into()),
    }
}

fn end(write: &Write, now: Timestamp) -> Option<i64> {
    let end = match write.body {
        Some(_) => write.expires_at,
        None => Some(now.saturating_add(REMOVAL_REMEMBERED)),
    };
    end.map(|end| signed(end.as_unix_millis()))
}

async fn present(transaction: &Transaction<'_>, writes: &[Write]) -> Result<Present, Fault> {
    let kinds: Vec<&str> = writes.iter().map(|write| write.kind.name()).collect();
    let ids: Vec<&str> = writes.iter().map(|write| write.id.as_str()).collect();
    let query = "SELECT kind, id, change FROM jeton.record
                 WHERE (kind, id) IN (SELECT * FROM unnest($1, $2)) AND body IS NOT NULL";
    let parameters = [(&kinds as _, Type::TEXT_ARRAY), (&ids as _, Type::TEXT_ARRAY)];
    let mut records = HashMap::new();
    for row in transaction.query_typed(query, &parameters).await? {
        if let Some(kind) = Kind::named(row.try_get(0)?) {
            records.insert((kind, row.try_get(1)?), ChangeNumber(unsigned(row.try_get(2)?)));
        }
    }
    let mut tally = BTreeMap::new();
    for row in transaction.query_typed("SELECT kind, records FROM jeton.tally", &[]).await? {
        if let Some(kind) = Kind::named(row.try_get(0)?) {
            tally.insert(kind, unsigned(row.try_get(1)?));
        }
    }
    Ok(Present { records, tally })
}

/// The time of an instance as the database counts it, which is the earlier of its own and `$1`: an instance whose clock is ahead is not
/// to take from all the others what they need.
pub(super) const EARLIER_NOW_MS: &str = "least($1, (extract(epoch FROM clock_timestamp()) * 1000)::bigint)";

/// Forgets up to `most` records that count for nothing at `now`, and by the clock of the database, and says how many.
pub(super) async fn purge(client: &mut Client, now: Timestamp, most: i64) -> Result<i64, Fault> {
    let now = signed(now.as_unix_millis());
    // Asked for first, and not within what follows: the index on the ends is of no use to a value that changes.
    let earlier = format!("SELECT {EARLIER_NOW_MS}");
    let now: i64 = client.query_typed_one(&earlier, &[(&now, Type::INT8)]).await?.try_get(0)?;
    let due = "SELECT EXISTS (SELECT FROM jeton.record WHERE expires_at_ms <= $1)";
    let due = client.query_typed_one(due, &[(&now, Type::INT8)]).await?;
    if !due.try_get::<_, bool>(0)? {
        return Ok(0);
    }
    let transaction = client.transaction().await?;
    transaction.batch_execute("SELECT FROM jeton.counter FOR UPDATE").await?;
    let purge = "WITH gone AS (
             DELETE FROM jeton.record WHERE (kind, id) IN (
                 SELECT kind, id FROM jeton.record WHERE expires_at_ms <= $1 ORDER BY expires_at_ms LIMIT $2
             ) RETURNING kind, body IS NULL AS removal, change
         ), lessened AS (
             UPDATE jeton.tally SET records = tally.records - gone_of_kind.records
             FROM (SELECT kind, count(*) AS records FROM gone WHERE NOT removal GROUP BY kind) AS gone_of_kind
             WHERE tally.kind = gone_of_kind.kind
         ), remembered AS (
             UPDATE jeton.counter
             SET purged = greatest(purged, (SELECT coalesce(max(change), 0) FROM gone WHERE removal))
         )
         SELECT count(*) FROM gone";
    let purged = transaction.query_typed_one(purge, &[(&now, Type::INT8), (&most, Type::INT8)]).await?;
    let purged = purged.try_get(0)?;
    transaction.commit().await?;
    Ok(purged)
}

pub(super) async fn setting(client: &Client, name: &str, value: &[u8]) -> Result<Vec<u8>, Fault> {
    let insert = "INSERT INTO jeton.setting (name, value) VALUES ($1, $2) ON CONFLICT DO NOTHING";
    client.execute_typed(insert, &[(&name, Type::TEXT), (&value, Type::BYTEA)]).await?;
    let query = "SELECT value FROM jeton.setting WHERE name = $1";
    Ok(client.query_typed_one(query, &[(&name, Type::TEXT)]).await?.try_get(0)?)
}

/// Numbers of the database are signed. None of ours has the 64th bit, and one that is negative was written by a foreign hand.
fn unsigned(number: i64) -> u64 {
    u64::try_from(number).unwrap_or_default()
}

fn signed(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}
