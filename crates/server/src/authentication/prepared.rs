//! What a client's assertions are verified with, made ready once: keys parsed, secrets opened.

use crate::registry::{KnownClient, sealing_name};
use crate::remote_keys::KeyLocation;
use crate::server_key::Sealer;
use jeton_proto::issuance::{ClientKeys, RegisteredClient, WorkloadTrust};
use jeton_proto::jose::assertion_verification::AssertionSecret;
use jeton_proto::jose::jwk::ClientKeySet;
use jeton_proto::secret::Secret;
use std::collections::HashMap;
use std::sync::{Arc, PoisonError, RwLock};

/// The most clients whose credentials are held ready. With more, all are made ready anew now and then.
const MAX_PREPARED: usize = 16 * 1024;

/// What is ready of one client.
#[derive(Debug)]
pub(super) struct Prepared {
    /// For whom. A client that was changed is another one.
    client: Arc<KnownClient>,
    /// `jwks` or `jwks_uri`.
    pub(super) keys: Option<PreparedKeys>,
    /// The secrets that are kept sealed, with their places among the client's secrets.
    pub(super) secrets: Vec<AssertionSecret>,
    pub(super) secret_places: Vec<usize>,
    /// The keys for each workload identity, in the client's order.
    pub(super) workload_keys: Vec<PreparedKeys>,
}

/// Keys, or where they are.
#[derive(Debug)]
pub(super) enum PreparedKeys {
    Inline(Arc<ClientKeySet>),
    Remote(KeyLocation),
}

/// What is ready of all clients that have come with an assertion.
#[derive(Debug)]
pub(super) struct PreparedClients {
    sealer: Arc<Sealer>,
    prepared: RwLock<HashMap<String, Arc<Prepared>>>,
}

impl PreparedClients {
    pub(super) fn new(sealer: Arc<Sealer>) -> Self {
        Self { sealer, prepared: RwLock::default() }
    }

    /// What is ready of this client.
    pub(super) fn of(&self, client: &Arc<KnownClient>) -> Arc<Prepared> {
        let client_id = &client.settings().client_id;
        let found = self.prepared.read().unwrap_or_else(PoisonError::into_inner).get(client_id).cloned();
        if let Some(prepared) = found.filter(|prepared| Arc::ptr_eq(&prepared.client, client)) {
            return prepared;
        }
        let prepared = Arc::new(self.prepare(client));
        let mut all = self.prepared.write().unwrap_or_else(PoisonError::into_inner);
        if all.len() >= MAX_PREPARED {
            all.clear();
        }
        all.insert(client_id.clone(), Arc::clone(&prepared));
        prepared
    }

    fn prepare(&self, client: &Arc<KnownClient>) -> Prepared {
        let credentials = client.credentials();
        let secrets = credentials.secrets.iter().enumerate().filter_map(|(place, secret)| {
            let sealed = secret.sealed.as_deref()?;
            self.opened(client, &secret.name, sealed).map(|opened| (opened, place))
        });
        let (secrets, secret_places) = secrets.unzip();
        let of_workload = |workload: &WorkloadTrust| match &workload.keys {
            Some(keys) => ready(keys),
            None => PreparedKeys::Remote(KeyLocation::Issuer(workload.issuer.clone())),
        };
        Prepared {
            keys: credentials.keys.as_ref().map(ready),
            secrets,
            secret_places,
            workload_keys: credentials.workloads.iter().map(of_workload).collect(),
            client: Arc::clone(client),
        }
    }

    fn opened(&self, client: &RegisteredClient, name: &str, sealed: &[u8]) -> Option<AssertionSecret> {
        let client_id = &client.settings().client_id;
        let opened = self.sealer.open(&sealing_name(client_id, name), sealed);
        let opened = opened.map_err(|error| error.to_string()).and_then(|bytes| {
            let text = std::str::from_utf8(bytes.expose()).map_err(|error| error.to_string())?;
            Ok(AssertionSecret::new(&Secret::from(text)))
        });
        opened
            .inspect_err(|error| {
                tracing::warn!(client_id, name, error, "a sealed client secret cannot be opened");
            })
            .ok()
    }
}

fn ready(keys: &ClientKeys) -> PreparedKeys {
    match keys {
        // What was registered was checked, so there is a key in it.
        ClientKeys::Inline(document) => {
            PreparedKeys::Inline(Arc::new(ClientKeySet::parse(document.as_bytes()).unwrap_or_default()))
        }
        ClientKeys::Url(url) => PreparedKeys::Remote(KeyLocation::JwkSet(url.clone())),
    }
}
