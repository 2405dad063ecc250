//! The clients: what is read of them, and how they are changed. Everything here may wait for the store.

use super::operation::percent_encoded;
use super::outcome::{Outcome, Told};
use super::problem::{Code, Problem};
use super::representation;
use super::request::{DEFAULT_PAGE_LIMIT, IfMatch, PAGE_LIMITS, Parameters};
use crate::audit::Event;
use crate::registry::{ClientRecord, LastUses, Registry, RegistryError};
use http::StatusCode;
use jeton_proto::issuance::ClientStatus;
use jeton_proto::secret::Secret;
use jeton_proto::time::Timestamp;
use serde_json::{Map, Value, json};

/// A page ends early when it has so many bytes.
const MAX_PAGE_BYTES: usize = 1024 * 1024;

/// `GET /admin/clients`.
pub(super) fn list(registry: &Registry, query: Option<&str>, now: Timestamp) -> Result<Outcome, Problem> {
    let parameters = Parameters::parse(query, &["limit", "after"])?;
    let limit = parameters.number("limit", PAGE_LIMITS, DEFAULT_PAGE_LIMIT)?;
    let limit = usize::try_from(limit).unwrap_or(usize::MAX);
    // One more than is shown tells whether there is a next page.
    let listed = registry.page(parameters.after()?, limit.saturating_add(1))?;
    let (mut clients, mut damaged, mut bytes) = (Vec::new(), Vec::new(), 0);
    let (mut last, mut shown) = (None, 0);
    let all = listed.len();
    for listed in listed.into_iter().take(limit) {
        match listed.client {
            Ok(record) => {
                let client = Value::Object(representation::client(&record, &LastUses::default(), now)?);
                bytes += client.to_string().len();
                clients.push(client);
            }
            Err(error) => damaged.push(json!({ "client_id": listed.client_id, "fault": error.to_string() })),
        }
        (last, shown) = (Some(listed.client_id), shown + 1);
        if bytes >= MAX_PAGE_BYTES {
            break;
        }
    }
    let mut body = json!({ "clients": clients, "damaged": damaged });
    if let (true, Some(last), Some(members)) = (shown < all, last, body.as_object_mut()) {
        members.insert("next".to_owned(), json!(last));
    }
    Ok(Outcome::shown(body))
}

/// `GET /admin/clients/{client_id}`.
pub(super) fn show(registry: &Registry, client_id: &str, now: Timestamp) -> Result<Outcome, Problem> {
    let (record, change) = registry.client_at(client_id)?;
    let uses = registry.last_uses(client_id)?;
    let body = representation::client(&record, &uses, now)?;
    Ok(Outcome::shown(Value::Object(body)).with_tag(change))
}

/// `POST /admin/clients`.
pub(super) fn add(registry: &Registry, body: Map<String, Value>, now: Timestamp) -> Result<Outcome, Problem> {
    let (client, new) = representation::new_client(body)?;
    let added = registry.add_one(client.settings, client.credentials, new.as_ref())?;
    let mut body = representation::client(&added.record, &LastUses::default(), now)?;
    if let Some(secret) = &added.secret {
        insert_secret(&mut body, secret);
    }
    let client_id = &added.record.settings.client_id;
    Ok(Outcome::shown(Value::Object(body))
        .with_status(StatusCode::CREATED)
        .with_location(format!("/admin/clients/{}", percent_encoded(client_id)))
        .with_tag(added.change)
        .giving(added.change)
        .telling(Told::new(Event::ClientAdded, client_id)))
}

/// `PATCH /admin/clients/{client_id}`.
pub(super) fn change(
    registry: &Registry,
    client_id: &str,
    patch: &Map<String, Value>,
    if_match: &IfMatch,
    now: Timestamp,
) -> Result<Outcome, Problem> {
    let mut before = None;
    let (record, change) = registry.change_at(client_id, |record, at| {
        if_match.check(at)?;
        // Files rarely speak of the status, so that a client which was disabled in an emergency stays so.
        if patch.keys().any(|name| name != "status") {
            refuse_managed(record)?;
        }
        let after = representation::patched(record, patch)?;
        before = Some(std::mem::replace(record, after));
        Ok::<(), Problem>(())
    })?;
    let uses = registry.last_uses(client_id).unwrap_or_default();
    let body = representation::client(&record, &uses, now)?;
    let mut outcome = Outcome::shown(Value::Object(body)).with_tag(change).taking(change);
    for told in before.iter().flat_map(|before| differences(before, &record)) {
        outcome = outcome.telling(told);
    }
    Ok(outcome)
}

/// `DELETE /admin/clients/{client_id}`.
pub(super) fn remove(registry: &Registry, client_id: &str, if_match: &IfMatch) -> Result<Outcome, Problem> {
    let change = registry.remove_at(client_id, |found, at| {
        if_match.check(at)?;
        match found {
            Ok(record) => refuse_managed(&record),
            // What cannot be read can have no tokens, and to remove it is the way out.
            Err(RegistryError::Damaged { .. }) => Ok(()),
            Err(other) => Err(other.into()),
        }
    })?;
    Ok(Outcome::done().taking(change).telling(Told::new(Event::ClientRemoved, client_id)))
}

/// Shows a secret the one time that it can be had, by the names of RFC 7591 §3.2.1.
pub(super) fn insert_secret(body: &mut Map<String, Value>, secret: &Secret<String>) {
    body.insert("client_secret".to_owned(), json!(secret.expose()));
    body.insert("client_secret_expires_at".to_owned(), json!(0));
}

fn refuse_managed(record: &ClientRecord) -> Result<(), Problem> {
    let Some(manager) = &record.managed_by else { return Ok(()) };
    Err(Problem::new(
        Code::ManagedClient,
        format!(
            "the client is managed by {manager}: change the files and run `jeton apply`; its status alone can be changed here"
        ),
    ))
}

/// What became different, as the audit log tells it.
fn differences(before: &ClientRecord, after: &ClientRecord) -> Vec<Told> {
    let client_id = &after.settings.client_id;
    let mut told = Vec::new();
    if before.settings.status != after.settings.status {
        told.push(Told::new(
            match after.settings.status {
                ClientStatus::Enabled => Event::ClientEnabled,
                ClientStatus::Disabled => Event::ClientDisabled,
            },
            client_id,
        ));
    }
    let (Ok(before), Ok(after)) = (representation::settable(before), representation::settable(after)) else {
        return told;
    };
    let changed = representation::SETTABLE.into_iter().filter(|name| *name != "status");
    let changed: Vec<_> = changed.filter(|name| before.get(*name) != after.get(*name)).collect();
    if !changed.is_empty() {
        told.push(Told::new(Event::ClientChanged, client_id).with_detail(changed.join(" ")));
    }
    told
}
