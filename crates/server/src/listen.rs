//! Sockets: where the server listens, and how many connections it takes.

use crate::config::Listen;
use crate::connection::{self, Phase};
use crate::endpoint::TokenEndpoint;
use crate::http::Face;
use crate::throttle::Source;
use crate::tls::Tls;
use crowd::Crowd;
use std::future::poll_fn;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener};
use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

mod crowd;
mod open_files;

/// How long to wait before the next try when the system has no file descriptor or no memory for a connection.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
/// How many callers may wait in the queue of the operating system.
const QUEUE: i32 = 4096;
/// How often a free port is looked for that is free on both loopback addresses.
const PORT_TRIES: usize = 16;

/// Opens the listening sockets.
pub fn bind(listen: &Listen) -> Result<Vec<TcpListener>, ListenError> {
    match listen {
        Listen::Localhost { port: 0 } => {
            // The port that the system gives for IPv4 may be taken for IPv6; then another one is asked for.
            let mut tries = (0..PORT_TRIES).map(|_| bind_localhost(0));
            let taken = |tried: &Result<_, ListenError>| matches!(tried, Err(error) if error.is_in_use());
            tries.find(|tried| !taken(tried)).unwrap_or_else(|| bind_localhost(0))
        }
        Listen::Localhost { port } => bind_localhost(*port),
        Listen::Addresses(addresses) => addresses.iter().copied().map(bind_address).collect(),
    }
}

/// Why an address cannot be listened on.
#[derive(Debug, thiserror::Error)]
#[error("cannot listen on {address}: {}", hint(source))]
pub struct ListenError {
    /// The address.
    pub address: SocketAddr,
    /// What the operating system said.
    pub source: io::Error,
}

impl ListenError {
    fn is_in_use(&self) -> bool {
        self.source.kind() == io::ErrorKind::AddrInUse
    }

    fn is_unavailable(&self) -> bool {
        // Without IPv6 the family is not supported (a kind that std does not name yet: EAFNOSUPPORT) or the address
        // is not there.
        self.source.kind() == io::ErrorKind::AddrNotAvailable
            || self.source.raw_os_error() == Some(rustix::io::Errno::AFNOSUPPORT.raw_os_error())
    }
}

fn hint(source: &io::Error) -> &'static str {
    match source.kind() {
        io::ErrorKind::AddrInUse => "another program holds the port; stop it or choose another port",
        io::ErrorKind::PermissionDenied => "this user may not take the port; choose one above 1023",
        io::ErrorKind::AddrNotAvailable => "this machine does not have the address; choose one that it has",
        _ => "the system refused",
    }
}

/// Serves `face` on `listeners` until `shutdown` is done, then ends in good order: no new connection, open requests
/// answered, and after [`drain_timeout`](crate::Limits::drain_timeout) the rest cut off.
///
/// # Errors
/// When a listener cannot be used on this runtime. Faults of single connections are no errors of the server.
pub async fn serve<E: TokenEndpoint>(
    listeners: Vec<TcpListener>,
    face: Arc<Face<E>>,
    shutdown: impl Future<Output = ()> + Send,
) -> io::Result<()> {
    serve_over(None, listeners, face, shutdown).await
}

/// The same, over TLS where there is one.
pub async fn serve_over<E: TokenEndpoint>(
    tls: Option<Arc<Tls>>,
    listeners: Vec<TcpListener>,
    face: Arc<Face<E>>,
    shutdown: impl Future<Output = ()> + Send,
) -> io::Result<()> {
    let listeners = listeners.into_iter().map(into_async).collect::<io::Result<Vec<_>>>()?;
    let max_connections = open_files::connections_allowed(face.limits().max_connections);
    let mut crowd = Crowd::new(max_connections);
    let (announce, announced) = watch::channel(Phase::Open);
    let mut connections = JoinSet::new();
    let mut shutdown = pin!(shutdown);
    loop {
        tokio::select! {
            biased;
            () = &mut shutdown => break,
            Some(ended) = connections.join_next() => report(ended),
            accepted = accept(&listeners) => match accepted {
                Ok((stream, peer)) => {
                    if crowd.arrive(Source::of(peer.ip()), (stream, peer)).is_some() {
                        face.counters().count_connection_refused();
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::ConnectionAborted => {}
                Err(error) => {
                    // Mostly there is no file descriptor left, and connections that end give theirs back.
                    begin_crowded(&announce, &error.to_string());
                    sleep(ACCEPT_PAUSE).await;
                }
            },
            () = crowd.freed(), if crowd.is_waiting() => {}
        }
        while let Some(((stream, peer), place)) = crowd.next() {
            if !crowd.is_waiting() {
                end_crowded(&announce, crowd.free(), max_connections);
            }
            let (face, phase) = (Arc::clone(&face), announced.clone());
            match &tls {
                None => {
                    connections.spawn(hold(place, connection::serve(stream, face, peer, None, phase)));
                }
                Some(tls) => {
                    // The handshake is a part of the connection, so it keeps no other caller waiting.
                    let serving = connection::serve_tls(Arc::clone(tls), stream, face, peer, phase);
                    connections.spawn(hold(place, serving));
                }
            }
        }
        if crowd.is_waiting() {
            begin_crowded(&announce, "every connection is taken, or all that one address may have");
        }
    }
    drop((listeners, crowd));
    face.begin_drain();
    announce.send_replace(Phase::Ending);
    let drained = async {
        while let Some(ended) = connections.join_next().await {
            report(ended);
        }
    };
    if timeout(face.limits().drain_timeout, drained).await.is_err() {
        tracing::warn!(connections = connections.len(), "connections cut off: they did not end in time");
        connections.shutdown().await;
    }
    Ok(())
}

/// Gives the place back when the connection has ended.
async fn hold<P>(place: P, serving: impl Future<Output = ()>) {
    serving.await;
    drop(place);
}

fn bind_localhost(port: u16) -> Result<Vec<TcpListener>, ListenError> {
    let v4 = bind_address(SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), port))?;
    let port = v4.local_addr().map_or(port, |address| address.port());
    match bind_address(SocketAddr::new(IpAddr::V6(Ipv6Addr::LOCALHOST), port)) {
        Ok(v6) => Ok(vec![v4, v6]),
        Err(error) if error.is_unavailable() => Ok(vec![v4]),
        // Someone else listens there, and would get a part of the secrets that are meant for this server.
        Err(error) => Err(error),
    }
}

