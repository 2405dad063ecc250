//! A client as this API shows it and takes it: the names of RFC 7591 where it has them, never a digest or a sealed secret.

use super::problem::{Code, Problem};
use crate::registry::{
    ClientRecord, InvalidDocument, LastUses, NewSecret, SecretKeeping, members, of_members,
};
use jeton_proto::issuance::{ClientSettings, DEFAULT_TOKEN_LIFETIME, NamedSecret, SecretTerm};
use jeton_proto::time::Timestamp;
use jeton_proto::wire::error_response::printable;
use serde_json::{Map, Value, json};

/// What can be set. All else of a client is told and not taken.
pub(super) const SETTABLE: [&str; 16] = [
    "status",
    "scope",
    "default_scope",
    "audience",
    "token_lifetime_seconds",
    "signing_algorithm",
    "labels",
    "jwks",
    "jwks_uri",
    "tls_client_auth_subject_dn",
    "tls_client_auth_san_dns",
    "tls_client_auth_san_uri",
    "tls_client_auth_san_ip",
    "tls_client_auth_san_email",
    "certificates",
    "workloads",
];
/// What the store calls `certificates`.
const THUMBPRINTS: &str = "x5t#S256";

/// What is set for a client.
pub(super) fn settable(record: &ClientRecord) -> Result<Map<String, Value>, Problem> {
    let mut members = members(record).map_err(|error| unreadable(&error))?;
    for own in ["created_at_ms", "managed_by", "secrets"] {
        members.remove(own);
    }
    if let Some(prints) = members.remove(THUMBPRINTS) {
        members.insert("certificates".to_owned(), prints);
    }
    for_each_claims(&mut members, |claims| {
        let pairs = claims.as_array()?.iter();
        let named = pairs.map(|pair| Some(json!({ "name": pair.get(0)?, "value": pair.get(1)? })));
        named.collect::<Option<Vec<_>>>().map(Value::Array)
    });
    Ok(members)
}

/// All that is shown of a client.
pub(super) fn client(
    record: &ClientRecord,
    uses: &LastUses,
    now: Timestamp,
) -> Result<Map<String, Value>, Problem> {
    let mut members = settable(record)?;
    let secrets = record.credentials.secrets.iter().map(|held| secret(held, uses, now)).collect();
    members.insert("client_id".to_owned(), json!(record.settings.client_id));
    members.insert("client_id_issued_at".to_owned(), json!(record.created_at.as_unix_seconds()));
    members.insert("secrets".to_owned(), Value::Array(secrets));
    if let Some(manager) = &record.managed_by {
        members.insert("managed_by".to_owned(), json!(manager));
    }
    Ok(members)
}

fn secret(held: &NamedSecret, uses: &LastUses, now: Timestamp) -> Value {
    let seconds = |at: Option<Timestamp>| at.map(Timestamp::as_unix_seconds);
    let mut shown = json!({
        "name": held.name,
        "created_at": held.created_at.as_unix_seconds(),
        "term": match held.term(now) {
            SecretTerm::NotYet => "not_yet",
            SecretTerm::InForce => "in_force",
            SecretTerm::Expired => "expired",
        },
        "keeping": if held.sealed.is_some() { "sealed" } else { "digest" },
    });
    let times = [
        ("not_before", seconds(held.not_before)),
        ("expires_at", seconds(held.expires_at)),
        ("last_used_at", seconds(uses.of(held))),
    ];
    for (name, at) in times {
        if let (Some(at), Some(members)) = (at, shown.as_object_mut()) {
            members.insert(name.to_owned(), json!(at));
        }
    }
    shown
}

/// A client that is to be added, and the secret that is to be made for it.
pub(super) fn new_client(mut body: Map<String, Value>) -> Result<(ClientRecord, Option<NewSecret>), Problem> {
    let client_id = match body.remove("client_id") {
        Some(Value::String(client_id)) => client_id,
        Some(_) => return Err(invalid("client_id: it is a string")),
        None => return Err(invalid("client_id is missing")),
    };
    let secret = match body.remove("secret") {
        None => Some(NewSecret::default()),
        Some(Value::Null) => None,
        Some(Value::Object(members)) => Some(new_secret(members)?),
        Some(_) => return Err(invalid("secret: it is an object, or null for a client without a secret")),
    };
    if let Some((name, _)) = body.iter().find(|(_, value)| value.is_null()) {
        return Err(invalid(format!("{}: leave out what is not set", printable(name))));
    }
    let empty = ClientRecord {
        settings: ClientSettings::new(&*client_id),
        credentials: jeton_proto::issuance::ClientCredentials::default(),
        created_at: Timestamp::EPOCH,
        managed_by: None,
    };
    Ok((with(&empty, body)?, secret))
}

/// A secret that is to be made: `name` and `keeping`.
pub(super) fn new_secret(mut members: Map<String, Value>) -> Result<NewSecret, Problem> {
    let name = match members.remove("name") {
        None => None,
        Some(Value::String(name)) => Some(name),
        Some(_) => return Err(invalid("name: it is a string")),
    };
    let keeping = match members.remove("keeping") {
        None => None,
        Some(Value::String(keeping)) if keeping == "digest" => Some(SecretKeeping::Digest),
        Some(Value::String(keeping)) if keeping == "sealed" => Some(SecretKeeping::Sealed),
        Some(_) => return Err(invalid("keeping: it is digest or sealed")),
    };
    match members.keys().next() {
        None => Ok(NewSecret { name, keeping }),
        Some(other) => Err(invalid(format!("there is no member {} of a secret", printable(other)))),
    }
}

