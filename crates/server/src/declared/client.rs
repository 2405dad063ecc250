//! A client that a file declares, and all clients of a directory.

use jeton_proto::issuance::{ClientCredentials, ClientSettings, ClientStatus, SecretDigest};
use jeton_proto::time::Timestamp;
use jeton_proto::wire::error_response::printable;
use std::collections::BTreeMap;
use std::fmt;

/// Where something stands: the file, and the line counted from 1.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place {
    /// The name of the file in its directory, cut and cleaned; of a fault of the directory itself, its path.
    pub file: String,
    /// The line; 0 where it is none in particular.
    pub line: usize,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.file)?;
        if self.line > 0 { write!(f, ":{}", self.line) } else { Ok(()) }
    }
}

/// What is wrong in a file, and what to do. Nothing secret is in it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, thiserror::Error)]
#[error("{place}: {what}")]
pub struct FileFault {
    /// Where.
    pub place: Place,
    /// What, in lower case and without full stop.
    pub what: String,
}

/// A client that a file declares.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeclaredClient {
    /// What is set for it. Its status counts where [`status`](Self::status) says one.
    pub settings: ClientSettings,
    /// The status, where the file says one; elsewhere it stays as it is, so that a client which was disabled in an emergency is not
    /// enabled by the next application.
    pub status: Option<ClientStatus>,
    /// What it authenticates with besides secrets.
    pub credentials: ClientCredentials,
    /// Its secrets.
    pub secrets: DeclaredSecrets,
    /// Where it stands.
    pub place: Place,
}

/// What a file says of the secrets of a client.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DeclaredSecrets {
    /// Nothing: the registry has them, and `jeton client rotate` brings new ones.
    InRegistry,
    /// They are these, and no others.
    These(Vec<DeclaredSecret>),
}

/// A secret as a file has it: its digest alone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeclaredSecret {
    /// What it is called.
    pub name: String,
    /// The digest.
    pub digest: SecretDigest,
    /// The beginning of the fingerprint of the key that the digest was made with, which must be the server's.
    pub key_id: [u8; 4],
    /// From when it is good.
    pub not_before: Option<Timestamp>,
    /// Until when it is good, exclusively.
    pub expires_at: Option<Timestamp>,
    /// Where the digest stands.
    pub place: Place,
}

/// The clients of a directory, each once.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DeclaredClients(BTreeMap<String, DeclaredClient>);

impl DeclaredClients {
    /// The clients, or where one is declared twice. Their order does not matter.
    pub fn new(clients: impl IntoIterator<Item = DeclaredClient>) -> Result<Self, Vec<FileFault>> {
        let mut known: BTreeMap<String, DeclaredClient> = BTreeMap::new();
        let mut faults = Vec::new();
        for client in clients {
            let client_id = client.settings.client_id.clone();
            match known.get(&client_id) {
                Some(first) => {
                    let (first, second) = if first.place <= client.place {
                        (&first.place, client.place)
                    } else {
                        (&client.place, first.place.clone())
                    };
                    let what = format!("the client {} stands at {first} already", printable(&client_id));
                    faults.push(FileFault { place: second, what });
                }
                None => drop(known.insert(client_id, client)),
            }
        }
        faults.sort();
        if faults.is_empty() { Ok(Self(known)) } else { Err(faults) }
    }

    /// The client with this id.
    #[must_use]
    pub fn client(&self, client_id: &str) -> Option<&DeclaredClient> {
        self.0.get(client_id)
    }

    /// Every client, in the order of the ids.
    pub fn iter(&self) -> impl Iterator<Item = &DeclaredClient> {
        self.0.values()
    }

    /// How many there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}
