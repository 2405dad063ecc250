//! Makes the registry what a set of files says, in one commit.

use super::{MAX_MANAGER_BYTES, Registry, RegistryError, TRIES, read, write};
use crate::declared::{DeclaredClients, DeclaredSecrets, FileFault, Plan, PlanTerms, PlannedChange, plan};
use crate::store::{ChangeNumber, CommitError, Expect, Kind, Write};
use jeton_proto::wire::error_response::printable;
use std::collections::HashMap;

/// What was planned, and from which state of each client.
struct Planned {
    plan: Plan,
    read_at: HashMap<String, ChangeNumber>,
}

impl Registry {
    /// What [`apply`](Self::apply) would change now.
    pub fn plan(&self, declared: &DeclaredClients, terms: &PlanTerms) -> Result<Plan, ApplyError> {
        Ok(self.planned(declared, terms)?.plan)
    }

    /// Makes the clients what the files say: all of it in one commit, or nothing. Clients that others manage, or nobody, are not
    /// touched. It gives what was changed.
    ///
    /// # Errors
    /// When the files cannot be applied to this registry, or the registry cannot be written. An error of the store may leave it open
    /// whether the commit has happened; then it has happened whole.
    pub fn apply(&self, declared: &DeclaredClients, terms: &PlanTerms) -> Result<Plan, ApplyError> {
        for _ in 0..TRIES {
            let Planned { plan, read_at } = self.planned(declared, terms)?;
            if plan.changes.is_empty() {
                return Ok(plan);
            }
            let mut writes = Vec::with_capacity(plan.changes.len());
            for change in &plan.changes {
                writes.extend(writes_of(change, &read_at)?);
            }
            match self.commit(&writes) {
                Ok(()) => return Ok(plan),
                // Somebody has changed one of the clients: what is to be done depends on how.
                Err(CommitError::Conflict { .. }) => {}
                Err(CommitError::Full(_)) => return Err(RegistryError::TooManyClients.into()),
                Err(CommitError::Store(error)) => return Err(RegistryError::from(error).into()),
            }
        }
        Err(RegistryError::Contended { client_id: "of the files".to_owned() }.into())
    }

    fn planned(&self, declared: &DeclaredClients, terms: &PlanTerms) -> Result<Planned, ApplyError> {
        let manager = terms.manager.as_bytes();
        if !(1..=MAX_MANAGER_BYTES).contains(&manager.len()) || !manager.iter().all(u8::is_ascii_graphic) {
            return Err(RegistryError::Manager.into());
        }
        let changes = self.store().changes(ChangeNumber(0)).map_err(RegistryError::from)?;
        let (mut records, mut read_at, mut faults) = (Vec::new(), HashMap::new(), Vec::new());
        for record in changes.records.iter().filter(|record| record.kind == Kind::Client) {
            match (read(record), declared.client(&record.id)) {
                (Ok(client), _) => {
                    read_at.insert(record.id.clone(), record.change);
                    records.push(client);
                }
                (Err(error), Some(client)) => {
                    faults.push(FileFault { place: client.place.clone(), what: error.to_string() });
                }
                // One that cannot be read is nobody's to manage here.
                (Err(_), None) => {}
            }
        }
        faults.extend(self.foreign_digests(declared));
        let planned = plan(declared, &records, terms, self.clock.now());
        match planned {
            Ok(plan) if faults.is_empty() => {
                check_emptiness(declared, &plan)?;
                Ok(Planned { plan, read_at })
            }
            Ok(_) => Err(ApplyError::Files(faults)),
            Err(more) => {
                faults.extend(more);
                faults.sort();
                Err(ApplyError::Files(faults))
            }
        }
    }

    /// Digests that were made with another key than this registry's.
    fn foreign_digests(&self, declared: &DeclaredClients) -> Vec<FileFault> {
        let key_id = self.hasher.key_id();
        let mut faults = Vec::new();
        for client in declared.iter() {
            let DeclaredSecrets::These(secrets) = &client.secrets else { continue };
            for secret in secrets.iter().filter(|secret| secret.key_id != key_id) {
                faults.push(FileFault {
                    place: secret.place.clone(),
                    what: format!(
                        "the digest of the secret {} was made with the key of another server; make it anew by: jeton client hash",
                        printable(&secret.name)
                    ),
                });
            }
        }
        faults
    }
}

/// Files without any client remove none: a directory that was not mounted looks like that.
fn check_emptiness(declared: &DeclaredClients, plan: &Plan) -> Result<(), ApplyError> {
    if declared.is_empty() && !plan.changes.is_empty() {
        return Err(RegistryError::EmptyFiles { clients: plan.changes.len() }.into());
    }
    Ok(())
}

fn writes_of(
    change: &PlannedChange,
    read_at: &HashMap<String, ChangeNumber>,
) -> Result<Vec<Write>, RegistryError> {
    let expect = read_at.get(change.client_id()).map_or(Expect::Absent, |at| Expect::Change(*at));
    let removal = |kind, expect| Write {
        kind,
        id: change.client_id().to_owned(),
        body: None,
        expires_at: None,
        expect,
    };
    Ok(match change {
        PlannedChange::Add(record) | PlannedChange::Update { after: record, .. } => {
            vec![write(record, expect)?]
        }
        PlannedChange::Remove(_) => {
            vec![removal(Kind::Client, expect), removal(Kind::SecretUse, Expect::Anything)]
        }
    })
}

/// Why files were not applied.
#[derive(Debug, thiserror::Error)]
pub enum ApplyError {
    /// Something is wrong with the files, or does not go with the clients that are there.
    #[error("{} faults in the files", .0.len())]
    Files(Vec<FileFault>),
    /// The registry cannot be read or written.
    #[error(transparent)]
    Registry(#[from] RegistryError),
}

#[cfg(test)]
mod tests;
