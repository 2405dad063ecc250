//! Children that end with their parent, whatever ends that.

use rustix::process::{Signal, getppid, set_parent_process_death_signal};
use std::ffi::OsString;
use std::io;
use std::os::unix::process::CommandExt as _;
use std::process::Command;

/// The name of the program's command that puts another on a leash.
pub const COMMAND: &str = "leash";

/// From now on this process is killed when the thread ends that started it, even while it is held still.
pub fn end_with_parent() -> io::Result<()> {
    set_parent_process_death_signal(Some(Signal::KILL))?;
    // A parent that ended before this has handed us to another.
    match getppid() {
        Some(parent) if !parent.is_init() => Ok(()),
        Some(_) | None => Err(io::Error::other("the parent has ended")),
    }
}

/// Becomes the program that `words` name, on a leash; comes back with an error only.
pub fn become_leashed(words: &[OsString]) -> io::Error {
    let Some((program, arguments)) = words.split_first() else {
        return io::Error::new(io::ErrorKind::InvalidInput, "leash takes a program and its arguments");
    };
    match end_with_parent() {
        Ok(()) => Command::new(program).args(arguments).exec(),
        Err(error) => error,
    }
}
