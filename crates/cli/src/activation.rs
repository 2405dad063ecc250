//! Sockets that systemd has opened (`sd_listen_fds(3)`).

use crate::exit_code::ExitCode;
use crate::failure::Failure;
use jeton_server::Sockets;
use listenfd::ListenFd;

/// The name of the sockets at which the metrics are had (`FileDescriptorName=`); those with another name are of the token
/// endpoint.
const METRICS: &str = "metrics";

/// The sockets that this process was given; none when it was not started by a socket. To be called once.
pub(crate) fn sockets() -> Result<Sockets, Failure> {
    let mut given = ListenFd::from_env();
    let names = std::env::var("LISTEN_FDNAMES").unwrap_or_default();
    let names: Vec<_> = names.split(':').collect();
    let mut sockets = Sockets::default();
    for index in 0..given.len() {
        let name = names.get(index).copied().unwrap_or_default();
        let listener = given.take_tcp_listener(index).ok().flatten().ok_or_else(|| {
            let message =
                format!("socket {index} that the service manager passes ({name}) is no listening tcp socket");
            Failure::new(ExitCode::Configuration, message)
                .hint("let the socket unit have ListenStream=ADDRESS:PORT and Accept=no")
        })?;
        if name == METRICS {
            sockets.metrics.push(listener);
        } else {
            sockets.listen.push(listener);
        }
    }
    Ok(sockets)
}
