//! What is to be changed so that the registry is as the files say. A pure function of both.

use super::client::{DeclaredClient, DeclaredClients, DeclaredSecrets, FileFault};
use crate::audit::{Act, Event};
use crate::registry::{ClientRecord, shown};
use jeton_proto::issuance::{ClientSettings, NamedSecret};
use jeton_proto::time::Timestamp;
use jeton_proto::wire::error_response::printable;
use serde_json::Value;
use std::collections::BTreeMap;

/// How files and registry are brought together.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PlanTerms {
    /// Under which name the files manage their clients: 1 to [`MAX_MANAGER_BYTES`](crate::MAX_MANAGER_BYTES) printable characters.
    pub manager: String,
    /// What becomes of clients that the files name and that were added by other means.
    pub adoption: Adoption,
    /// What becomes of clients that the files named and name no more.
    pub unnamed: Unnamed,
}

/// What becomes of a client that a file names and that nobody manages.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Adoption {
    /// It is a fault: what was added by other means is never touched.
    #[default]
    Refused,
    /// It is managed from then on, and keeps its secrets unless the file has digests.
    Taken,
}

/// What becomes of a client that the files named and name no more.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Unnamed {
    /// It stays, and is told.
    #[default]
    Kept,
    /// It is removed, with its secrets.
    Removed,
}

/// What is to be changed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Plan {
    /// The changes, in the order of the client ids.
    pub changes: Vec<PlannedChange>,
    /// The clients that the files named, name no more, and that stay.
    pub kept: Vec<String>,
}

/// One change.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PlannedChange {
    /// A client is added.
    Add(Box<ClientRecord>),
    /// A client is changed.
    Update {
        /// As it is.
        before: Box<ClientRecord>,
        /// As it will be.
        after: Box<ClientRecord>,
    },
    /// A client is removed.
    Remove(Box<ClientRecord>),
}

/// A member that changes. Digests are not in it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MemberDifference {
    /// Its name.
    pub member: String,
    /// As it is, if it is there.
    pub before: Option<Value>,
    /// As it will be, if it will be there.
    pub after: Option<Value>,
}

impl PlannedChange {
    /// The client.
    #[must_use]
    pub fn client_id(&self) -> &str {
        match self {
            Self::Add(record) | Self::Remove(record) | Self::Update { after: record, .. } => {
                &record.settings.client_id
            }
        }
    }

    /// This change as an act of `actor`.
    #[must_use]
    pub fn act<'a>(&'a self, actor: &'a str, detail: &'a str) -> Act<'a> {
        let event = match self {
            Self::Add(_) => Event::ClientAdded,
            Self::Update { .. } => Event::ClientChanged,
            Self::Remove(_) => Event::ClientRemoved,
        };
        Act { event, actor, client_id: Some(self.client_id()), detail: Some(detail) }
    }

    /// What changes, by the names of the members.
    #[must_use]
    pub fn differences(&self) -> Vec<MemberDifference> {
        let (before, after) = match self {
            Self::Add(record) => (BTreeMap::new(), shown(record)),
            Self::Update { before, after } => (shown(before), shown(after)),
            Self::Remove(record) => (shown(record), BTreeMap::new()),
        };
        let mut members: Vec<_> = before.keys().chain(after.keys()).collect();
        members.sort();
        members.dedup();
        let differences = members.into_iter().map(|member| MemberDifference {
            member: member.clone(),
            before: before.get(member).cloned(),
            after: after.get(member).cloned(),
        });
        differences.filter(|difference| difference.before != difference.after).collect()
    }
}

/// What is to be changed in a registry that has these clients, so that it is as the files say; or why that cannot be.
///
/// A client of another manager, or of none, is never changed but for [`Adoption::Taken`].
///
/// # Errors
/// Every client that a file names and that is not this manager's, and the removal of everything by files that have no client: a
/// directory that was not mounted looks like that.
pub fn plan(
    declared: &DeclaredClients,
    registry: &[ClientRecord],
    terms: &PlanTerms,
    now: Timestamp,
) -> Result<Plan, Vec<FileFault>> {
    let held: BTreeMap<&str, &ClientRecord> =
        registry.iter().map(|record| (record.settings.client_id.as_str(), record)).collect();
    let (mut plan, mut faults) = (Plan::default(), Vec::new());
    for client in declared.iter() {
        let before = held.get(client.settings.client_id.as_str()).copied();
        match before.map_or(Ok(()), |before| check_manager(client, before, terms)) {
            Ok(()) => plan.changes.extend(change(client, before, &terms.manager, now)),
            Err(fault) => faults.push(fault),
        }
    }
    let is_ours = |record: &ClientRecord| record.managed_by.as_deref() == Some(terms.manager.as_str());
    let unnamed = held
        .values()
        .filter(|record| is_ours(record) && declared.client(&record.settings.client_id).is_none());
    for record in unnamed {
        match terms.unnamed {
            Unnamed::Kept => plan.kept.push(record.settings.client_id.clone()),
            Unnamed::Removed => plan.changes.push(PlannedChange::Remove(Box::new((*record).clone()))),
        }
    }
    plan.changes.sort_by(|one, other| one.client_id().cmp(other.client_id()));
    if faults.is_empty() { Ok(plan) } else { Err(faults) }
}

fn check_manager(client: &DeclaredClient, before: &ClientRecord, terms: &PlanTerms) -> Result<(), FileFault> {
    let client_id = printable(&client.settings.client_id);
    let fault = |what: String| Err(FileFault { place: client.place.clone(), what });
    match (&before.managed_by, terms.adoption) {
        (Some(manager), _) if *manager == terms.manager => Ok(()),
        (Some(manager), _) => fault(format!(
            "the client {client_id} is managed by {}; take it out of those files first, or give it another id",
            printable(manager)
        )),
        (None, Adoption::Taken) => Ok(()),
        (None, Adoption::Refused) => fault(format!(
            "there is a client {client_id} that no file manages; take it over by: jeton apply --adopt, or give it another id"
        )),
    }
}

fn change(
    client: &DeclaredClient,
    before: Option<&ClientRecord>,
    manager: &str,
    now: Timestamp,
) -> Option<PlannedChange> {
    let status = client.status.or(before.map(|before| before.settings.status)).unwrap_or_default();
    let held = before.map_or(&[][..], |before| &before.credentials.secrets);
    let mut after = ClientRecord {
        settings: ClientSettings { status, ..client.settings.clone() },
        credentials: client.credentials.clone(),
        created_at: before.map_or(now, |before| before.created_at),
        managed_by: Some(manager.to_owned()),
    };
    after.credentials.secrets = secrets(&client.secrets, held, now);
    match before {
        None => Some(PlannedChange::Add(Box::new(after))),
        Some(before) if *before == after => None,
        Some(before) => {
            Some(PlannedChange::Update { before: Box::new(before.clone()), after: Box::new(after) })
        }
    }
}

/// The secrets that a client is to have. One that it has stays as old as it is.
fn secrets(declared: &DeclaredSecrets, held: &[NamedSecret], now: Timestamp) -> Vec<NamedSecret> {
    let DeclaredSecrets::These(declared) = declared else { return held.to_vec() };
    let secrets = declared.iter().map(|secret| {
        let same = held.iter().find(|held| held.name == secret.name && held.digest == secret.digest);
        NamedSecret {
            not_before: secret.not_before,
            expires_at: secret.expires_at,
            ..same.cloned().unwrap_or_else(|| NamedSecret::new(&secret.name, secret.digest, now))
        }
    });
    secrets.collect()
}

#[cfg(test)]
mod tests;
