//! The signals that ask the program to end.

use crate::exit_code::ExitCode;
use crate::failure::Failure;
use tokio::signal::unix::{Signal, SignalKind, signal};

/// Waits for SIGINT (ctrl-c) or SIGTERM. From when it is made these no longer end the program by themselves.
#[derive(Debug)]
pub(crate) struct Interrupt {
    interrupted: Signal,
    terminated: Signal,
}

impl Interrupt {
    /// Begins to catch the signals.
    pub(crate) fn catch() -> Result<Self, Failure> {
        let catch = |kind| {
            signal(kind)
                .map_err(|error| Failure::new(ExitCode::Other, format!("signals cannot be caught: {error}")))
        };
        Ok(Self { interrupted: catch(SignalKind::interrupt())?, terminated: catch(SignalKind::terminate())? })
    }

    /// Waits for the next of them.
    pub(crate) async fn wait(&mut self) {
        tokio::select! {
            _ = self.interrupted.recv() => {}
            _ = self.terminated.recv() => {}
        }
    }
}
