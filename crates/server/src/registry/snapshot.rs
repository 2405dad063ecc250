//! What the token path sees of the registry: every client, in memory.

use super::document;
use crate::store::{Changes, Extent, Follower, Kind, Record};
use arc_swap::{ArcSwap, Guard};
use jeton_proto::issuance::RegisteredClient;
use jeton_proto::wire::error_response::printable;
use std::collections::HashMap;
use std::sync::Arc;

/// Every client at one moment.
#[derive(Clone, Debug, Default)]
pub(crate) struct Snapshot {
    clients: HashMap<String, Arc<RegisteredClient>>,
}

impl Snapshot {
    /// The client with this id.
    pub(crate) fn client(&self, client_id: &str) -> Option<&Arc<RegisteredClient>> {
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
                Some(client) => drop(snapshot.clients.insert(record.id.clone(), Arc::new(client))),
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
