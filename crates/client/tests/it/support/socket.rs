//! Small HTTP servers on free loopback ports.

use super::{SECRET, key, secs};
use bytes::Bytes;
use http::{Request, Response};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use jeton::{Secret, TokenError, TokenManager, TokenManagerBuilder};
use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

/// A server whose answers are a function of the request and its body. It ends with the test's runtime.
pub(crate) struct Server {
    pub(crate) address: SocketAddr,
    requests: Arc<AtomicU64>,
}

impl Server {
    pub(crate) async fn start<F>(answer: F) -> Self
    where
        F: Fn(u64, &Request<()>, &[u8]) -> Response<Full<Bytes>> + Send + Sync + 'static,
    {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let requests = Arc::new(AtomicU64::new(0));
        let (counter, answer) = (Arc::clone(&requests), Arc::new(answer));
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (counter, answer) = (Arc::clone(&counter), Arc::clone(&answer));
                tokio::spawn(serve(stream, counter, answer));
            }
        });
        Self { address, requests }
    }

    pub(crate) fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    pub(crate) fn requests(&self) -> u64 {
        self.requests.load(Ordering::SeqCst)
    }
}

async fn serve<F>(stream: TcpStream, counter: Arc<AtomicU64>, answer: Arc<F>)
where
    F: Fn(u64, &Request<()>, &[u8]) -> Response<Full<Bytes>> + Send + Sync + 'static,
{
    let service = service_fn(move |request: Request<Incoming>| {
        let (counter, answer) = (Arc::clone(&counter), Arc::clone(&answer));
        async move {
            let count = counter.fetch_add(1, Ordering::SeqCst) + 1;
            let (parts, body) = request.into_parts();
            let body = body.collect().await.map(http_body_util::Collected::to_bytes).unwrap_or_default();
            Ok::<_, Infallible>(answer(count, &Request::from_parts(parts, ()), &body))
        }
    });
    let _ended =
        hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service).await;
}

/// A server that reads a request's head, writes `bytes` slowly or at once, and closes or stays.
pub(crate) async fn raw(script: RawScript) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(play(stream, script.clone()));
        }
    });
    address
}

#[derive(Clone)]
pub(crate) struct RawScript {
    pub(crate) bytes: Vec<u8>,
    /// Between two bytes, if any.
    pub(crate) drip: Option<std::time::Duration>,
    pub(crate) stay_open: bool,
}

async fn play(mut stream: TcpStream, script: RawScript) {
    let mut head = Vec::new();
    let mut buffer = [0; 4096];
    while !head.windows(4).any(|window| window == b"\r\n\r\n") {
        match stream.read(&mut buffer).await {
            Ok(0) | Err(_) => return,
            Ok(count) => head.extend_from_slice(&buffer[..count]),
        }
    }
    match script.drip {
        Some(pause) => {
            for byte in &script.bytes {
                if stream.write_all(&[*byte]).await.is_err() {
                    return;
                }
                tokio::time::sleep(pause).await;
            }
        }
        None => {
            let _closed_early = stream.write_all(&script.bytes).await;
        }
    }
    if script.stay_open {
        tokio::time::sleep(std::time::Duration::from_secs(60)).await;
    }
}

pub(crate) fn text(status: u16, body: impl Into<Bytes>) -> Response<Full<Bytes>> {
    Response::builder().status(status).body(Full::new(body.into())).unwrap()
}

/// A token endpoint that grants `token-N` for `expires_in` seconds, `N` counting requests.
pub(crate) async fn token_endpoint(expires_in: u64) -> Server {
    Server::start(move |count, _, _| {
        text(
            200,
            format!(r#"{{"access_token":"token-{count}","token_type":"Bearer","expires_in":{expires_in}}}"#),
        )
    })
    .await
}

/// The settings of a client at `url`.
pub(crate) fn builder(url: &str) -> TokenManagerBuilder {
    TokenManager::builder(url, "billing").client_secret(Secret::from(SECRET))
}

/// Asks the token endpoint at `url` once, with short time-outs.
pub(crate) async fn ask(url: &str) -> Result<String, TokenError> {
    let manager = builder(url).request_timeout(secs(2)).total_timeout(secs(3)).build().unwrap();
    manager.token(&key()).await.map(|token| token.access_token().to_owned())
}