fn bind_address(address: SocketAddr) -> Result<TcpListener, ListenError> {
    let listener = TcpListener::bind(address).map_err(|source| ListenError { address, source })?;
    // The standard library asks for 128, which one caller fills in a moment; the next ones then wait for a second at least.
    let _as_long_as_the_system_allows = rustix::net::listen(&listener, QUEUE);
    Ok(listener)
}

pub(crate) fn into_async(listener: TcpListener) -> io::Result<tokio::net::TcpListener> {
    listener.set_nonblocking(true)?;
    tokio::net::TcpListener::from_std(listener)
}

async fn accept(listeners: &[tokio::net::TcpListener]) -> io::Result<(TcpStream, SocketAddr)> {
    let (stream, peer) = poll_fn(|context| {
        let ready = listeners.iter().find_map(|listener| match listener.poll_accept(context) {
            Poll::Ready(accepted) => Some(accepted),
            Poll::Pending => None,
        });
        ready.map_or(Poll::Pending, Poll::Ready)
    })
    .await?;
    // An answer is one write, so this only matters for speed, and a peer that is gone already is found out soon.
    let _set = stream.set_nodelay(true);
    Ok((stream, peer))
}

fn begin_crowded(announce: &watch::Sender<Phase>, reason: &str) {
    if move_phase(announce, Phase::Open, Phase::Crowded) {
        tracing::warn!(reason, "callers wait for a connection; those that stand idle are ended");
    }
}

/// A quarter of the places, with the one that was just taken, is to be free first, so that the two phases do not change
/// with every caller.
fn end_crowded(announce: &watch::Sender<Phase>, free: usize, max_connections: usize) {
    if free + 1 >= max_connections.div_ceil(4) && move_phase(announce, Phase::Crowded, Phase::Open) {
        tracing::info!(free, "there is room for connections again");
    }
}

fn move_phase(announce: &watch::Sender<Phase>, from: Phase, to: Phase) -> bool {
    announce.send_if_modified(|phase| {
        let moves = *phase == from;
        if moves {
            *phase = to;
        }
        moves
    })
}

fn report(ended: Result<(), tokio::task::JoinError>) {
    if let Err(error) = ended
        && error.is_panic()
    {
        tracing::error!("a connection ended by a panic");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn localhost_is_one_port_on_every_loopback_address() {
        let listeners = bind(&Listen::Localhost { port: 0 }).unwrap();
        let addresses: Vec<_> = listeners.iter().map(|listener| listener.local_addr().unwrap()).collect();
        assert!(addresses[0].is_ipv4() && addresses[0].ip().is_loopback() && addresses[0].port() != 0);
        assert!(addresses.iter().all(|address| address.port() == addresses[0].port()));
        let has_v6 = TcpListener::bind("[::1]:0").is_ok();
        assert_eq!(addresses.len(), if has_v6 { 2 } else { 1 });
    }

    #[test]
    fn a_port_that_is_held_is_told_with_what_to_do() {
        let held = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = held.local_addr().unwrap().port();
        let message = bind(&Listen::Localhost { port }).unwrap_err().to_string();
        assert_eq!(
            message,
            format!(
                "cannot listen on 127.0.0.1:{port}: another program holds the port; stop it or choose another port"
            )
        );
        let elsewhere = Listen::Addresses(vec!["192.0.2.1:0".parse().unwrap()]);
        assert!(bind(&elsewhere).unwrap_err().to_string().contains("does not have the address"));
    }

    #[test]
    fn a_port_that_is_held_on_the_other_loopback_address_is_no_good_either() {
        let Ok(held) = TcpListener::bind("[::1]:0") else {
            return;
        };
        let port = held.local_addr().unwrap().port();
        assert!(
            bind(&Listen::Localhost { port }).unwrap_err().to_string().contains(&format!("[::1]:{port}"))
        );
    }
}
