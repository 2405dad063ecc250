//! `jeton token`: a token, alone on stdout.

use crate::args::TokenArgs;
use crate::failure::Failure;
use crate::output::{self, Format};
use crate::session::{Plan, Session};
use crate::settings::{ClientSettings, Layers};
use jeton::{CachedToken, Clock as _, SystemClock};
use serde_json::{Value, json};

/// Gets a token and prints it.
pub(crate) async fn run(args: &TokenArgs, layers: &Layers) -> Result<(), Failure> {
    let settings = layers.client(&args.client)?;
    let session = Session::begin(&settings, layers, Plan::default()).await?;
    let printed = session.token(&settings).await.and_then(|token| match args.output.output {
        Format::Text => output::line(token.access_token()),
        Format::Json => output::json(&document(&token, &settings)),
    });
    session.end(printed).await
}

/// The answer of RFC 6749 §5.1, counted from now, and `expires_at`.
fn document(token: &CachedToken, settings: &ClientSettings) -> Value {
    let expires_in = token.expires_at().saturating_since(SystemClock.now());
    let mut document = json!({
        "access_token": token.access_token(),
        "token_type": "Bearer",
        "expires_in": expires_in.as_secs(),
        "expires_at": token.expires_at().as_unix_seconds(),
    });
    let scope = token.granted_scope().or(settings.scope.as_ref());
    if let (Some(fields), Some(scope)) = (document.as_object_mut(), scope) {
        fields.insert("scope".to_owned(), Value::String(scope.to_string()));
    }
    document
}
