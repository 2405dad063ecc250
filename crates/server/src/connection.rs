//! One connection, from its first byte to its last.

mod aside;
mod kept_open;

use crate::endpoint::TokenEndpoint;
use crate::http::{Answer, BodyOutcome, Face, Peer, close_after};
use crate::limits::Limits;
use crate::tls::{PeerCertificate, Tls};
use aside::{First, with_aside};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use kept_open::KeptOpen;
use std::convert::Infallible;
use std::future::poll_fn;
use std::net::SocketAddr;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _, ReadBuf};
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio::time::{Instant, Sleep, sleep, timeout};

/// How long, and up to how many bytes, the rest of a refused body is read and thrown away. Without that the system
/// would reset the connection, and the caller lose the answer that says why.
const LINGER: Duration = Duration::from_secs(3);
const MAX_LINGER_BYTES: u64 = 256 * 1024 * 1024;
/// So much of what has come behind the last request is read, without a wait, and thrown away.
const MAX_DISCARDED_BYTES: usize = 64 * 1024;
/// How long a connection may stand still while others wait for its place.
const CROWDED_TIMEOUT: Duration = Duration::from_secs(2);

/// How long a TLS handshake may take.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);

/// How it stands with the server, as each connection is told.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Phase {
    /// There is room.
    #[default]
    Open,
    /// Callers wait for a place: a connection ends with its next answer, or at once when it is idle after one.
    Crowded,
    /// The server ends, and so does each connection, with the answer that it owes.
    Ending,
}

/// Serves a connection over TLS, from the handshake on.
pub(crate) async fn serve_tls<E: TokenEndpoint>(
    tls: Arc<Tls>,
    stream: TcpStream,
    face: Arc<Face<E>>,
    peer: SocketAddr,
    phase: watch::Receiver<Phase>,
) {
    let mut waiting = phase.clone();
    // While others wait for a place, a handshake that stands still has no more time than an idle connection.
    let crowded = async {
        let phase = waiting.wait_for(|phase| *phase != Phase::Open).await.map(|phase| *phase);
        let ending = matches!(phase, Ok(Phase::Ending));
        sleep(if ending { Duration::ZERO } else { CROWDED_TIMEOUT }).await;
    };
    let accepted = tokio::select! {
        accepted = timeout(HANDSHAKE_TIMEOUT, tls.accept(stream)) => accepted,
        () = crowded => return,
    };
    match accepted {
        Ok(Ok((stream, certificate))) => {
            serve(stream, face, peer, certificate, phase).await;
        }
        Ok(Err(error)) => {
            face.metrics().count_failed_handshake();
            tracing::debug!(%peer, %error, "the tls handshake failed");
        }
        Err(_) => {
            face.metrics().count_failed_handshake();
            tracing::debug!(%peer, "the tls handshake took too long");
        }
    }
}

/// Serves a connection until either side ends it, or `phase` wants it ended.
pub(crate) async fn serve<E, S>(
    stream: S,
    face: Arc<Face<E>>,
    peer: SocketAddr,
    certificate: Option<PeerCertificate>,
    mut phase: watch::Receiver<Phase>,
) where
    E: TokenEndpoint,
    S: AsyncRead + AsyncWrite + Unpin + Send,
{
    let _counted = face.metrics().connection();
    let mut patience = face.limits().idle_timeout;
    let served = Arc::new(Served { face, peer: peer.into(), progress: Progress::default() });
    let progress = &served.progress;
    let service = service_fn(|request: http::Request<Incoming>| {
        let served = Arc::clone(&served);
        served.progress.begun.fetch_add(1, Ordering::Relaxed);
        let (mut head, body) = request.into_parts();
        if let Some(certificate) = &certificate {
            head.extensions.insert(certificate.now());
        }
        async move {
            let body = pin!(body);
            let (answer, body) = served.face.answer_and_tell(&head, body, &served.peer).await;
            Ok::<_, Infallible>(served.progress.answered(answer, body))
        }
    });
    // The end of the stream is for `finish`.
    let mut connection = bounded().serve_connection(TokioIo::new(KeptOpen::new(stream)), service);
    let mut idle = pin!(sleep(patience));
    let mut seen = 0;
    let mut closing = false;
    loop {
        let serving = |context: &mut Context<'_>| Pin::new(&mut connection).poll(context);
        match next_event(serving, idle.as_mut(), &mut phase, closing).await {
            Event::Ended(Ok(())) => break,
            Event::Ended(Err(error)) => {
                tracing::debug!(%peer, %error, "connection ended by a fault");
                break;
            }
            Event::Tick if !progress.stood_still(&mut seen) => {
                idle.as_mut().reset(Instant::now() + patience);
                continue;
            }
            Event::Tick if closing => {
                tracing::debug!(%peer, "connection cut off: it stood still");
                return;
            }
            Event::Phase(Phase::Open) => continue,
            Event::Phase(Phase::Crowded) => {
                patience = patience.min(CROWDED_TIMEOUT);
                progress.last.store(true, Ordering::Relaxed);
                // Hyper ends a connection without a byte at once; but who has waited for a place is to be heard.
                if progress.begun.load(Ordering::Relaxed) > 0 {
                    Pin::new(&mut connection).graceful_shutdown();
                }
            }
            Event::Tick | Event::Phase(Phase::Ending) => Pin::new(&mut connection).graceful_shutdown(),
        }
        closing = true;
        idle.as_mut().reset(Instant::now() + patience);
    }
    let stream = connection.into_parts().io.into_inner().into_inner();
    finish(stream, progress, phase).await;
}

