//! The listener of the administrative API. It has few callers, so that its bounds are plain ones.

use super::Admin;
use crate::limits::Limits;
use crate::tls::{PeerCertificate, Tls};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use std::convert::Infallible;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpListener;
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

const MAX_CONNECTIONS: usize = 64;
/// How long a head may take to come, on a connection that is idle too.
const HEAD_TIMEOUT: Duration = Duration::from_secs(10);
/// How long a connection may last. Then it ends with the answer that it owes.
const CONNECTION_TIMEOUT: Duration = Duration::from_mins(2);
/// How long what it owes may take.
const LAST_ANSWER_TIMEOUT: Duration = Duration::from_secs(30);
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Answers until `ending` says so, then ends what was begun.
pub(super) async fn serve(
    listeners: Vec<TcpListener>,
    tls: Option<Arc<Tls>>,
    admin: Arc<Admin>,
    mut ending: watch::Receiver<bool>,
    drain_timeout: Duration,
) {
    let places = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    let mut accepting = JoinSet::new();
    for listener in listeners {
        accepting.spawn(accept(
            listener,
            tls.clone(),
            Arc::clone(&places),
            Arc::clone(&admin),
            ending.clone(),
        ));
    }
    // When nobody is left to say so, the server has ended too.
    drop(ending.wait_for(|ending| *ending).await);
    let drained = timeout(drain_timeout, async { while accepting.join_next().await.is_some() {} }).await;
    if drained.is_err() {
        tracing::warn!("connections of administrators cut off: they did not end in time");
    }
}

async fn accept(
    listener: TcpListener,
    tls: Option<Arc<Tls>>,
    places: Arc<Semaphore>,
    admin: Arc<Admin>,
    mut ending: watch::Receiver<bool>,
) {
    let mut connections = JoinSet::new();
    loop {
        let next = async {
            let place = Arc::clone(&places).acquire_owned().await.ok()?;
            let accepted = listener.accept().await;
            Some((place, accepted))
        };
        let accepted = tokio::select! {
            _ = ending.wait_for(|ending| *ending) => break,
            accepted = next => accepted,
        };
        while connections.try_join_next().is_some() {}
        match accepted {
            Some((place, Ok((stream, peer)))) => {
                let (tls, admin, ending) = (tls.clone(), Arc::clone(&admin), ending.clone());
                connections.spawn(async move {
                    match tls {
                        None => converse(stream, peer, None, admin, ending).await,
                        Some(tls) => {
                            let accepted = timeout(HEAD_TIMEOUT, tls.accept(stream)).await;
                            if let Ok(Ok((stream, certificate))) = accepted {
                                converse(stream, peer, certificate, admin, ending).await;
                            } else {
                                tracing::debug!(%peer, "the tls handshake failed");
                            }
                        }
                    }
                    drop(place);
                });
            }
            // Mostly there is no file descriptor left.
            Some((_, Err(_))) => sleep(ACCEPT_PAUSE).await,
            None => break,
        }
    }
    drop(listener);
    while connections.join_next().await.is_some() {}
}

async fn converse(
    stream: impl AsyncRead + AsyncWrite + Unpin,
    peer: SocketAddr,
    certificate: Option<PeerCertificate>,
    admin: Arc<Admin>,
    mut ending: watch::Receiver<bool>,
) {
    let service = service_fn(move |mut request: http::Request<Incoming>| {
        let admin = Arc::clone(&admin);
        if let Some(certificate) = &certificate {
            request.extensions_mut().insert(certificate.now());
        }
        async move { Ok::<_, Infallible>(admin.answer(request, peer).await) }
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIMEOUT)
        .max_buf_size(Limits::MAX_HEAD_BYTES)
        .half_close(false)
        .serve_connection(TokioIo::new(stream), service);
    let mut connection = pin!(connection);
    let ended = tokio::select! {
        ended = connection.as_mut() => Some(ended),
        _ = ending.wait_for(|ending| *ending) => None,
        () = sleep(CONNECTION_TIMEOUT) => None,
    };
    let ended = if let Some(ended) = ended {
        ended
    } else {
        connection.as_mut().graceful_shutdown();
        timeout(LAST_ANSWER_TIMEOUT, connection).await.unwrap_or(Ok(()))
    };
    if let Err(error) = ended {
        tracing::debug!(%peer, %error, "a connection of an administrator ended by a fault");
    }
}
