//! How many connections the process may have files for.

use super::crowd::Crowd;
use rustix::process::{Resource, getrlimit};

/// Files that are not connections: listeners, the registry, the log.
const OTHERS: u64 = 64;

/// The most connections, of `wanted`, that the limit on open files allows. One that can be opened but not served would
/// take the place of those who ask next, whoever they are.
pub(super) fn connections_allowed(wanted: usize) -> usize {
    let Some(files) = getrlimit(Resource::Nofile).current else { return wanted };
    let files = usize::try_from(files.saturating_sub(OTHERS)).unwrap_or(usize::MAX);
    let allowed = Crowd::<()>::fitting(wanted, files);
    if allowed < wanted {
        tracing::info!(
            allowed,
            wanted,
            "the limit on open files allows fewer connections than are set; raise it, such as by LimitNOFILE of systemd"
        );
    }
    allowed
}
