//! What the token path sees of the registry: every client, in memory.

use jeton_proto::issuance::{
    ClientCredentials, ClientSettings, ClientStatus, NamedSecret, RegisteredClient, SecretDigest,
};
use jeton_proto::time::Timestamp;
use jeton_proto::wire::error_response::printable;
use jeton_proto::wire::scope::Scope;
use rusqlite::{Connection, Row};
use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

/// A client as the registry has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClientRecord {
    /// What is set for it.
    pub settings: ClientSettings,
    /// When it was added.
    pub created_at: Timestamp,
    /// When each of its live secrets was made, the oldest first.
    pub secrets_created_at: Vec<Timestamp>,
}

/// Every client at one moment.
#[derive(Debug, Default)]
pub(crate) struct Snapshot {
    clients: HashMap<String, RegisteredClient>,
}

impl Snapshot {
    /// Reads all clients. One that does not hold together, which only a foreign hand can have made, is left out and
    /// told in the log: it must not keep the others from their tokens.
    pub(super) fn read(connection: &mut Connection) -> rusqlite::Result<Self> {
        let mut clients = HashMap::new();
        for (record, digests) in read_clients(connection)? {
            let client_id = record.settings.client_id.clone();
            let secrets = (1_u32..).zip(digests).zip(&record.secrets_created_at).map(
                |((number, digest), created_at)| NamedSecret::new(number.to_string(), digest, *created_at),
            );
            let credentials =
                ClientCredentials { secrets: secrets.collect(), ..ClientCredentials::default() };
            match RegisteredClient::new(record.settings, credentials) {
                Ok(client) => drop(clients.insert(client_id, client)),
                Err(error) => {
                    let client_id = printable(&client_id);
                    tracing::warn!(client_id, %error, "a client in the registry is damaged and cannot have tokens");
                }
            }
        }
        Ok(Self { clients })
    }

    /// The client with this id.
    pub(crate) fn client(&self, client_id: &str) -> Option<&RegisteredClient> {
        self.clients.get(client_id)
    }
}

/// Every client with its digests, in the order of the ids, as of one moment.
pub(super) fn read_clients(
    connection: &mut Connection,
) -> rusqlite::Result<Vec<(ClientRecord, Vec<SecretDigest>)>> {
    let transaction = connection.transaction()?;
    let mut audiences: HashMap<String, Vec<String>> = HashMap::new();
    let mut query = transaction
        .prepare("SELECT client_id, audience FROM client_audience ORDER BY client_id, position")?;
    let mut rows = query.query([])?;
    while let Some(row) = rows.next()? {
        audiences.entry(row.get("client_id")?).or_default().push(row.get("audience")?);
    }
    let mut secrets: HashMap<String, Vec<(SecretDigest, Timestamp)>> = HashMap::new();
    let mut query = transaction.prepare(
        "SELECT client_id, digest, created_at_ms FROM client_secret ORDER BY client_id, created_at_ms",
    )?;
    let mut rows = query.query([])?;
    while let Some(row) = rows.next()? {
        let secret = (SecretDigest::new(row.get("digest")?), timestamp(row)?);
        secrets.entry(row.get("client_id")?).or_default().push(secret);
    }
    let mut query = transaction.prepare("SELECT * FROM client ORDER BY client_id")?;
    let mut rows = query.query([])?;
    let mut clients = Vec::new();
    while let Some(row) = rows.next()? {
        let mut settings = read_settings(row)?;
        settings.audiences = audiences.remove(&settings.client_id).unwrap_or_default();
        let (digests, secrets_created_at) =
            secrets.remove(&settings.client_id).unwrap_or_default().into_iter().unzip();
        clients.push((ClientRecord { settings, created_at: timestamp(row)?, secrets_created_at }, digests));
    }
    Ok(clients)
}

/// The name of a status in the database.
pub(super) const fn status_name(status: ClientStatus) -> &'static str {
    match status {
        ClientStatus::Enabled => "enabled",
        ClientStatus::Disabled => "disabled",
    }
}

fn read_settings(row: &Row<'_>) -> rusqlite::Result<ClientSettings> {
    let enabled = row.get_ref("status")?.as_str()? == status_name(ClientStatus::Enabled);
    let default_scope: Option<String> = row.get("default_scope")?;
    // A lifetime that no client can have is told with the other faults of its client, not as one of the registry.
    let lifetime_seconds: i64 = row.get("token_lifetime_seconds")?;
    Ok(ClientSettings {
        client_id: row.get("client_id")?,
        allowed_scope: parse_scope(row.get_ref("allowed_scope")?.as_str()?),
        default_scope: default_scope.as_deref().map(parse_scope),
        audiences: Vec::new(),
        token_lifetime: Duration::from_secs(u64::try_from(lifetime_seconds).unwrap_or_default()),
        signing_algorithm: None,
        labels: BTreeMap::new(),
        status: if enabled { ClientStatus::Enabled } else { ClientStatus::Disabled },
    })
}

/// A scope that cannot be read is no scope: less is granted, never more.
fn parse_scope(text: &str) -> Scope {
    text.parse().unwrap_or_default()
}

fn timestamp(row: &Row<'_>) -> rusqlite::Result<Timestamp> {
    let millis: i64 = row.get("created_at_ms")?;
    Ok(Timestamp::from_unix_millis(u64::try_from(millis).unwrap_or_default()))
}
