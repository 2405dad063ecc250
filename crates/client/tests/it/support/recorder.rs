//! A listener that keeps every byte that its clients send: before TLS or without it, and within it.

use rustls::ServerConfig;
use rustls::server::Acceptor;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, ready};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::LazyConfigAcceptor;

/// Longer than a client takes to close what it has given up.
const END_POLLS: u32 = 500;
const END_POLL_PAUSE: Duration = Duration::from_millis(20);

/// A token of a minute over a connection that stays open.
pub(crate) fn grant() -> Vec<u8> {
    let body = r#"{"access_token":"granted","token_type":"Bearer","expires_in":60}"#;
    format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{body}", body.len()).into_bytes()
}

/// What one connection brought.
#[derive(Clone, Debug, Default)]
pub(crate) struct Connection {
    /// As it came over the network.
    pub(crate) raw: Vec<u8>,
    /// Within TLS, or all of it where there is none.
    pub(crate) application: Vec<u8>,
    pub(crate) server_name: Option<String>,
    pub(crate) cipher_suites: Vec<String>,
    has_ended: bool,
}

impl Connection {
    /// How many bytes of TLS records hold what is encrypted. Without a request that is an alert at most.
    pub(crate) fn encrypted_bytes(&self) -> usize {
        let mut rest = &self.raw[..];
        let mut encrypted = 0;
        while let [kind, _, _, high, low, payload @ ..] = rest {
            let length = usize::from(u16::from_be_bytes([*high, *low])).min(payload.len());
            assert!((20..=23).contains(kind), "no TLS record: {:?}", self.raw);
            encrypted += if *kind == 23 { length } else { 0 };
            rest = &payload[length..];
        }
        encrypted
    }
}

type Shared = Arc<Mutex<Connection>>;

/// It ends with the test's runtime.
pub(crate) struct Recorder {
    pub(crate) address: SocketAddr,
    connections: Arc<Mutex<Vec<Shared>>>,
}

impl Recorder {
    /// Speaks TLS, and answers every request within it by `reply`.
    pub(crate) async fn tls(config: Arc<ServerConfig>, reply: Vec<u8>) -> Self {
        Self::start(move |stream, seen| over_tls(stream, Arc::clone(&config), reply.clone(), seen)).await
    }

    /// Answers every request, or whatever else ends like one, in the clear.
    pub(crate) async fn plain(reply: Vec<u8>) -> Self {
        Self::start(move |stream, seen| {
            let reply = reply.clone();
            async move {
                let tap = Tap { stream, seen: Arc::clone(&seen), layer: Layer::Both };
                answer(tap, &reply).await;
            }
        })
        .await
    }

    /// Writes `bytes` as soon as something arrives, and closes.
    pub(crate) async fn saying(bytes: Vec<u8>) -> Self {
        Self::start(move |stream, seen| {
            let bytes = bytes.clone();
            async move {
                let mut tap = Tap { stream, seen: Arc::clone(&seen), layer: Layer::Raw };
                let mut buffer = [0; 16 << 10];
                let _count = tap.read(&mut buffer).await;
                let _sent = tap.write_all(&bytes).await;
                let _closed = tap.shutdown().await;
                let _rest = tap.read_to_end(&mut Vec::new()).await;
            }
        })
        .await
    }

    /// Passes everything on to `target`, and what comes back as well: of that `cut` bytes, and then `tail`.
    pub(crate) async fn before(target: SocketAddr, cut: Option<(usize, Vec<u8>)>) -> Self {
        Self::start(move |stream, seen| {
            let cut = cut.clone();
            async move {
                let tap = Tap { stream, seen: Arc::clone(&seen), layer: Layer::Raw };
                forward(tap, target, cut).await;
            }
        })
        .await
    }

