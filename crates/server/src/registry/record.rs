//! What the registry tells of a client.

use jeton_proto::issuance::{ClientCredentials, ClientSettings};
use jeton_proto::time::Timestamp;

/// A client as the registry has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClientRecord {
    /// What is set for it.
    pub settings: ClientSettings,
    /// What it authenticates with.
    pub credentials: ClientCredentials,
    /// When it was added.
    pub created_at: Timestamp,
}

/// Every client of a registry.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ClientListing {
    /// Those that can be read, in the order of their ids.
    pub clients: Vec<ClientRecord>,
    /// Those that cannot, and can have no tokens.
    pub damaged: Vec<DamagedClient>,
}

/// A client that cannot be read: another program wrote it, or a newer version of this one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DamagedClient {
    /// Its id, cut and cleaned.
    pub client_id: String,
    /// What is wrong with it.
    pub fault: String,
}
