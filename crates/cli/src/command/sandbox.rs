//! `jeton sandbox`: a real server and a guarded API on this machine, and a proof of the main job in front of the
//! person: minted once, shared, renewed before expiry, replaced after a 401, checked by the guard.

mod api;
mod child;
mod paste;
mod proof;
mod stage;

use crate::args::SandboxArgs;
use crate::exit_code::ExitCode;
use crate::failure::Failure;
use crate::interrupt::Interrupt;
use crate::output::{self, Format};
use proof::Step;
use stage::Stage;

/// Opens the stage, proves, runs the command or waits to be interrupted, and clears everything away.
pub(crate) async fn run(args: &SandboxArgs) -> Result<std::process::ExitCode, Failure> {
    let mut interrupt = Interrupt::catch()?;
    let stage = Stage::open(args.listen.as_deref()).await?;
    let ended = perform(&stage, args, &mut interrupt).await;
    let closed = stage.close().await;
    let code = ended?;
    closed?;
    Ok(code)
}

async fn perform(
    stage: &Stage,
    args: &SandboxArgs,
    interrupt: &mut Interrupt,
) -> Result<std::process::ExitCode, Failure> {
    if !args.no_proof {
        tokio::select! {
            proved = prove(stage, args) => proved?,
            () = interrupt.wait() => return Err(Failure::new(ExitCode::Other, "interrupted before the proof was done")),
        }
    }
    if let Some(command) = &args.exec {
        return child::run(command, stage, interrupt).await;
    }
    if !args.quiet {
        match args.output.output {
            Format::Text => output::result(paste::text(stage))?,
            Format::Json => output::json(&paste::document(stage))?,
        }
    }
    interrupt.wait().await;
    Ok(ExitCode::Done.into())
}

/// Shows each step as it is done. All are done, also after one that failed.
async fn prove(stage: &Stage, args: &SandboxArgs) -> Result<(), Failure> {
    let mut failed = Vec::new();
    let colours = output::colours(&std::io::stdout());
    let mut proof = proof::Proof::begin(stage, usize::from(args.callers))?;
    while let Some(step) = proof.next_step().await {
        let step = step?;
        if !step.ok {
            failed.push(step.name);
            output::note(&format!("the proof of {} failed: {}", step.name, step.text));
        }
        show(&step, args, colours)?;
    }
    if failed.is_empty() {
        return Ok(());
    }
    Err(Failure::new(ExitCode::Other, format!("the proof failed: {}", failed.join(", ")))
        .hint("on a machine that is very busy try again with fewer --callers"))
}

fn show(step: &Step, args: &SandboxArgs, colours: bool) -> Result<(), Failure> {
    if args.quiet {
        return Ok(());
    }
    match args.output.output {
        Format::Text => output::line(&step.line(colours)),
        Format::Json => output::json(&step.document()),
    }
}