/// HTTP/1.1 within the limits.
fn bounded() -> http1::Builder {
    let mut builder = http1::Builder::new();
    builder
        // The watch over progress stands in for hyper's header time-out, which sets a timer for each request.
        .header_read_timeout(None)
        .max_buf_size(Limits::MAX_HEAD_BYTES)
        // A caller that has no more to say is still to hear its answer. Without this the library looks for the end of the stream
        // while each request is answered, with a new buffer.
        .half_close(true);
    builder
}

/// Tells the caller that no more comes.
async fn finish(
    mut stream: impl AsyncRead + AsyncWrite + Unpin,
    progress: &Progress,
    mut phase: watch::Receiver<Phase>,
) {
    // Over TLS the end is a message, for which there may be no room.
    let told = matches!(timeout(LINGER, stream.shutdown()).await, Ok(Ok(())));
    if told && progress.body_refused.load(Ordering::Relaxed) {
        tokio::select! {
            () = linger(stream) => {}
            _ = phase.wait_for(|phase| *phase == Phase::Ending) => {}
        }
    } else if told {
        discard_arrived(&mut stream).await;
    }
}

/// Throws away what has come behind the last request: with bytes that nobody read, the system would reset the connection.
async fn discard_arrived(stream: &mut (impl AsyncRead + Unpin)) {
    let mut left_bytes = MAX_DISCARDED_BYTES;
    poll_fn(|context| {
        let mut buffer = [0; 1024];
        loop {
            let mut read = ReadBuf::new(&mut buffer);
            let polled = Pin::new(&mut *stream).poll_read(context, &mut read);
            let bytes = read.filled().len();
            if !matches!(polled, Poll::Ready(Ok(()))) || bytes == 0 || bytes > left_bytes {
                return Poll::Ready(());
            }
            left_bytes -= bytes;
        }
    })
    .await;
}

enum Event {
    Ended(hyper::Result<()>),
    Phase(Phase),
    Tick,
}

/// What happens next. A request has nothing to do with phase and timer, and costs no look at them.
async fn next_event(
    serving: impl FnMut(&mut Context<'_>) -> Poll<hyper::Result<()>>,
    idle: Pin<&mut Sleep>,
    phase: &mut watch::Receiver<Phase>,
    closing: bool,
) -> Event {
    let aside = async {
        tokio::select! {
            biased;
            _ = phase.changed(), if !closing => Event::Phase(*phase.borrow_and_update()),
            () = idle => Event::Tick,
        }
    };
    match with_aside(serving, aside).await {
        First::Main(ended) => Event::Ended(ended),
        First::Aside(event) => event,
    }
}

/// What the requests of a connection have in common.
struct Served<E> {
    face: Arc<Face<E>>,
    peer: Peer,
    progress: Progress,
}

/// What the service tells the watch over the connection.
#[derive(Debug, Default)]
struct Progress {
    begun: AtomicU64,
    answered: AtomicU64,
    body_refused: AtomicBool,
    /// Whether the answer that comes next is the last one.
    last: AtomicBool,
}

impl Progress {
    /// Takes note of an answer, and lets the connection end with it when it is to be the last.
    fn answered(&self, mut answer: Answer, body: BodyOutcome) -> Answer {
        if self.last.load(Ordering::Relaxed) {
            close_after(&mut answer);
        }
        if body == BodyOutcome::Refused {
            self.body_refused.store(true, Ordering::Relaxed);
        }
        self.answered.fetch_add(1, Ordering::Relaxed);
        answer
    }

    /// Whether no request began since the last call and none is being answered.
    fn stood_still(&self, seen: &mut u64) -> bool {
        let begun = self.begun.load(Ordering::Relaxed);
        let moved = std::mem::replace(seen, begun) != begun;
        !moved && self.answered.load(Ordering::Relaxed) == begun
    }
}

async fn linger(stream: impl AsyncRead + Unpin) {
    let mut rest = stream.take(MAX_LINGER_BYTES);
    let mut buffer = vec![0; 64 * 1024];
    let discard = async { while matches!(rest.read(&mut buffer).await, Ok(1..)) {} };
    let _in_time = timeout(LINGER, discard).await;
}
