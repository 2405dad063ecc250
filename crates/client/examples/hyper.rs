//! A hyper client whose requests carry the token. Run it in a sandbox:
//!
//! `jeton sandbox --exec 'cargo run -p jeton --example hyper'`

use bytes::Bytes;
use http::Request;
use http_body_util::{BodyExt, Full};
use hyper_util::client::legacy::Client;
use hyper_util::rt::TokioExecutor;
use jeton::bearer::BearerLayer;
use jeton::{Secret, TokenKey, TokenManager};
use std::env::var;
use std::error::Error;
use std::io::Write;
use tower::{Layer, Service, ServiceExt};

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let manager = TokenManager::builder(var("JETON_TOKEN_URL")?, var("JETON_CLIENT_ID")?)
        .client_secret(Secret::new(var("JETON_CLIENT_SECRET")?))
        .build()?;
    let bearer = BearerLayer::new(manager.handle(&TokenKey::scope("orders:read")?)?);

    let client: Client<_, Full<Bytes>> = Client::builder(TokioExecutor::new()).build_http();
    let mut service = bearer.layer(client);

    let request = Request::get(var("JETON_API_URL")?).body(Full::default())?;
    let response = service.ready().await?.call(request).await?;
    let status = response.status();
    let body = response.into_body().collect().await?.to_bytes();
    writeln!(std::io::stdout(), "{status} {}", String::from_utf8_lossy(&body))?;
    Ok(())
}
