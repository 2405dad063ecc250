//! No image of this process for anybody: secrets and tokens are in its memory.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use std::sync::OnceLock;

/// The limit of core dumps that this process was started with.
static INHERITED: OnceLock<Rlimit> = OnceLock::new();

/// From here on no core dump is written, and on Linux no other process of the same user can attach to this one or read its memory and
/// environment under `/proc`; root can. The hard limit stays, so that whom this process starts can have a core dump again.
pub(crate) fn forbid() {
    let inherited = *INHERITED.get_or_init(|| getrlimit(Resource::Core));
    // Less is always allowed; where a sandbox forbids to ask for it, the commands still work.
    let _limited = setrlimit(Resource::Core, Rlimit { current: Some(0), maximum: inherited.maximum });
    // The limit does not bind a core_pattern that pipes to a program; this does.
    #[cfg(target_os = "linux")]
    let _hidden = rustix::process::set_dumpable_behavior(rustix::process::DumpableBehavior::NotDumpable);
}

/// Does `start`, which starts another program, with the limit that this process was started with. The other one has nothing else to
/// undo: whatever is executed can be attached to again.
pub(crate) fn allowed_for<T>(start: impl FnOnce() -> T) -> T {
    let Some(inherited) = INHERITED.get() else { return start() };
    let _restored = setrlimit(Resource::Core, *inherited);
    let started = start();
    let _limited = setrlimit(Resource::Core, Rlimit { current: Some(0), maximum: inherited.maximum });
    started
}
