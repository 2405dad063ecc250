//! What the administrative API does with the registry: changes under a condition, and lists in pages.

use super::rotation::FIRST_SECRET;
use super::{
    ClientRecord, LastUses, NewSecret, Registry, RegistryError, TRIES, no_such_client, read, secrets, write,
};
use crate::store::{ChangeNumber, CommitError, Expect, Kind, Record, StoreError, Write};
use jeton_proto::issuance::{ClientCredentials, ClientSettings};
use jeton_proto::secret::Secret;
use jeton_proto::wire::error_response::printable;
use std::collections::HashMap;

/// How many records are read at once while others may want the store.
const BATCH: usize = 500;

/// A client that was added.
#[derive(Debug)]
pub(crate) struct Added {
    /// As it is stored.
    pub(crate) record: ClientRecord,
    /// The commit that added it.
    pub(crate) change: ChangeNumber,
    /// The secret that was made for it, if one was: the one time that it can be had.
    pub(crate) secret: Option<Secret<String>>,
}

/// A client in a page.
#[derive(Debug)]
pub(crate) struct Listed {
    /// Its id.
    pub(crate) client_id: String,
    /// The client, or why it cannot be read.
    pub(crate) client: Result<ClientRecord, RegistryError>,
}

impl Registry {
    /// The client with this id, and the commit that wrote it.
    pub(crate) fn client_at(&self, client_id: &str) -> Result<(ClientRecord, ChangeNumber), RegistryError> {
        let found = self.record_at(client_id)?;
        Ok((read(&found)?, found.change))
    }

    /// The first `limit` clients whose ids come after `after` in the order of their bytes.
    pub(crate) fn page(&self, after: &str, limit: usize) -> Result<Vec<Listed>, RegistryError> {
        let records = self.store().page(Kind::Client, after, limit)?;
        let listed = records.into_iter().map(|record| {
            let client = read(&record);
            Listed { client_id: record.id, client }
        });
        Ok(listed.collect())
    }

    /// When the secrets of the clients after `after` and up to `through` were used last, by the client id.
    pub(crate) fn uses_between(
        &self,
        after: &str,
        through: &str,
    ) -> Result<HashMap<String, LastUses>, RegistryError> {
        let mut uses = HashMap::new();
        let mut after = after.to_owned();
        loop {
            let records = self.store().page(Kind::SecretUse, &after, BATCH)?;
            let is_last = records.len() < BATCH;
            for record in records {
                if record.id.as_str() > through {
                    return Ok(uses);
                }
                after.clone_from(&record.id);
                uses.insert(record.id, record.body.as_deref().map(LastUses::parse).unwrap_or_default());
            }
            if is_last {
                return Ok(uses);
            }
        }
    }

    /// Adds a client with these credentials, and with a secret besides where one is wanted.
    pub(crate) fn add_one(
        &self,
        settings: ClientSettings,
        mut credentials: ClientCredentials,
        new: Option<&NewSecret>,
    ) -> Result<Added, RegistryError> {
        let mut made = None;
        if let Some(new) = new {
            let secret = secrets::generate()?;
            let name = new.name.as_deref().unwrap_or(FIRST_SECRET);
            let keeping = new.keeping.unwrap_or_default();
            credentials.secrets.push(self.named_secret(&settings.client_id, name, &secret, keeping)?);
            made = Some(secret);
        }
        let record = ClientRecord { settings, credentials, created_at: self.clock.now(), managed_by: None };
        let write = write(&record, Expect::Absent)?;
        match self.commit_at(&[write]) {
            Ok(change) => Ok(Added { record, change, secret: made }),
            Err(CommitError::Conflict { id, .. }) => {
                Err(RegistryError::ClientExists { client_id: printable(&id) })
            }
            Err(CommitError::Full(_)) => Err(RegistryError::TooManyClients),
            Err(CommitError::Store(error)) => Err(error.into()),
        }
    }

    /// As [`update`](Self::update); `change` is told the commit that wrote what it is given, and may refuse it. Nothing is written where
    /// it leaves everything as it was.
    pub(crate) fn change_at<E: From<RegistryError>>(
        &self,
        client_id: &str,
        mut change: impl FnMut(&mut ClientRecord, ChangeNumber) -> Result<(), E>,
    ) -> Result<(ClientRecord, ChangeNumber), E> {
        for _ in 0..TRIES {
            let found = self.record_at(client_id)?;
            let before = read(&found)?;
            let mut record = before.clone();
            change(&mut record, found.change)?;
            if record == before {
                return Ok((record, found.change));
            }
            let write = write(&record, Expect::Change(found.change))?;
            if let Some(change) = unless_conflict(self.commit_at(&[write]))? {
                return Ok((record, change));
            }
        }
        Err(RegistryError::Contended { client_id: printable(client_id) }.into())
    }

    /// Removes the client, unless `check` refuses what is there. It gives the commit.
    pub(crate) fn remove_at<E: From<RegistryError>>(
        &self,
        client_id: &str,
        mut check: impl FnMut(Result<ClientRecord, RegistryError>, ChangeNumber) -> Result<(), E>,
    ) -> Result<ChangeNumber, E> {
        for _ in 0..TRIES {
            let found = self.record_at(client_id)?;
            check(read(&found), found.change)?;
            let removal =
                |kind, expect| Write { kind, id: client_id.to_owned(), body: None, expires_at: None, expect };
            let removals = [
                removal(Kind::Client, Expect::Change(found.change)),
                removal(Kind::SecretUse, Expect::Anything),
            ];
            if let Some(change) = unless_conflict(self.commit_at(&removals))? {
                return Ok(change);
            }
        }
        Err(RegistryError::Contended { client_id: printable(client_id) }.into())
    }

    fn record_at(&self, client_id: &str) -> Result<Record, RegistryError> {
        let found = self.store().record(Kind::Client, client_id)?;
        found.ok_or_else(|| no_such_client(client_id))
    }

    fn commit_at(&self, writes: &[Write]) -> Result<ChangeNumber, CommitError> {
        self.store().commit(writes, self.clock.now())
    }
}

/// The commit; `None` when somebody else was faster.
fn unless_conflict(
    committed: Result<ChangeNumber, CommitError>,
) -> Result<Option<ChangeNumber>, RegistryError> {
    match committed {
        Ok(change) => Ok(Some(change)),
        Err(CommitError::Conflict { .. }) => Ok(None),
        Err(CommitError::Full(_)) => Err(RegistryError::TooManyClients),
        Err(CommitError::Store(error)) => Err(StoreError::into(error)),
    }
}
