//! `jeton apply` and `jeton drift`: the clients of the server as files declare them.

use super::audit::actor;
use super::registry::{OpenRegistry, Presence, open, wait_until_seen};
use crate::args::{ApplyArgs, DriftArgs, FilesArgs};
use crate::exit_code::ExitCode;
use crate::failure::Failure;
use crate::output::{self, Format, harmless};
use crate::settings::Layers;
use jeton_server::{
    Adoption, ApplyError, DeclaredClients, FileFault, MemberDifference, Plan, PlanTerms, PlannedChange,
    Unnamed,
};
use serde_json::{Value, json};
use std::fmt::Write as _;

/// Makes the clients what the files say, or tells what would change.
pub(crate) fn run(args: &ApplyArgs, layers: &Layers) -> Result<ExitCode, Failure> {
    let terms = PlanTerms {
        manager: args.files.manager.clone(),
        adoption: if args.adopt { Adoption::Taken } else { Adoption::Refused },
        unnamed: if args.prune { Unnamed::Removed } else { Unnamed::Kept },
    };
    let declared = read(&args.files)?;
    let presence = if args.plan { Presence::Wanted } else { Presence::Made };
    let opened = open(layers, &args.files.storage, args.files.data_dir.as_deref(), presence)?;
    if args.plan {
        let plan = opened.registry.plan(&declared, &terms).map_err(|error| failure(&error, &opened))?;
        tell(&plan, &opened, args.files.output, "would change")?;
        return Ok(difference(&plan));
    }
    let plan = opened.registry.apply(&declared, &terms).map_err(|error| failure(&error, &opened))?;
    if !plan.changes.is_empty() {
        let actor = actor();
        let acts: Vec<_> =
            plan.changes.iter().map(|change| change.act(&actor, "applied from files")).collect();
        opened.tell_all(&acts)?;
        wait_until_seen();
    }
    tell(&plan, &opened, args.files.output, "changed")?;
    Ok(ExitCode::Done)
}

/// Tells where the clients are not what the files say.
pub(crate) fn drift(args: &DriftArgs, layers: &Layers) -> Result<ExitCode, Failure> {
    let terms = PlanTerms {
        manager: args.files.manager.clone(),
        adoption: Adoption::Taken,
        unnamed: Unnamed::Removed,
    };
    let declared = read(&args.files)?;
    let opened = open(layers, &args.files.storage, args.files.data_dir.as_deref(), Presence::Wanted)?;
    let plan = opened.registry.plan(&declared, &terms).map_err(|error| failure(&error, &opened))?;
    tell(&plan, &opened, args.files.output, "not as the files say")?;
    Ok(difference(&plan))
}

fn difference(plan: &Plan) -> ExitCode {
    if plan.changes.is_empty() { ExitCode::Done } else { ExitCode::Different }
}

fn read(args: &FilesArgs) -> Result<DeclaredClients, Failure> {
    DeclaredClients::read(&args.dir).map_err(|faults| faulty(&faults))
}

fn failure(error: &ApplyError, opened: &OpenRegistry<'_>) -> Failure {
    match error {
        ApplyError::Files(faults) => faulty(faults),
        ApplyError::Registry(error) => opened.failure(error),
    }
}

/// Every fault on a line of its own; nothing was changed.
fn faulty(faults: &[FileFault]) -> Failure {
    for fault in faults {
        output::note(&harmless(&fault.to_string()));
    }
    let noun = if faults.len() == 1 { "fault" } else { "faults" };
    Failure::new(
        ExitCode::Configuration,
        format!("{} {noun} in the files; nothing was changed", faults.len()),
    )
}

fn tell(plan: &Plan, opened: &OpenRegistry<'_>, format: Format, what: &str) -> Result<(), Failure> {
    let noun = if plan.changes.len() == 1 { "client" } else { "clients" };
    output::note(&format!("{} {noun} {what} in {}", plan.changes.len(), opened.place()));
    for client_id in &plan.kept {
        output::note(&format!(
            "client {} is in no file any more, and stays; --prune removes it",
            harmless(client_id)
        ));
    }
    match format {
        Format::Text => output::result(plan.changes.iter().map(text).collect::<String>()),
        Format::Json => {
            let changes: Vec<_> = plan.changes.iter().map(document).collect();
            output::json(&json!({ (opened.member()): opened.place(), "changes": changes, "kept": plan.kept }))
        }
    }
}

fn text(change: &PlannedChange) -> String {
    let sign = match change {
        PlannedChange::Add(_) => '+',
        PlannedChange::Update { .. } => '~',
        PlannedChange::Remove(_) => '-',
    };
    let mut text = format!("{sign} {}\n", harmless(change.client_id()));
    let shown = |value: &Option<Value>| value.as_ref().map_or_else(|| "nothing".to_owned(), Value::to_string);
    for MemberDifference { member, before, after } in change.differences() {
        let _infallible = match change {
            PlannedChange::Add(_) => writeln!(text, "    {member}: {}", harmless(&shown(&after))),
            PlannedChange::Update { .. } => {
                writeln!(text, "    {member}: {} -> {}", harmless(&shown(&before)), harmless(&shown(&after)))
            }
            // All of it goes.
            PlannedChange::Remove(_) => Ok(()),
        };
    }
    text
}

fn document(change: &PlannedChange) -> Value {
    let action = match change {
        PlannedChange::Add(_) => "add",
        PlannedChange::Update { .. } => "update",
        PlannedChange::Remove(_) => "remove",
    };
    let members = change.differences().into_iter().map(|difference| {
        json!({ "member": difference.member, "before": difference.before, "after": difference.after })
    });
    let members: Vec<_> = members.collect();
    json!({ "client_id": change.client_id(), "action": action, "members": members })
}
