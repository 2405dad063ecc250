//! A guarded API with axum.
//!
//! ```console
//! $ ISSUER=http://localhost:8080 AUDIENCE=https://api.example cargo run -p jeton-guard --example axum
//! ```

use axum::{Router, routing::get};
use jeton_guard::{Guard, Principal, require_scope};
use std::env;
use std::error::Error;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn Error>> {
    let issuer = env::var("ISSUER").unwrap_or_else(|_| "http://localhost:8080".to_owned());
    let audience = env::var("AUDIENCE").unwrap_or_else(|_| "https://api.example".to_owned());
    let guard = Guard::builder(issuer, audience).build()?;
    // The API starts all the same: the guard asks again when requests come.
    if let Err(unavailable) = guard.prefetch().await {
        tracing::warn!(%unavailable, "started without keys");
    }
    let app = Router::new()
        .route("/orders", get(orders).route_layer(require_scope("orders:read")?))
        .layer(guard.layer())
        .route("/health", get(|| async { "ok" }));
    let listener = tokio::net::TcpListener::bind("127.0.0.1:3000").await?;
    axum::serve(listener, app).await?;
    Ok(())
}

async fn orders(caller: Principal) -> String {
    format!("the orders of {}\n", caller.client_id())
}