/// What `record` is after `patch` (RFC 7396).
pub(super) fn patched(record: &ClientRecord, patch: &Map<String, Value>) -> Result<ClientRecord, Problem> {
    if patch.get("status").is_some_and(Value::is_null) {
        return Err(invalid("status: it is enabled or disabled"));
    }
    if let Some(other) = patch.keys().find(|name| !SETTABLE.contains(&name.as_str())) {
        return Err(no_such_member(other));
    }
    let mut members = Value::Object(settable(record)?);
    merge(&mut members, Value::Object(patch.clone()));
    match members {
        Value::Object(members) => with(record, members),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Array(_) => {
            Err(invalid("the patch is an object"))
        }
    }
}

/// `MergePatch` of RFC 7396 §2.
fn merge(target: &mut Value, patch: Value) {
    let Value::Object(patch) = patch else {
        *target = patch;
        return;
    };
    if !target.is_object() {
        *target = Value::Object(Map::new());
    }
    let Some(members) = target.as_object_mut() else { return };
    for (name, value) in patch {
        if value.is_null() {
            members.remove(&name);
        } else {
            merge(members.entry(name).or_insert(Value::Null), value);
        }
    }
}

/// `record` with `members` set, all that can be set, and the rest as it is.
fn with(record: &ClientRecord, members: Map<String, Value>) -> Result<ClientRecord, Problem> {
    if let Some(other) = members.keys().find(|name| !SETTABLE.contains(&name.as_str())) {
        return Err(no_such_member(other));
    }
    let client_id = &record.settings.client_id;
    let read =
        of_members(client_id, stored(members.clone())).map_err(|error| fault(client_id, members, &error))?;
    let mut credentials = read.credentials;
    credentials.secrets.clone_from(&record.credentials.secrets);
    Ok(ClientRecord {
        settings: read.settings,
        credentials,
        created_at: record.created_at,
        managed_by: record.managed_by.clone(),
    })
}

/// The members as they are stored, with what a client has that says nothing of them.
fn stored(mut members: Map<String, Value>) -> Map<String, Value> {
    if let Some(prints) = members.remove("certificates") {
        members.insert(THUMBPRINTS.to_owned(), prints);
    }
    for_each_claims(&mut members, |claims| {
        let conditions = claims.as_array()?.iter();
        let pairs = conditions.map(|condition| {
            let condition = condition.as_object().filter(|members| members.len() == 2)?;
            Some(json!([condition.get("name")?, condition.get("value")?]))
        });
        pairs.collect::<Option<Vec<_>>>().map(Value::Array)
    });
    if let Some(lifetime) = members.get_mut("token_lifetime_seconds")
        && let Some(seconds) = whole(lifetime)
    {
        *lifetime = json!(seconds);
    }
    let usual = [
        ("status", json!("enabled")),
        ("scope", json!("")),
        ("token_lifetime_seconds", json!(DEFAULT_TOKEN_LIFETIME.as_secs())),
    ];
    for (name, value) in usual {
        members.entry(name).or_insert(value);
    }
    members.insert("created_at_ms".to_owned(), json!(0));
    members
}

/// A whole number, which may be written as `60.0` (RFC 8259 knows one kind of numbers).
pub(super) fn whole(value: &Value) -> Option<u64> {
    const MOST: f64 = 9_007_199_254_740_992.0;
    let whole = |number: f64| number.fract() == 0.0 && (0.0..=MOST).contains(&number);
    #[allow(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "it is whole, and within what a u64 holds"
    )]
    let from_float = || value.as_f64().filter(|number| whole(*number)).map(|number| number as u64);
    value.as_u64().or_else(from_float)
}

/// Writes the `claims` of every workload in the other way, and leaves what is neither for the reader to refuse.
fn for_each_claims(members: &mut Map<String, Value>, rewritten: impl Fn(&Value) -> Option<Value>) {
    let workloads = members.get_mut("workloads").and_then(Value::as_array_mut);
    let claims = workloads.into_iter().flatten().filter_map(|workload| workload.get_mut("claims"));
    for claims in claims {
        // What is not to be rewritten must not pass for what is.
        *claims = rewritten(claims).unwrap_or(Value::Bool(false));
    }
}

/// What is wrong, with the member it is wrong with.
fn fault(client_id: &str, members: Map<String, Value>, error: &InvalidDocument) -> Problem {
    let is_wrong = |name: &str, value: &Value| {
        let alone = Map::from_iter([(name.to_owned(), value.clone())]);
        of_members(client_id, stored(alone)).is_err()
    };
    let wrong = members.into_iter().find(|(name, value)| is_wrong(name, value));
    let error = printable(&error.to_string());
    invalid(match wrong {
        Some((name, _)) => format!("{name}: {error}"),
        None => error,
    })
}

fn unreadable(error: &InvalidDocument) -> Problem {
    tracing::error!(%error, "a client cannot be written as json");
    Problem::new(Code::DamagedClient, "the client cannot be shown")
}

fn no_such_member(name: &str) -> Problem {
    invalid(format!(
        "there is no member {} that can be set; they are {}",
        printable(name),
        SETTABLE.join(", ")
    ))
}

fn invalid(detail: impl Into<String>) -> Problem {
    Problem::new(Code::InvalidClient, detail)
}
