//! `jeton client due`.

use super::flags::usage;
use super::listing::tell_damaged;
use super::rendering;
use crate::args::DueArgs;
use crate::command::registry::OpenRegistry;
use crate::failure::Failure;
use crate::lifespan::Lifespan;
use crate::moment;
use crate::output::{self, Format};
use jeton::{Clock as _, SystemClock};
use jeton_proto::issuance::{DueReason, DueTerms, NamedSecret, due};
use jeton_proto::time::Timestamp;
use jeton_server::LastUses;
use serde_json::{Value, json};

/// Tells which secrets ask for attention, and why.
pub(super) fn run<'a>(
    args: &DueArgs,
    open: impl FnOnce() -> Result<OpenRegistry<'a>, Failure>,
    format: Format,
) -> Result<(), Failure> {
    let span =
        |flag, text: &str| text.parse::<Lifespan>().map(|span| span.0).map_err(|error| usage(flag, &error));
    let terms = DueTerms {
        old_after: span("--after", &args.after)?,
        ending_within: span("--within", &args.within)?,
        unused_after: span("--unused-after", &args.unused_after)?,
    };
    let opened = open()?;
    let listing = opened.registry.list().map_err(|error| opened.failure(&error))?;
    tell_damaged(&listing);
    let (now, unused) = (SystemClock.now(), LastUses::default());
    let mut found = Vec::new();
    for record in &listing.clients {
        let client_id = record.settings.client_id.as_str();
        let uses = listing.last_uses.get(client_id).unwrap_or(&unused);
        let reasons = due(&record.credentials.secrets, |secret| uses.of(secret), terms, now);
        found.extend(reasons.into_iter().map(|(secret, reason)| (client_id, secret, reason)));
    }
    match format {
        Format::Text => {
            let noun = if found.len() == 1 { "thing asks" } else { "things ask" };
            output::note(&format!("{} {noun} for attention in {}", found.len(), opened.place()));
            let lines = found.iter().map(|(client_id, secret, reason)| {
                format!("{client_id}  secret {}  {}\n", secret.name, told(secret, *reason, now))
            });
            output::result(lines.collect::<String>())
        }
        Format::Json => {
            let due: Vec<_> = found
                .iter()
                .map(|(client_id, secret, reason)| {
                    let mut document = document(*reason);
                    rendering::set(&mut document, "client_id", json!(client_id));
                    rendering::set(&mut document, "secret_name", json!(secret.name));
                    rendering::set(&mut document, "created_at", json!(secret.created_at.as_unix_seconds()));
                    document
                })
                .collect();
            output::json(&json!({ (opened.member()): opened.place(), "due": due }))
        }
    }
}

fn told(secret: &NamedSecret, reason: DueReason, now: Timestamp) -> String {
    match reason {
        DueReason::Old => {
            format!("was made {} and has no end: rotate it", moment::distance(secret.created_at, now))
        }
        DueReason::Ending { at } => format!("ends {}", moment::distance(at, now)),
        DueReason::StillUsed { last_used_at } => {
            format!("has a successor, and was used {}", moment::distance(last_used_at, now))
        }
        DueReason::NeverUsed => {
            format!("was made {} and never used", moment::distance(secret.created_at, now))
        }
    }
}

fn document(reason: DueReason) -> Value {
    match reason {
        DueReason::Old => json!({ "reason": "old" }),
        DueReason::Ending { at } => json!({ "reason": "ending", "expires_at": at.as_unix_seconds() }),
        DueReason::StillUsed { last_used_at } => {
            json!({ "reason": "still_used", "last_used_at": last_used_at.as_unix_seconds() })
        }
        DueReason::NeverUsed => json!({ "reason": "never_used" }),
    }
}
