//! The log, on stderr.

use crate::args::GlobalArgs;
use crate::exit_code::ExitCode;
use crate::failure::Failure;
use crate::output;
use jeton::credentials::Environment;
use std::io;
use tracing_subscriber::EnvFilter;

const LEVEL_VARIABLE: &str = "JETON_LOG";
const FORMAT_VARIABLE: &str = "JETON_LOG_FORMAT";

/// Begins to log: `default_level` is what is logged when nothing is set.
pub(crate) fn begin(
    args: &GlobalArgs,
    environment: &Environment,
    default_level: &str,
) -> Result<(), Failure> {
    let filter = filter(args, environment, default_level)?;
    let (format, origin, code) = match &args.log_format {
        Some(format) => (format.clone(), "--log-format", ExitCode::Usage),
        None => (
            environment.text(FORMAT_VARIABLE)?.unwrap_or_else(|| "text".to_owned()),
            FORMAT_VARIABLE,
            ExitCode::Configuration,
        ),
    };
    // A log that nobody reads any more must not end a server: telling of it would panic.
    let subscriber =
        tracing_subscriber::fmt().with_env_filter(filter).with_writer(io::stderr).log_internal_errors(false);
    let begun = match format.as_str() {
        "text" => subscriber.with_ansi(output::colours(&io::stderr())).try_init(),
        "json" => subscriber.json().try_init(),
        _ => return Err(Failure::new(code, format!("{origin}: it is text or json"))),
    };
    begun.map_err(|error| Failure::new(ExitCode::Other, format!("the log cannot begin: {error}")))
}

fn filter(args: &GlobalArgs, environment: &Environment, default_level: &str) -> Result<EnvFilter, Failure> {
    let (text, origin, code) = match (&args.log_level, environment.text(LEVEL_VARIABLE)?) {
        (Some(text), _) => (text.clone(), "--log-level", ExitCode::Usage),
        (None, Some(text)) => (text, LEVEL_VARIABLE, ExitCode::Configuration),
        (None, None) => (default_level.to_owned(), "", ExitCode::Other),
    };
    EnvFilter::try_new(&text).map_err(|_| {
        Failure::new(code, format!("{origin}: it is no filter of the log"))
            .hint("write off, error, warn, info, debug or trace, or a filter such as jeton=debug,warn")
    })
}
