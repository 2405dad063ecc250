//! What the service manager is told (`sd_notify(3)`).

use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::net::{SocketAddr, UnixDatagram};

/// The server takes requests.
pub(crate) const READY: &str = "READY=1";
/// The server ends.
pub(crate) const STOPPING: &str = "STOPPING=1";

/// Tells the service manager, where there is one that wants to know. One that does not listen is no fault of the server's.
pub(crate) fn tell(state: &str) {
    let Some(socket) = std::env::var_os("NOTIFY_SOCKET").filter(|socket| !socket.is_empty()) else { return };
    let address = match socket.as_bytes().split_first() {
        Some((b'@', name)) => SocketAddr::from_abstract_name(name),
        Some(_) | None => SocketAddr::from_pathname(&socket),
    };
    let told = address.and_then(|address| {
        let datagram = UnixDatagram::unbound()?;
        // A manager that does not read must not hold the server.
        datagram.set_nonblocking(true)?;
        datagram.send_to_addr(state.as_bytes(), &address)
    });
    if let Err(error) = told {
        tracing::warn!(%error, state, "the service manager was not told");
    }
}
