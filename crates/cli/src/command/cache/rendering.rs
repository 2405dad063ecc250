//! Records of the cache, for people and for programs. What is written in them came from outside.

use crate::cache::{Kind, Listed};
use crate::lifespan::Lifespan;
use crate::moment;
use crate::output::{harmless, labelled};
use jeton::Timestamp;
use jeton::store::TokenSummary;
use serde_json::{Value, json};
use std::time::Duration;

/// How much of a name a table shows; as good as ever enough to tell records apart.
const NAME_DIGITS: usize = 12;
const HEADINGS: [&str; 5] = ["NAME", "CLIENT ID", "SCOPE", "LEFT", "TOKEN ENDPOINT"];

/// One line for each record, in columns.
pub(super) fn table(records: &[Listed]) -> String {
    if records.is_empty() {
        return String::new();
    }
    let mut rows = vec![HEADINGS.map(str::to_owned)];
    rows.extend(records.iter().map(row));
    let widths: [usize; 4] = std::array::from_fn(|column| {
        rows.iter().map(|row| row.get(column).map_or(0, |cell| cell.chars().count())).max().unwrap_or(0)
    });
    let mut table = String::new();
    for [name, client_id, scope, left, endpoint] in &rows {
        let [name_width, client_width, scope_width, left_width] = widths;
        let line = format!(
            "{name:<name_width$}  {client_id:<client_width$}  {scope:<scope_width$}  {left:<left_width$}  {endpoint}"
        );
        table.push_str(line.trim_end());
        table.push('\n');
    }
    table
}

fn row(record: &Listed) -> [String; 5] {
    let name = record.name.to_string();
    let name = name.get(..NAME_DIGITS).unwrap_or(&name).to_owned();
    let none = || "-".to_owned();
    match &record.kind {
        Kind::Token { token, .. } => [
            name,
            harmless(&token.client_id),
            token.scope.as_deref().or(token.granted_scope.as_deref()).map_or_else(none, harmless),
            left(token),
            harmless(&token.token_endpoint),
        ],
        Kind::Leased { lease_left } => [name, none(), none(), none(), leased(*lease_left)],
        Kind::Paused { left } => [name, none(), none(), none(), paused(*left)],
        Kind::Unreadable { reason } => {
            [name, none(), none(), none(), format!("unreadable: {}", harmless(reason))]
        }
    }
}

fn left(token: &TokenSummary) -> String {
    if token.life_left.is_zero() { "expired".to_owned() } else { Lifespan(token.life_left).to_string() }
}

fn leased(left: Duration) -> String {
    format!("a process is fetching a token, for {} at most", Lifespan(left))
}

fn paused(left: Duration) -> String {
    format!("the server wants to be left alone for {}", Lifespan(left))
}

/// Everything about one record, a line each.
pub(super) fn text(record: &Listed, now: Timestamp) -> String {
    let mut lines = vec![("name", record.name.to_string())];
    match &record.kind {
        Kind::Token { token, lease_left } => {
            let none = |what: &str| format!("- ({what})");
            let scope = token.scope.clone();
            lines.extend([
                ("token endpoint", token.token_endpoint.clone()),
                ("client id", token.client_id.clone()),
                ("auth method", token.auth_method.clone()),
                ("scope", scope.unwrap_or_else(|| none("what the server gives without being asked"))),
            ]);
            lines.extend(token.granted_scope.clone().map(|scope| ("granted scope", scope)));
            lines.extend(token.audience.clone().map(|audience| ("audience", audience)));
            lines.extend(token.resources.iter().map(|resource| ("resource", resource.clone())));
            if !token.parameter_names.is_empty() {
                lines.push(("parameters", token.parameter_names.join(" ")));
            }
            let at = |at: Timestamp| format!("{} ({})", moment::second(at), moment::distance(at, now));
            lines.extend([
                ("fingerprint", token.id.to_string()),
                ("obtained", at(token.obtained_at)),
                ("expires", at(token.expires_at)),
            ]);
            lines.extend(lease_left.map(|left| ("state", leased(left))));
        }
        Kind::Leased { lease_left } => lines.push(("state", leased(*lease_left))),
        Kind::Paused { left } => lines.push(("state", paused(*left))),
        Kind::Unreadable { reason } => lines.push(("state", format!("unreadable: {reason}"))),
    }
    labelled(&lines)
}

/// The form for programs: names as in RFC 6749, 7591, 8414 and 8707.
pub(super) fn document(record: &Listed, now: Timestamp) -> Value {
    let name = record.name.to_string();
    let seconds = |span: Duration| span.as_secs();
    match &record.kind {
        Kind::Token { token, lease_left } => json!({
            "name": name,
            "status": if token.life_left.is_zero() { "expired" } else { "token" },
            "token_endpoint": token.token_endpoint,
            "client_id": token.client_id,
            "token_endpoint_auth_method": token.auth_method,
            "scope": token.scope,
            "granted_scope": token.granted_scope,
            "audience": token.audience,
            "resource": token.resources,
            "parameter_names": token.parameter_names,
            "fingerprint": token.id.to_string(),
            "obtained_at": token.obtained_at.as_unix_seconds(),
            "expires_at": token.expires_at.as_unix_seconds(),
            "expires_in": seconds(token.life_left.min(token.expires_at.saturating_since(now))),
            "lease_left_seconds": lease_left.map(seconds),
        }),
        Kind::Leased { lease_left } => {
            json!({ "name": name, "status": "fetching", "lease_left_seconds": seconds(*lease_left) })
        }
        Kind::Paused { left } => json!({ "name": name, "status": "paused", "retry_after": seconds(*left) }),
        Kind::Unreadable { reason } => json!({ "name": name, "status": "unreadable", "reason": reason }),
    }
}
