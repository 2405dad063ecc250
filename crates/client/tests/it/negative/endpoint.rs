//! A token endpoint that does what a case says, over a raw socket or in memory, and counts who asks.

use super::case::{Answer, Content, Raw, Step, Then, When};
use bytes::Bytes;
use http::{HeaderName, HeaderValue, Request, Response};
use jeton::http::{ExchangeError, ExchangeFuture, ExchangeLimits, HttpExchange};
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::Handle;
use tokio::task::JoinHandle;

const HEAD_END: &[u8] = b"\r\n\r\n";
/// No behaviour lasts longer, whatever the client does.
const LONGEST: Duration = Duration::from_secs(30);

/// On a socket. It ends when it is dropped.
pub(super) struct Endpoint {
    pub(super) address: SocketAddr,
    requests: Arc<AtomicU64>,
    accepting: JoinHandle<()>,
}

impl Endpoint {
    pub(super) fn start(runtime: &Handle, raw: Raw) -> Self {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        listener.set_nonblocking(true).unwrap();
        let address = listener.local_addr().unwrap();
        let requests = Arc::new(AtomicU64::new(0));
        let (counter, raw) = (Arc::clone(&requests), Arc::new(raw));
        let accepting = runtime.spawn(async move {
            let listener = TcpListener::from_std(listener).unwrap();
            while let Ok((stream, _)) = listener.accept().await {
                let connection = Connection { stream, unread: Vec::new(), counter: Arc::clone(&counter) };
                let raw = Arc::clone(&raw);
                tokio::spawn(async move { tokio::time::timeout(LONGEST, connection.serve(&raw)).await });
            }
        });
        Self { address, requests, accepting }
    }

    pub(super) fn requests(&self) -> u64 {
        self.requests.load(Ordering::SeqCst)
    }
}

impl Drop for Endpoint {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

struct Connection {
    stream: TcpStream,
    unread: Vec<u8>,
    counter: Arc<AtomicU64>,
}

impl Connection {
    async fn serve(mut self, raw: &Raw) {
        if raw.when == When::Connect {
            // Whoever connects here means to ask, and may be cut off before a byte of it.
            self.counter.fetch_add(1, Ordering::SeqCst);
            self.play(raw).await;
            return self.end(raw.then).await;
        }
        while self.asked(raw.when).await {
            if !self.play(raw).await {
                return;
            }
            if raw.then != Then::Keep {
                return self.end(raw.then).await;
            }
        }
    }

    /// Reads the next request, or its first byte. A request counts from its first byte.
    async fn asked(&mut self, when: When) -> bool {
        if self.unread.is_empty() && !self.read_more().await {
            return false;
        }
        self.counter.fetch_add(1, Ordering::SeqCst);
        loop {
            if when == When::FirstByte {
                return true;
            }
            if let Some(length) = request_length(&self.unread)
                && self.unread.len() >= length
            {
                self.unread.drain(..length);
                return true;
            }
            if !self.read_more().await {
                return false;
            }
        }
    }

    async fn read_more(&mut self) -> bool {
        matches!(self.stream.read_buf(&mut self.unread).await, Ok(count) if count > 0)
    }

    /// Whether the client is still there.
    async fn play(&mut self, raw: &Raw) -> bool {
        for step in &raw.does {
            let sent = match step {
                Step::Send(content) => self.stream.write_all(&content.bytes()).await,
                Step::Endless(content) => self.send_for_ever(&content.bytes()).await,
                Step::Drip { bytes, every_ms } => self.drip(bytes, Duration::from_millis(*every_ms)).await,
            };
            if sent.is_err() {
                return false;
            }
        }
        true
    }

    async fn send_for_ever(&mut self, unit: &[u8]) -> std::io::Result<()> {
        let many = unit.repeat(1 + 4096 / unit.len());
        loop {
            self.stream.write_all(&many).await?;
            tokio::task::yield_now().await;
        }
    }

    async fn drip(&mut self, content: &Content, pause: Duration) -> std::io::Result<()> {
        for byte in content.bytes() {
            self.stream.write_all(&[byte]).await?;
            tokio::time::sleep(pause).await;
        }
        Ok(())
    }

    async fn end(mut self, then: Then) {
        match then {
            Then::Reset => {
                let _no_socket_any_more = self.stream.set_zero_linger();
            }
            Then::Close => {
                let _gone_already = self.stream.shutdown().await;
                while self.read_more().await {
                    self.unread.clear();
                }
            }
            Then::Hold | Then::Keep => {
                while self.read_more().await {
                    self.unread.clear();
                }
            }
        }
    }
}

/// The length of the request that `bytes` begin with, once its head is there.
fn request_length(bytes: &[u8]) -> Option<usize> {
    let head = bytes.windows(HEAD_END.len()).position(|window| window == HEAD_END)?;
    let text = String::from_utf8_lossy(&bytes[..head]).to_ascii_lowercase();
    let length = text.lines().find_map(|line| line.strip_prefix("content-length:"));
    let body: usize = length.map_or(0, |length| length.trim().parse().unwrap());
    Some(head + HEAD_END.len() + body)
}

/// In memory: an exchange that keeps its limits.
pub(super) struct InMemory {
    response: Response<Bytes>,
    requests: AtomicU64,
}

impl InMemory {
    /// `None` when the answer has what no exchange could hand over.
    pub(super) fn of(answer: &Answer) -> Option<Arc<Self>> {
        let mut response = Response::new(Bytes::from(answer.body.bytes()));
        *response.status_mut() = http::StatusCode::from_u16(answer.status).ok()?;
        for header in &answer.headers {
            let (name, value) = header.split_once(':')?;
            let value = HeaderValue::from_bytes(value.trim().as_bytes()).ok()?;
            response.headers_mut().append(HeaderName::from_bytes(name.as_bytes()).ok()?, value);
        }
        Some(Arc::new(Self { response, requests: AtomicU64::new(0) }))
    }

    pub(super) fn requests(&self) -> u64 {
        self.requests.load(Ordering::SeqCst)
    }
}

impl HttpExchange for InMemory {
    fn exchange(&self, _: Request<Bytes>, limits: ExchangeLimits) -> ExchangeFuture<'_> {
        self.requests.fetch_add(1, Ordering::SeqCst);
        let too_large = self.response.body().len() > limits.body_bytes;
        let answer = if too_large {
            Err(ExchangeError::BodyTooLarge { limit: limits.body_bytes })
        } else {
            Ok(self.response.clone())
        };
        Box::pin(async move { answer })
    }
}
