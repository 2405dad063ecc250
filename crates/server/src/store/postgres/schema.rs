//! The tables, from version to version, in a schema of their own.

use super::fault::Fault;
use tokio_postgres::Client;
use tokio_postgres::types::Type;

/// The version of the schema that this program writes.
pub(super) const VERSION: u32 = 1;

/// Each entry brings the schema from the version of its index to the next one. Entries are only ever added.
const MIGRATIONS: [&str; VERSION as usize] = [include_str!("schema/0001-records.sql")];

/// One who migrates has this lock of the database.
const LOCK: i64 = 0x006a_6574_6f6e;

/// That the schema is there, and not newer than this program.
pub(super) async fn check(client: &Client) -> Result<(), Fault> {
    match version(client).await? {
        None => Err(Fault::gone()),
        Some(newer) if newer > VERSION => Err(Fault::newer_schema(newer)),
        Some(_) => Ok(()),
    }
}

/// Makes the schema where there is none, and brings it up to date. Of many who come at once, one does it and the others wait.
pub(super) async fn migrate(client: &mut Client) -> Result<(), Fault> {
    // A user who may only read and write comes here too, where others have migrated.
    match version(client).await? {
        Some(VERSION) => return Ok(()),
        Some(newer) if newer > VERSION => return Err(Fault::newer_schema(newer)),
        Some(_) | None => {}
    }
    let transaction =
        client.build_transaction().isolation_level(tokio_postgres::IsolationLevel::ReadCommitted);
    let transaction = transaction.start().await?;
    transaction.query_typed("SELECT pg_advisory_xact_lock($1)", &[(&LOCK, Type::INT8)]).await?;
    let present = version(transaction.client()).await?;
    if let Some(newer) = present.filter(|present| *present > VERSION) {
        return Err(Fault::newer_schema(newer));
    }
    if present.is_none() {
        // IF NOT EXISTS would want the right to make a schema, even where it is there.
        let there = "SELECT EXISTS (SELECT FROM pg_catalog.pg_namespace WHERE nspname = 'jeton')";
        if !transaction.query_typed_one(there, &[]).await?.try_get::<_, bool>(0)? {
            transaction.batch_execute("CREATE SCHEMA jeton").await?;
        }
        let table = "CREATE TABLE jeton.schema_version (one integer PRIMARY KEY CHECK (one = 1), version integer NOT NULL);
                     INSERT INTO jeton.schema_version VALUES (1, 0)";
        transaction.batch_execute(table).await?;
    }
    for migration in MIGRATIONS.iter().skip(present.unwrap_or_default() as usize) {
        transaction.batch_execute(migration).await?;
    }
    let update = format!("UPDATE jeton.schema_version SET version = {VERSION}");
    transaction.batch_execute(&update).await?;
    transaction.commit().await?;
    Ok(())
}

/// The version that is there; `None` when there is nothing.
async fn version(client: &Client) -> Result<Option<u32>, Fault> {
    // Not to_regclass, which may tell what this connection has seen before another one made the table.
    let there = "SELECT EXISTS (
        SELECT FROM pg_catalog.pg_class JOIN pg_catalog.pg_namespace ON pg_namespace.oid = relnamespace
        WHERE nspname = 'jeton' AND relname = 'schema_version')";
    if !client.query_typed_one(there, &[]).await?.try_get::<_, bool>(0)? {
        return Ok(None);
    }
    let version = client.query_typed_opt("SELECT version FROM jeton.schema_version", &[]).await?;
    let version: Option<i32> = version.map(|row| row.try_get(0)).transpose()?;
    Ok(Some(u32::try_from(version.unwrap_or_default()).unwrap_or(u32::MAX)))
}
