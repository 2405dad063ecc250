//! A reqwest client whose requests carry the token. Run it in a sandbox:
//!
//! `jeton sandbox --exec 'cargo run -p jeton --example reqwest'`

use jeton::bearer::BearerLayer;
use jeton::{Secret, TokenKey, TokenManager};
use std::env::var;
use std::error::Error;
use std::io::Write;
use tower::{Layer, Service, ServiceExt};

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    // reqwest without a TLS provider of its own takes that of the process.
    let _already_installed = rustls::crypto::aws_lc_rs::default_provider().install_default();

    let manager = TokenManager::builder(var("JETON_TOKEN_URL")?, var("JETON_CLIENT_ID")?)
        .client_secret(Secret::new(var("JETON_CLIENT_SECRET")?))
        .build()?;
    let bearer = BearerLayer::new(manager.handle(&TokenKey::scope("orders:read")?)?);

    let client = reqwest::Client::builder().build()?;
    let request = client.get(var("JETON_API_URL")?).build()?;
    let response = bearer.layer(client).ready().await?.call(request).await?;
    writeln!(std::io::stdout(), "{} {}", response.status(), response.text().await?)?;
    Ok(())
}
