//! Nothing secret in what this crate says (trap T34).

use crate::support::{Behaviour, Endpoint, SECRET, builder, key, manager, refusal, secs};
use jeton::{ClientAuthMethod, TokenManager};
use std::fmt::Write as _;
use std::io::Write;
use std::sync::{Arc, Mutex};
use tracing_subscriber::fmt::MakeWriter;

#[derive(Clone, Default)]
pub(crate) struct Log(Arc<Mutex<Vec<u8>>>);

impl Log {
    pub(crate) fn text(&self) -> String {
        String::from_utf8(self.0.lock().unwrap().clone()).unwrap()
    }
}

impl Write for Log {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

impl<'a> MakeWriter<'a> for Log {
    type Writer = Self;

    fn make_writer(&'a self) -> Self {
        self.clone()
    }
}

/// The forms in which a secret could stand in a text.
pub(crate) fn forms(secret: &str) -> Vec<String> {
    let encoded = jeton_proto::wire::client_auth::basic_authorization(
        "billing",
        &jeton::Secret::from(secret),
        jeton::BasicEncoding::FormUrlEncoded,
    );
    let basic = encoded.unwrap().to_str().unwrap().replace("Basic ", "");
    vec![secret.to_owned(), secret.replace('-', "%2D"), basic.trim_end_matches('=').to_owned()]
}

async fn exercise(manager: &TokenManager, endpoint: &Endpoint, said: &mut String) {
    let token = manager.token(&key()).await.unwrap();
    write!(said, "{token:?} {manager:?} {:?}", manager.handle(&key()).unwrap()).unwrap();
    manager.reject(&key(), &token);
    for behaviour in [
        refusal(401, "invalid_client"),
        Behaviour::Break,
        Behaviour::Answer {
            status: 200,
            headers: Vec::new(),
            body: r#"{"access_token":"canary-token-x","token_type":"mac"}"#.to_owned(),
        },
        Behaviour::Answer { status: 500, headers: Vec::new(), body: "canary-token-y".to_owned() },
    ] {
        endpoint.set(behaviour);
        tokio::time::sleep(secs(400)).await;
        let error = manager.token(&key()).await.unwrap_err();
        write!(said, "{error} {error:?} {:?}", error.kind()).unwrap();
    }
}

#[tokio::test(start_paused = true)]
async fn t34_no_secret_and_no_token_in_logs_errors_or_debug() {
    let log = Log::default();
    let subscriber =
        tracing_subscriber::fmt().with_max_level(tracing::Level::TRACE).with_writer(log.clone()).finish();
    let _default = tracing::subscriber::set_default(subscriber);
    let mut said = String::new();
    for method in [ClientAuthMethod::ClientSecretBasic, ClientAuthMethod::ClientSecretPost] {
        let endpoint = Endpoint::new(Behaviour::GrantSame { token: "canary-token-1", expires_in: "300" });
        let builder = builder(&endpoint).auth_method(method);
        write!(said, "{builder:?}").unwrap();
        exercise(&builder.build().unwrap(), &endpoint, &mut said).await;
    }
    said.push_str(&log.text());
    assert!(
        said.contains("token request failed") && said.contains("token minted"),
        "the log was seen: {said}"
    );
    for form in forms(SECRET).iter().chain(&["canary".to_owned()]) {
        assert!(!said.contains(form), "{form} in {said}");
    }
}

#[tokio::test(start_paused = true)]
async fn the_authorization_value_is_marked_sensitive() {
    let endpoint = Endpoint::granting(60);
    let token = manager(&endpoint).token(&key()).await.unwrap();
    assert!(token.authorization().is_sensitive());
    assert_eq!(format!("{:?}", token.authorization()), "Sensitive");
}
