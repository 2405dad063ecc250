//! A guarded API with hyper and tower alone.
//!
//! ```console
//! $ ISSUER=http://localhost:8080 AUDIENCE=https://api.example cargo run -p jeton-guard --example without_axum
//! ```

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use jeton_guard::{Guard, Principal, require_scope};
use std::convert::Infallible;
use std::env;
use std::error::Error;
use tower::{ServiceBuilder, service_fn};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn Error>> {
    let issuer = env::var("ISSUER").unwrap_or_else(|_| "http://localhost:8080".to_owned());
    let audience = env::var("AUDIENCE").unwrap_or_else(|_| "https://api.example".to_owned());
    let guard = Guard::builder(issuer, audience).build()?;
    let api = ServiceBuilder::new()
        .layer(guard.layer())
        .layer(require_scope("orders:read")?)
        .service(service_fn(orders));
    let listener = tokio::net::TcpListener::bind("127.0.0.1:3000").await?;
    loop {
        let (socket, _) = listener.accept().await?;
        let connection = hyper::server::conn::http1::Builder::new()
            .timer(TokioTimer::new())
            .serve_connection(TokioIo::new(socket), TowerToHyperService::new(api.clone()));
        tokio::spawn(async move {
            if let Err(error) = connection.await {
                tracing::debug!(%error, "a connection ended early");
            }
        });
    }
}

async fn orders(request: Request<Incoming>) -> Result<Response<Full<Bytes>>, Infallible> {
    let caller = request.extensions().get::<Principal>().map_or("nobody", Principal::client_id);
    Ok(Response::new(Full::from(format!("the orders of {caller}\n"))))
}
