//! The listener at which the metrics are had: apart from that of the token endpoint, so that the one can be open to
//! everybody and the other to those who watch.

use super::families::Families;
use http::header::{ALLOW, CONTENT_TYPE, HeaderValue};
use http::{Method, Request, Response, StatusCode};
use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

const CONTENT: HeaderValue = HeaderValue::from_static("text/plain; version=0.0.4; charset=utf-8");
/// A few that scrape, and somebody who looks.
const MAX_CONNECTIONS: usize = 32;
/// How long a connection may last. Who scrapes more seldom than this connects anew each time.
const CONNECTION_TIMEOUT: Duration = Duration::from_mins(2);
const MAX_HEAD_BYTES: usize = 16 * 1024;
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Answers with the text of now until it is dropped.
pub(crate) async fn serve(listeners: Vec<TcpListener>, source: Arc<dyn Fn() -> Families + Send + Sync>) {
    let places = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    let mut serving = JoinSet::new();
    for listener in listeners {
        serving.spawn(accept(listener, Arc::clone(&places), Arc::clone(&source)));
    }
    while serving.join_next().await.is_some() {}
}

async fn accept(
    listener: TcpListener,
    places: Arc<Semaphore>,
    source: Arc<dyn Fn() -> Families + Send + Sync>,
) {
    let mut connections = JoinSet::new();
    while let Ok(place) = Arc::clone(&places).acquire_owned().await {
        while connections.try_join_next().is_some() {}
        match listener.accept().await {
            Ok((stream, _)) => {
                let source = Arc::clone(&source);
                connections.spawn(async move {
                    let _in_time = timeout(CONNECTION_TIMEOUT, converse(stream, source)).await;
                    drop(place);
                });
            }
            // Mostly there is no file descriptor left.
            Err(_) => sleep(ACCEPT_PAUSE).await,
        }
    }
}

async fn converse(stream: TcpStream, source: Arc<dyn Fn() -> Families + Send + Sync>) {
    let service = service_fn(|request: Request<Incoming>| {
        let answer = answer(request.method(), request.uri().path(), &*source);
        async { Ok::<_, Infallible>(answer) }
    });
    let connection = http1::Builder::new()
        .max_buf_size(MAX_HEAD_BYTES)
        .header_read_timeout(None)
        .serve_connection(TokioIo::new(stream), service);
    if let Err(error) = connection.await {
        tracing::debug!(%error, "a connection for metrics ended by a fault");
    }
}

fn answer(method: &Method, path: &str, source: &dyn Fn() -> Families) -> Response<Full<Bytes>> {
    let mut answer = Response::new(Full::default());
    if path != "/metrics" {
        *answer.status_mut() = StatusCode::NOT_FOUND;
    } else if matches!(*method, Method::GET | Method::HEAD) {
        *answer.body_mut() = Full::new(Bytes::from(source().text()));
        answer.headers_mut().insert(CONTENT_TYPE, CONTENT);
    } else {
        *answer.status_mut() = StatusCode::METHOD_NOT_ALLOWED;
        answer.headers_mut().insert(ALLOW, HeaderValue::from_static("GET, HEAD"));
    }
    answer
}
