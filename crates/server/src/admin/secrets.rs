//! The secrets of clients. Everything here may wait for the store.

use super::clients::insert_secret;
use super::outcome::{Outcome, Told};
use super::problem::{Code, Problem};
use super::representation;
use super::request::{DAYS, DEFAULT_PAGE_LIMIT, PAGE_LIMITS, Parameters};
use crate::audit::Event;
use crate::registry::{LastUses, Registry, RegistryError};
use http::StatusCode;
use jeton_proto::issuance::{DueReason, DueTerms, NamedSecret, due};
use jeton_proto::time::Timestamp;
use jeton_proto::wire::error_response::printable;
use serde_json::{Map, Value, json};
use std::ops::RangeInclusive;
use std::time::Duration;

/// For how long the secrets before are good besides.
const OVERLAP_SECONDS: RangeInclusive<u64> = 0..=31_536_000;
const DEFAULT_OVERLAP_SECONDS: u64 = 86_400;
const DEFAULT_AFTER_DAYS: u64 = 90;
const DEFAULT_WITHIN_DAYS: u64 = 14;
const DEFAULT_UNUSED_AFTER_DAYS: u64 = 7;
/// How many clients are looked at while others may want the store.
const BATCH: usize = 200;

/// `POST /admin/clients/{client_id}/secrets`.
pub(super) fn add(
    registry: &Registry,
    client_id: &str,
    mut body: Map<String, Value>,
) -> Result<Outcome, Problem> {
    let overlap_seconds = match body.remove("overlap_seconds") {
        None => Some(DEFAULT_OVERLAP_SECONDS),
        Some(value) => representation::whole(&value).filter(|seconds| OVERLAP_SECONDS.contains(seconds)),
    };
    let overlap_seconds = overlap_seconds.ok_or_else(|| {
        let end = OVERLAP_SECONDS.end();
        Problem::new(Code::InvalidClient, format!("overlap_seconds: it is a whole number from 0 to {end}"))
    })?;
    let new = representation::new_secret(body)?;
    let rotated = registry.rotate_to(client_id, &new, Duration::from_secs(overlap_seconds))?;
    let mut body = Map::new();
    body.insert("client_id".to_owned(), json!(client_id));
    body.insert("name".to_owned(), json!(rotated.name));
    insert_secret(&mut body, &rotated.secret);
    let told = Told::new(Event::SecretAdded, client_id).with_detail(rotated.name.clone());
    let mut outcome = Outcome::shown(Value::Object(body)).with_status(StatusCode::CREATED).telling(told);
    // The secret was made and must be handed over, even when the store fails from here on.
    if let Ok((_, change)) = registry.client_at(client_id) {
        outcome = outcome.with_tag(change).giving(change);
    }
    Ok(outcome)
}

/// `DELETE /admin/clients/{client_id}/secrets/{name}`.
pub(super) fn revoke(registry: &Registry, client_id: &str, name: &str) -> Result<Outcome, Problem> {
    let (_, change) = registry.change_at(client_id, |record, _| {
        let held = &mut record.credentials.secrets;
        let before = held.len();
        held.retain(|secret| secret.name != name);
        if held.len() < before {
            return Ok(());
        }
        Err(RegistryError::NoSuchSecret {
            client_id: printable(client_id),
            name: printable(name),
            names: held.iter().map(|secret| secret.name.clone()).collect(),
        })
    })?;
    let told = Told::new(Event::SecretRevoked, client_id).with_detail(name.to_owned());
    Ok(Outcome::done().with_tag(change).taking(change).telling(told))
}

/// `GET /admin/secrets/due`.
pub(super) fn list_due(registry: &Registry, query: Option<&str>, now: Timestamp) -> Result<Outcome, Problem> {
    let parameters =
        Parameters::parse(query, &["after_days", "within_days", "unused_after_days", "limit", "after"])?;
    let days =
        |name, default| parameters.number(name, DAYS, default).map(|days| Duration::from_hours(24 * days));
    let terms = DueTerms {
        old_after: days("after_days", DEFAULT_AFTER_DAYS)?,
        ending_within: days("within_days", DEFAULT_WITHIN_DAYS)?,
        unused_after: days("unused_after_days", DEFAULT_UNUSED_AFTER_DAYS)?,
    };
    let limit = parameters.number("limit", PAGE_LIMITS, DEFAULT_PAGE_LIMIT)?;
    let limit = usize::try_from(limit).unwrap_or(usize::MAX);
    let mut after = parameters.after()?.to_owned();
    let (mut found, mut clients) = (Vec::new(), 0);
    let unused = LastUses::default();
    loop {
        let listed = registry.page(&after, BATCH)?;
        let Some(last) = listed.last().map(|last| last.client_id.clone()) else {
            return Ok(Outcome::shown(json!({ "due": found })));
        };
        let uses = registry.uses_between(&after, &last)?;
        for listed in listed {
            let Ok(record) = listed.client else { continue };
            let uses = uses.get(&listed.client_id).unwrap_or(&unused);
            let told = due(&record.credentials.secrets, |secret| uses.of(secret), terms, now);
            if told.is_empty() {
                continue;
            }
            if clients == limit {
                return Ok(Outcome::shown(json!({ "due": found, "next": after })));
            }
            clients += 1;
            found.extend(told.into_iter().map(|(secret, reason)| entry(&listed.client_id, secret, reason)));
            after = listed.client_id;
        }
        after = last;
    }
}

fn entry(client_id: &str, secret: &NamedSecret, reason: DueReason) -> Value {
    let (reason, time) = match reason {
        DueReason::Old => ("old", None),
        DueReason::Ending { at } => ("ending", Some(("expires_at", at))),
        DueReason::StillUsed { last_used_at } => ("still_used", Some(("last_used_at", last_used_at))),
        DueReason::NeverUsed => ("never_used", None),
    };
    let mut entry = json!({
        "client_id": client_id,
        "secret_name": secret.name,
        "created_at": secret.created_at.as_unix_seconds(),
        "reason": reason,
    });
    if let (Some((name, at)), Some(members)) = (time, entry.as_object_mut()) {
        members.insert(name.to_owned(), json!(at.as_unix_seconds()));
    }
    entry
}
