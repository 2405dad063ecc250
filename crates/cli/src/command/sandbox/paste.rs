//! Lines ready to be pasted into another terminal.

use super::stage::Stage;
use serde_json::{Value, json};
use std::path::Path;

/// The form for people; the lines between the comments are good for `sh`.
pub(super) fn text(stage: &Stage) -> String {
    let Stage { issuer, token_url, orders_url, client_id, scope, .. } = stage;
    let secret = stage.client_secret.expose();
    let jeton = program();
    format!(
        r#"
paste into another terminal:

  export JETON_TOKEN_URL='{token_url}' JETON_CLIENT_ID='{client_id}' JETON_SCOPES='{scope}'
  export JETON_CLIENT_SECRET='{secret}' JETON_API_URL='{orders_url}' JETON_CACHE=off

  # with curl
  TOKEN=$(curl -s -u "$JETON_CLIENT_ID:$JETON_CLIENT_SECRET" -d grant_type=client_credentials "$JETON_TOKEN_URL" \
    | sed 's/.*"access_token":"\([^"]*\)".*/\1/')
  curl -i -H "Authorization: Bearer $TOKEN" "$JETON_API_URL"

  # with jeton
  {jeton} call GET "$JETON_API_URL"
  {jeton} token | {jeton} inspect - --issuer '{issuer}'

in rust, with the crate `jeton`:

  let manager = jeton::TokenManager::builder("{token_url}", "{client_id}")
      .client_secret(jeton::Secret::new(std::env::var("JETON_CLIENT_SECRET")?))
      .build()?;
  let token = manager.token(&jeton::TokenKey::scope("{scope}")?).await?;

ctrl-c to stop
"#
    )
}

/// The form for programs.
pub(super) fn document(stage: &Stage) -> Value {
    json!({
        "step": "ready",
        "issuer": stage.issuer,
        "token_url": stage.token_url,
        "api_url": stage.orders_url,
        "client_id": stage.client_id,
        "client_secret": stage.client_secret.expose(),
        "scope": stage.scope,
    })
}

/// How this program is called: by its name where the shell finds it, and otherwise by its path.
fn program() -> String {
    let Ok(path) = std::env::current_exe() else {
        return "jeton".to_owned();
    };
    let dirs = std::env::var_os("PATH").unwrap_or_default();
    let found =
        std::env::split_paths(&dirs).map(|dir| dir.join("jeton")).find(|candidate| candidate.is_file());
    let is_this = |found: &Path| std::fs::canonicalize(found).is_ok_and(|found| found == path);
    match found {
        Some(found) if is_this(&found) => "jeton".to_owned(),
        Some(_) | None => format!("'{}'", path.display().to_string().replace('\'', "'\\''")),
    }
}