    async fn start<F, Served>(serve: F) -> Self
    where
        F: Fn(TcpStream, Shared) -> Served + Send + 'static,
        Served: Future<Output = ()> + Send + 'static,
    {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let connections = Arc::new(Mutex::new(Vec::new()));
        let log = Arc::clone(&connections);
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let seen = Shared::default();
                log.lock().unwrap().push(Arc::clone(&seen));
                let served = serve(stream, Arc::clone(&seen));
                tokio::spawn(async move {
                    served.await;
                    seen.lock().unwrap().has_ended = true;
                });
            }
        });
        Self { address, connections }
    }

    pub(crate) fn port(&self) -> u16 {
        self.address.port()
    }

    /// All connections, after the last of them has ended.
    pub(crate) async fn connections(&self) -> Vec<Connection> {
        for _ in 0..END_POLLS {
            let seen: Vec<Connection> = self.now();
            if seen.iter().all(|connection| connection.has_ended) {
                return seen;
            }
            tokio::time::sleep(END_POLL_PAUSE).await;
        }
        panic!("a connection stays open: {:?}", self.now());
    }

    fn now(&self) -> Vec<Connection> {
        self.connections.lock().unwrap().iter().map(|seen| seen.lock().unwrap().clone()).collect()
    }
}

async fn over_tls(stream: TcpStream, config: Arc<ServerConfig>, reply: Vec<u8>, seen: Shared) {
    let tap = Tap { stream, seen: Arc::clone(&seen), layer: Layer::Raw };
    let Ok(start) = LazyConfigAcceptor::new(Acceptor::default(), tap).await else { return };
    {
        let hello = start.client_hello();
        let mut seen = seen.lock().unwrap();
        seen.server_name = hello.server_name().map(str::to_owned);
        seen.cipher_suites = hello.cipher_suites().iter().map(|suite| format!("{suite:?}")).collect();
    }
    if let Ok(stream) = start.into_stream(config).await {
        answer(Tap { stream, seen, layer: Layer::Application }, &reply).await;
    }
}

/// Answers request after request until the client has enough, and keeps what comes that is none.
async fn answer(mut stream: impl AsyncRead + AsyncWrite + Unpin, reply: &[u8]) {
    let mut unanswered = Vec::new();
    let mut buffer = [0; 4096];
    while let Ok(count @ 1..) = stream.read(&mut buffer).await {
        unanswered.extend_from_slice(&buffer[..count]);
        if let Some(end) = end_of_request(&unanswered) {
            unanswered.drain(..end);
            if stream.write_all(reply).await.is_err() {
                break;
            }
        }
    }
    let _closed = stream.shutdown().await;
}

fn end_of_request(bytes: &[u8]) -> Option<usize> {
    let head_end = bytes.windows(4).position(|window| window == b"\r\n\r\n")? + 4;
    let head = String::from_utf8_lossy(&bytes[..head_end]).to_ascii_lowercase();
    let length = head.lines().find_map(|line| line.strip_prefix("content-length: ")?.parse().ok());
    let end = head_end + length.unwrap_or(0);
    (bytes.len() >= end).then_some(end)
}

async fn forward(client: Tap<TcpStream>, target: SocketAddr, cut: Option<(usize, Vec<u8>)>) {
    let server = TcpStream::connect(target).await.unwrap();
    let (mut from_client, mut to_client) = tokio::io::split(client);
    let (from_server, mut to_server) = server.into_split();
    let (limit, tail) = cut.unwrap_or((usize::MAX, Vec::new()));
    let onward = async {
        let _broken = tokio::io::copy(&mut from_client, &mut to_server).await;
        let _closed = to_server.shutdown().await;
    };
    let back = async {
        let mut limited = from_server.take(u64::try_from(limit).unwrap());
        let _broken = tokio::io::copy(&mut limited, &mut to_client).await;
        let _sent = to_client.write_all(&tail).await;
        let _closed = to_client.shutdown().await;
    };
    tokio::join!(onward, back);
}

#[derive(Clone, Copy)]
enum Layer {
    Raw,
    Application,
    Both,
}

/// Keeps what is read through it.
struct Tap<S> {
    stream: S,
    seen: Shared,
    layer: Layer,
}

impl<S: AsyncRead + Unpin> AsyncRead for Tap<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<std::io::Result<()>> {
        let before = buf.filled().len();
        ready!(Pin::new(&mut self.stream).poll_read(cx, buf))?;
        let read = &buf.filled()[before..];
        let mut seen = self.seen.lock().unwrap();
        if matches!(self.layer, Layer::Raw | Layer::Both) {
            seen.raw.extend_from_slice(read);
        }
        if matches!(self.layer, Layer::Application | Layer::Both) {
            seen.application.extend_from_slice(read);
        }
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Tap<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<std::io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
