//! `jeton`: OAuth 2.0 client credentials from the command line.
//!
//! A library for the sake of the program beside it and of the fuzz targets; it is no interface for other programs.

mod activation;
mod args;
mod cache;
mod command;
mod core_dump;
mod discovery;
mod exchange;
mod exit_code;
mod failure;
mod interrupt;
mod lifespan;
mod logging;
mod moment;
mod notify;
mod output;
mod secret_variables;
mod session;
mod settings;

use args::{Cli, Command};
use exit_code::ExitCode;
use failure::Failure;
use jeton::credentials::Environment;
use settings::Layers;
use std::io::Write as _;
use std::time::Duration;

pub use settings::settings_faults;

/// All that the program `jeton` does.
pub fn run_process() -> std::process::ExitCode {
    core_dump::forbid();
    let environment = secret_variables::environment();
    let cli = match Cli::read(std::env::args_os()) {
        Ok(cli) => cli,
        Err(error) => {
            // The text of --help and --version goes to stdout, everything else to stderr.
            let _unheard = error.print();
            let code = if error.use_stderr() { ExitCode::Usage } else { ExitCode::Done };
            return code.into();
        }
    };
    match run(cli, environment) {
        Ok(code) => code,
        Err(failure) => {
            let _unheard = std::io::stderr().lock().write_all(failure.lines().as_bytes());
            failure.code().into()
        }
    }
}

fn run(cli: Cli, environment: Environment) -> Result<std::process::ExitCode, Failure> {
    logging::begin(&cli.global, &environment, default_log_level(&cli.command))?;
    let layers = Layers::load(&cli.global, environment)?;
    match &cli.command {
        // It tells all that is wrong with the settings file.
        Command::Profile(_) => {}
        Command::Serve(_)
        | Command::Client(_)
        | Command::Apply(_)
        | Command::Drift(_)
        | Command::Audit(_)
        | Command::Explain(_)
        | Command::Keys(_)
        | Command::Token(_)
        | Command::Call(_)
        | Command::Login(_)
        | Command::Logout(_)
        | Command::Cache(_)
        | Command::Inspect(_)
        | Command::Sandbox(_) => layers.sound()?,
    }
    ask_for_barriers();
    let runtime = runtime_of(&cli.command)
        .enable_all()
        .build()
        .map_err(|error| Failure::new(ExitCode::Other, format!("threads cannot be started: {error}")))?;
    let ended = runtime.block_on(command::run(cli.command, &layers));
    // What still waits for a name server or a file system must not hold the end.
    runtime.shutdown_timeout(LAST_GRACE);
    ended
}

/// Threads for what has many things to do at once; what is over in a moment is over before they have begun.
fn runtime_of(command: &Command) -> tokio::runtime::Builder {
    match command {
        Command::Serve(_) | Command::Sandbox(_) => tokio::runtime::Builder::new_multi_thread(),
        Command::Client(_)
        | Command::Apply(_)
        | Command::Drift(_)
        | Command::Audit(_)
        | Command::Explain(_)
        | Command::Keys(_)
        | Command::Token(_)
        | Command::Call(_)
        | Command::Login(_)
        | Command::Logout(_)
        | Command::Cache(_)
        | Command::Profile(_)
        | Command::Inspect(_) => tokio::runtime::Builder::new_current_thread(),
    }
}

/// The map of a manager asks the kernel for barriers between threads, which takes an instant while there is one thread, and tens of
/// milliseconds when there are more: longer than all that a command does which finds its token. So one is made before there are more.
fn ask_for_barriers() {
    drop(papaya::HashMap::<u8, u8>::new());
}

/// How long threads that wait for the system may take to end.
const LAST_GRACE: Duration = Duration::from_millis(200);

/// A server tells what it does; the other commands only what their result does not tell.
fn default_log_level(command: &Command) -> &'static str {
    match command {
        Command::Serve(_) => "info",
        Command::Call(_) => "error,jeton::bearer=warn,jeton::credentials=warn",
        // Such as that every user of the machine can read a secret.
        Command::Token(_) | Command::Login(_) | Command::Cache(_) | Command::Profile(_) => {
            "error,jeton::credentials=warn"
        }
        // What is refused in the sandbox is refused on purpose.
        Command::Client(_)
        | Command::Apply(_)
        | Command::Drift(_)
        | Command::Audit(_)
        | Command::Explain(_)
        | Command::Keys(_)
        | Command::Logout(_)
        | Command::Inspect(_)
        | Command::Sandbox(_) => "error",
    }
}
