//! `jeton`: OAuth 2.0 client credentials from the command line.

fn main() -> std::process::ExitCode {
    jeton_cli::run_process()
}
