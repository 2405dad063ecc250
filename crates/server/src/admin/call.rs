//! A request that was taken apart, and may be done.

use super::operation::{Operation, Routed};
use super::outcome::Outcome;
use super::problem::{Code, Problem};
use super::request::{IfMatch, Parameters};
use super::{clients, keys, secrets};
use crate::keyring::SigningKeys;
use crate::registry::Registry;
use jeton_proto::time::Timestamp;
use serde_json::{Map, Value};
use std::sync::{Mutex, PoisonError};

/// What a call works on.
#[derive(Debug)]
pub(super) struct Stored {
    pub(super) registry: Registry,
    /// A panic while it is locked leaves a transaction that was rolled back, and nothing else.
    pub(super) keys: Mutex<SigningKeys>,
}

/// What is to be done.
#[derive(Debug)]
pub(super) struct Call {
    routed: Routed,
    query: Option<String>,
    if_match: IfMatch,
    body: Map<String, Value>,
}

impl Call {
    pub(super) fn new(
        routed: Routed,
        query: Option<&str>,
        if_match: IfMatch,
        body: Option<Map<String, Value>>,
    ) -> Self {
        Self { routed, query: query.map(str::to_owned), if_match, body: body.unwrap_or_default() }
    }

    pub(super) const fn operation(&self) -> Operation {
        self.routed.operation
    }

    /// Does it. This may wait for the store.
    pub(super) fn perform(self, stored: &Stored, now: Timestamp) -> Result<Outcome, Problem> {
        let Self { routed: Routed { operation, client_id, secret_name }, query, if_match, body } = self;
        let query = query.as_deref();
        let registry = &stored.registry;
        let signing_keys = || stored.keys.lock().unwrap_or_else(PoisonError::into_inner);
        match operation {
            Operation::ListClients => return clients::list(registry, query, now),
            Operation::DueSecrets => return secrets::list_due(registry, query, now),
            Operation::Description
            | Operation::ListKeys
            | Operation::AddClient
            | Operation::ShowClient
            | Operation::ChangeClient
            | Operation::RemoveClient
            | Operation::AddSecret
            | Operation::RevokeSecret
            | Operation::RotateKeys => drop(Parameters::parse(query, &[])?),
        }
        match operation {
            Operation::AddClient => clients::add(registry, body, now),
            Operation::ShowClient => clients::show(registry, &client_id, now),
            Operation::ChangeClient => clients::change(registry, &client_id, &body, &if_match, now),
            Operation::RemoveClient => clients::remove(registry, &client_id, &if_match),
            Operation::AddSecret => secrets::add(registry, &client_id, body),
            Operation::RevokeSecret => secrets::revoke(registry, &client_id, &secret_name),
            Operation::ListKeys => keys::list(&mut signing_keys()),
            Operation::RotateKeys => keys::rotate(&mut signing_keys(), body),
            Operation::ListClients | Operation::DueSecrets | Operation::Description => {
                Err(Problem::new(Code::ServerError, "this needs no store"))
            }
        }
    }
}
