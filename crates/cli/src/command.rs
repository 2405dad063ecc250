//! The commands.

mod apply;
mod audit;
mod cache;
mod call;
mod client;
mod explain;
mod inspect;
mod keys;
mod login;
mod logout;
mod profile;
mod registry;
mod sandbox;
mod serve;
mod token;

use crate::args::Command;
use crate::exit_code::ExitCode;
use crate::failure::Failure;
use crate::settings::Layers;

/// Runs a command to its end.
pub(crate) async fn run(command: Command, layers: &Layers) -> Result<std::process::ExitCode, Failure> {
    match command {
        Command::Serve(args) => serve::run(&args, layers).await,
        Command::Client(args) => client::run(&args, layers).await,
        Command::Apply(args) => return apply::run(&args, layers).map(Into::into),
        Command::Drift(args) => return apply::drift(&args, layers).map(Into::into),
        Command::Audit(args) => audit::run(&args, layers),
        Command::Explain(args) => explain::run(&args, layers),
        Command::Keys(args) => keys::run(&args, layers),
        Command::Token(args) => token::run(&args, layers).await,
        Command::Call(args) => call::run(&args, layers).await,
        Command::Login(args) => login::run(&args, layers).await,
        Command::Logout(args) => logout::run(&args, layers).await,
        Command::Cache(args) => cache::run(&args, layers).await,
        Command::Profile(args) => profile::run(&args, layers).await,
        Command::Inspect(args) => inspect::run(&args, layers).await,
        Command::Sandbox(args) => return sandbox::run(&args).await,
    }
    .map(|()| ExitCode::Done.into())
}
