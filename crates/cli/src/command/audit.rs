//! `jeton audit`: whether the audit log of a server is as it was written.

use crate::args::{AuditCommand, AuditCommandArgs, AuditPlaceArgs, VerifyAuditArgs};
use crate::exit_code::ExitCode;
use crate::failure::Failure;
use crate::output::{self, Format};
use crate::settings::Layers;
use jeton::{Clock as _, SystemClock};
use jeton_server::audit::{self, Act, Verdict};
use serde_json::{Value, json};
use std::path::{Path, PathBuf};
use std::thread;
use std::time::Duration;

/// How often, and with which pause, a log is looked at whose last line is not whole.
const LOOKS: u32 = 3;
const LOOK_PAUSE: Duration = Duration::from_millis(100);

/// Does what is asked.
pub(crate) fn run(args: &AuditCommandArgs, layers: &Layers) -> Result<(), Failure> {
    match &args.command {
        AuditCommand::Verify(args) => verify(args, layers),
    }
}

fn verify(args: &VerifyAuditArgs, layers: &Layers) -> Result<(), Failure> {
    let files = files(&args.files, &args.place, layers)?;
    let verdict = settled(&files, args.contains.as_deref())?;
    if let Some(fault) = &verdict.fault {
        return Err(Failure::new(ExitCode::Other, format!("the audit log does not hold together: {fault}"))
            .hint("keep the files as they are, and compare them with a copy; what is behind that line was not looked at"));
    }
    if let Some(digest) = &args.contains
        && !verdict.contains
    {
        let message = format!("no line of the audit log has the digest {digest}: lines were removed");
        return Err(Failure::new(ExitCode::Other, message)
            .hint("name all files of the log that are from then or later"));
    }
    match args.output.output {
        Format::Text => output::result(text(&verdict)),
        Format::Json => output::json(&document(&verdict)),
    }
}

/// The verdict on a log to which a server may be writing: a line that is not whole yet is one that will be.
fn settled(files: &[PathBuf], digest: Option<&str>) -> Result<Verdict, Failure> {
    let mut looks = 0;
    loop {
        looks += 1;
        let verdict = audit::verify(files, digest).map_err(|error| {
            Failure::new(ExitCode::Other, format!("the audit log cannot be read: {error}"))
        })?;
        if verdict.torn.is_none() || looks == LOOKS {
            return Ok(verdict);
        }
        thread::sleep(LOOK_PAUSE);
    }
}

/// The files that are named, or those of the server's log.
pub(super) fn files(
    named: &[PathBuf],
    place: &AuditPlaceArgs,
    layers: &Layers,
) -> Result<Vec<PathBuf>, Failure> {
    if !named.is_empty() {
        return Ok(named.to_vec());
    }
    let Some(path) = layers.audit_file(place)? else {
        let message = "the audit log is off";
        return Err(Failure::new(ExitCode::Configuration, message).hint("name a file"));
    };
    let found = audit::log_files(&path).unwrap_or_default();
    if found.is_empty() {
        let message = format!("there is no audit log {}", path.display());
        return Err(Failure::new(ExitCode::Other, message)
            .hint("name the data directory of the server by --data-dir, or the log by --audit-log"));
    }
    Ok(found)
}

fn text(verdict: &Verdict) -> String {
    let mut lines = vec![("lines", verdict.lines.to_string())];
    if let Some(first) = verdict.first_sequence {
        let more = if first > 1 { " (those before it are elsewhere)" } else { "" };
        lines.push(("first", format!("{first}{more}")));
    }
    if let Some(head) = &verdict.head {
        lines.push(("last", head.sequence().to_string()));
        lines.push(("digest", head.digest().to_owned()));
    }
    if let Some(torn) = &verdict.torn {
        let (file, line, bytes) = (torn.file.display(), torn.line, torn.bytes);
        lines.push((
            "cut off",
            format!("{file}:{line}: {bytes} bytes of a line that its writer could not finish"),
        ));
    }
    output::labelled(&lines)
}

fn document(verdict: &Verdict) -> Value {
    json!({
        "files": verdict.files.iter().map(|file| file.to_string_lossy()).collect::<Vec<_>>(),
        "lines": verdict.lines,
        "first_sequence": verdict.first_sequence,
        "last_sequence": verdict.head.map(|head| head.sequence()),
        "digest": verdict.head.as_ref().map(audit::Head::digest),
        "torn_bytes": verdict.torn.as_ref().map(|torn| torn.bytes),
    })
}

/// Tells the audit log what was done to clients. It was done, so what cannot be told there is told here.
pub(super) fn tell(layers: &Layers, data_dir: &Path, acts: &[Act<'_>]) -> Result<(), Failure> {
    let Some(path) = layers.audit_log(None)?.path(data_dir) else { return Ok(()) };
    if let Err(error) = audit::append_all(&path, acts, SystemClock.now()) {
        let failure = Failure::of(ExitCode::Other, &error);
        output::note(&format!(
            "warning: it is not in the audit log: {}",
            failure.message().unwrap_or_default()
        ));
    }
    Ok(())
}

/// Who does what is done by commands.
pub(super) fn actor() -> String {
    format!("uid={}", rustix::process::getuid().as_raw())
}
