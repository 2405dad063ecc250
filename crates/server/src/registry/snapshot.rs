//! What the token path sees of the registry: every client, in memory.

use super::document;
use crate::issuer::PreparedGrant;
use crate::store::{Changes, Extent, Follower, Kind, Record};
use arc_swap::{ArcSwap, Guard};
use jeton_proto::issuance::{MAX_SECRETS, RegisteredClient};
use jeton_proto::time::Timestamp;
use jeton_proto::wire::error_response::printable;
use std::collections::HashMap;
use std::ops::Deref;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};

/// Every client at one moment.
#[derive(Clone, Debug, Default)]
pub(crate) struct Snapshot {
    clients: HashMap<String, Arc<KnownClient>>,
}

/// A client, and what the token path makes of it once. One that was changed is another one, and nothing is made of it yet.
#[derive(Debug)]
pub(crate) struct KnownClient {
    client: RegisteredClient,
    /// By what its requests are counted.
    pub(crate) request_key: OnceLock<u64>,
    /// What it is granted when it asks for nothing out of the ordinary.
    pub(crate) usual: OnceLock<Arc<PreparedGrant>>,
    /// In which second, of the Unix epoch, the use of each of its secrets was noted last.
    noted_at: [AtomicU64; MAX_SECRETS],
}

impl KnownClient {
    /// Whether the use of the secret with this name is worth noting: once a second is often enough.
    pub(crate) fn is_to_be_noted(&self, secret: &str, now: Timestamp) -> bool {
        let place = self.credentials().secrets.iter().position(|held| held.name == secret);
        let noted_at = place.and_then(|place| self.noted_at.get(place));
        let second = now.as_unix_seconds();
        noted_at.is_some_and(|noted_at| {
            noted_at.load(Ordering::Relaxed) != second && noted_at.swap(second, Ordering::Relaxed) != second
        })
    }
}

impl From<RegisteredClient> for KnownClient {
    fn from(client: RegisteredClient) -> Self {
        Self {
            client,
            request_key: OnceLock::new(),
            usual: OnceLock::new(),
            noted_at: std::array::from_fn(|_| AtomicU64::new(0)),
        }
    }
}

impl Deref for KnownClient {
    type Target = RegisteredClient;

    fn deref(&self) -> &RegisteredClient {
        &self.client
    }
}

impl Snapshot {
    /// The client with this id.
    pub(crate) fn client(&self, client_id: &str) -> Option<&Arc<KnownClient>> {
        self.clients.get(client_id)
    }

    /// How many clients there are.
    pub(crate) fn len(&self) -> usize {
        self.clients.len()
    }
}

/// The clients as of the last look at the store.
#[derive(Debug, Default)]
pub(crate) struct Clients(ArcSwap<Snapshot>);

impl Clients {
    /// The clients of now. To be held for a moment, never across an await.
    pub(crate) fn snapshot(&self) -> Guard<Arc<Snapshot>> {
        self.0.load()
    }
}

impl Follower for Clients {
    fn follow(&self, changes: &Changes) {
        let mut written = changes.records.iter().filter(|record| record.kind == Kind::Client).peekable();
        let mut snapshot = match changes.extent {
            Extent::Everything => Snapshot::default(),
            Extent::Since if written.peek().is_none() => return,
            Extent::Since => Snapshot::clone(&self.0.load()),
        };
        for record in written {
            match read(record) {
                Some(client) => drop(snapshot.clients.insert(record.id.clone(), Arc::new(client.into()))),
                None => drop(snapshot.clients.remove(&record.id)),
            }
        }
        self.0.store(Arc::new(snapshot));
    }
}

/// The client of a record; `None` when it was removed. One that does not hold together, which only a foreign hand or a newer version
/// can have made, can have no tokens and is told in the log: it must not keep the others from theirs.
fn read(record: &Record) -> Option<RegisteredClient> {
    let body = record.body.as_deref()?;
    let client = document::parse(&record.id, body).map_err(|error| error.to_string()).and_then(|read| {
        RegisteredClient::new(read.settings, read.credentials).map_err(|error| error.to_string())
    });
    client
        .inspect_err(|error| {
            let client_id = printable(&record.id);
            tracing::warn!(client_id, error, "a client in the registry is damaged and cannot have tokens");
        })
        .ok()
}
