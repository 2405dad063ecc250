//! What the registry tells of a client.

use super::uses::LastUses;
use jeton_proto::issuance::{ClientCredentials, ClientSettings};
use jeton_proto::time::Timestamp;
use std::collections::BTreeMap;

/// A client as the registry has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClientRecord {
    /// What is set for it.
    pub settings: ClientSettings,
    /// What it authenticates with.
    pub credentials: ClientCredentials,
    /// When it was added.
    pub created_at: Timestamp,
    /// Who keeps it as a set of files says: 1 to [`MAX_MANAGER_BYTES`] printable ASCII characters. `None`: nobody does, and no
    /// application of files touches it.
    pub managed_by: Option<String>,
}

/// The longest name of who manages a client, in bytes.
pub const MAX_MANAGER_BYTES: usize = 64;

/// Every client of a registry.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ClientListing {
    /// Those that can be read, in the order of their ids.
    pub clients: Vec<ClientRecord>,
    /// Those that cannot, and can have no tokens.
    pub damaged: Vec<DamagedClient>,
    /// When the secrets of the clients were used last, by the client id. Of one whose secrets were not there may be none.
    pub last_uses: BTreeMap<String, LastUses>,
}

/// A client that cannot be read: another program wrote it, or a newer version of this one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DamagedClient {
    /// Its id, cut and cleaned.
    pub client_id: String,
    /// What is wrong with it.
    pub fault: String,
}
