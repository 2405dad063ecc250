//! What happens to token requests and calls.

use crate::ledger::Ledger;
use crate::redis_server::RedisServer;
use crate::server::Server;
use crate::{PASSWORD, PREVIOUS, SECRET};
use bytes::Bytes;
use http::Request;
use http_body_util::Full;
use hyper_util::client::legacy::Client;
use hyper_util::rt::TokioExecutor;
use jeton::bearer::BearerLayer;
use jeton::credentials::{Environment, SecretFuture, SecretReading, SecretSource, VariableSource};
use jeton::http::{ClientIdentity, ExchangeFuture, ExchangeLimits, HttpExchange, ReqwestExchange, TlsRoots};
use jeton::store::{FileStore, KeyRing, RedisStore, SharedStore, StoreKey};
use jeton::{ClientAuthMethod, Secret, TokenKey, TokenManager, TokenManagerBuilder};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use tower::{Layer as _, Service as _, ServiceExt as _};

const METHODS: [ClientAuthMethod; 2] =
    [ClientAuthMethod::ClientSecretBasic, ClientAuthMethod::ClientSecretPost];

fn key() -> TokenKey {
    TokenKey::scope("orders:read").unwrap()
}

/// A manager of this endpoint without its credential.
fn bare(server: &Server, url: &str) -> TokenManagerBuilder {
    let roots = TlsRoots::Only(server.ca_pem.clone().into_bytes());
    TokenManager::builder(url, "billing").tls_roots(roots).total_timeout(Duration::from_millis(1500))
}

fn builder(server: &Server, url: &str) -> TokenManagerBuilder {
    bare(server, url).client_secret(Secret::from(SECRET))
}

async fn ask(builder: TokenManagerBuilder, ledger: &Ledger) {
    ledger.debug(&builder);
    let manager = builder.build().unwrap();
    match manager.token(&key()).await {
        Ok(token) => ledger.debug(&(&token, token.authorization())),
        Err(error) => ledger.error(&error),
    }
    ledger.debug(&(&manager, manager.handle(&key()).unwrap(), manager.credential()));
    manager.close(Duration::from_secs(1)).await;
}

/// Tokens by plain http and TLS.
pub(crate) async fn tokens(server: &Server, ledger: &Ledger) {
    for method in METHODS {
        for url in [format!("http://{}/token", server.plain), format!("https://{}/token", server.tls)] {
            ask(builder(server, &url).auth_method(method), ledger).await;
        }
    }
}

/// Answers that are no tokens, some with the request or the token in them.
pub(crate) async fn failures(server: &Server, ledger: &Ledger) {
    for method in METHODS {
        for path in ["refused", "told", "echo", "broken", "other-type", "redirect", "ends", "hangs"] {
            let url = format!("http://{}/{path}", server.plain);
            ask(builder(server, &url).auth_method(method), ledger).await;
        }
    }
    // And over TLS, where other buffers are in play.
    ask(builder(server, &format!("https://{}/echo", server.tls)), ledger).await;
    ask(builder(server, &format!("https://{}/redirect", server.tls)), ledger).await;
}

/// Servers that cannot be reached, or are not to be trusted.
pub(crate) async fn transport(server: &Server, ledger: &Ledger) {
    let nobody = "http://127.0.0.1:1/token";
    ask(builder(server, nobody), ledger).await;
    let untrusted = format!("https://{}/token", server.tls);
    ask(builder(server, &untrusted).tls_roots(TlsRoots::Platform), ledger).await;
    let no_tls = format!("https://{}/token", server.plain);
    ask(builder(server, &no_tls), ledger).await;
}

/// Calls whose first token is refused, by reqwest and by hyper.
pub(crate) async fn replay(server: &Server, ledger: &Ledger) {
    let _installed = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let api = format!("http://{}/api", server.plain);
    let manager = builder(server, &format!("http://{}/token", server.plain)).build().unwrap();
    let layer = BearerLayer::new(manager.handle(&key()).unwrap());
    // One thing writes tokens to the log: `connection_verbose` of reqwest, which whoever turns it on has asked for.
    let client = reqwest::Client::builder().build().unwrap();
    let mut service = layer.layer(client.clone());
    ledger.debug(&(&layer, &service));
    let request = client.get(&api).build().unwrap();
    let answer = service.ready().await.unwrap().call(request).await.unwrap();
    ledger.debug(&answer);
    let client: Client<_, Full<Bytes>> = Client::builder(TokioExecutor::new()).build_http();
    let mut service = layer.layer(client);
    for uri in [api.as_str(), "http://127.0.0.1:1/api"] {
        let request = Request::get(uri).body(Full::default()).unwrap();
        match service.ready().await.unwrap().call(request).await {
            Ok(answer) => ledger.debug(&answer.status()),
            Err(error) => ledger.error(&error),
        }
    }
}

/// A source with two secrets, of which the first is refused.
pub(crate) async fn rotation(server: &Server, ledger: &Ledger) {
    struct Two;
    impl SecretSource for Two {
        fn read(&self) -> SecretFuture<'_> {
            let reading = SecretReading::new(Secret::from(SECRET)).with_previous(Secret::from(PREVIOUS));
            Box::pin(async { Ok(reading) })
        }
    }
    for method in METHODS {
        let url = format!("http://{}/refused", server.plain);
        ask(bare(server, &url).client_secret_source(Arc::new(Two)).auth_method(method), ledger).await;
    }
}

/// A key as its owner has it: PEM of PKCS#8.
pub(crate) fn private_key() -> String {
    rcgen::KeyPair::generate().unwrap().serialize_pem()
}

/// Assertions instead of a secret.
pub(crate) async fn private_key_jwt(server: &Server, ledger: &Ledger, key: &str) {
    for path in ["token", "echo", "told"] {
        let url = format!("http://{}/{path}", server.plain);
        ask(bare(server, &url).private_key(Secret::from(key)), ledger).await;
    }
    let url = format!("http://{}/token", server.plain);
    // A key that is cut off, and one that is none.
    for broken in [key.get(..key.len() / 2).unwrap(), SECRET] {
        if let Err(error) = bare(server, &url).private_key(Secret::from(broken)).build() {
            ledger.error(&error);
        }
    }
    ask(builder(server, &url).auth_method(ClientAuthMethod::ClientSecretJwt), ledger).await;
}

/// Panics with a secret in hand.
pub(crate) async fn panics(server: &Server, ledger: &Ledger) {
    struct Panics;
    impl SecretSource for Panics {
        fn read(&self) -> SecretFuture<'_> {
            let secret = Secret::from(SECRET);
            Box::pin(async move { panic!("a source, on purpose, with {secret:?}") })
        }
    }
    impl HttpExchange for Panics {
        fn exchange(&self, request: Request<Bytes>, _: ExchangeLimits) -> ExchangeFuture<'_> {
            Box::pin(async move { panic!("an exchange, on purpose, with {:?}", request.headers()) })
        }
    }
    let url = format!("http://{}/token", server.plain);
    ask(bare(server, &url).client_secret_source(Arc::new(Panics)), ledger).await;
    ask(builder(server, &url).exchange(Arc::new(Panics)), ledger).await;
}

/// What else may have a secret in it.
pub(crate) fn public_types(ledger: &Ledger, key: &str) {
    let environment: Environment = [("SECRET", SECRET)].into_iter().collect();
    let store_key = StoreKey::parse(&Secret::new("7f".repeat(32))).unwrap();
    ledger.debug(&VariableSource::new(&environment, "SECRET"));
    ledger.debug(&(&environment, Secret::from(SECRET), SecretReading::new(Secret::from(SECRET))));
    ledger.debug(&(ClientIdentity::new(Secret::from(key)), KeyRing::new(&store_key).unwrap(), &store_key));
    ledger.debug(&ReqwestExchange::new(&TlsRoots::Platform, Duration::from_secs(1)).unwrap());
    let redis = RedisStore::at("redis://127.0.0.1:1").user("jeton").password(Secret::from(PASSWORD));
    ledger.debug(&redis);
    ledger.debug(&redis.build().unwrap());
    if let Err(error) = RedisStore::at(format!("redis://jeton:{PASSWORD}@127.0.0.1:1")).build() {
        ledger.error(&error);
    }
    if let Err(error) = StoreKey::parse(&Secret::from(SECRET)) {
        ledger.error(&error);
    }
}

/// All that is in a store of files and in one of Redis, and what those said.
pub(crate) async fn stores(server: &Server, ledger: &Ledger) -> Vec<u8> {
    let dir = tempfile::tempdir().unwrap();
    let files = FileStore::open(dir.path().join("store")).unwrap();
    let redis = RedisServer::with(&[&format!("requirepass {PASSWORD}")]);
    let open = |password: &str| RedisStore::at(redis.url()).password(Secret::from(password)).build().unwrap();
    ledger.debug(&(&files, open(PASSWORD)));
    let kept: [Arc<dyn SharedStore>; 3] = [Arc::new(files), Arc::new(open(PASSWORD)), Arc::new(open(SECRET))];
    for store in kept {
        let keys = KeyRing::new(&StoreKey::generate().unwrap()).unwrap();
        let url = format!("http://{}/token", server.plain);
        ask(builder(server, &url).shared_store(store, keys), ledger).await;
    }
    let mut bytes = Vec::new();
    files_in(&dir.path().join("store"), &mut bytes);
    let names = redis.admin("KEYS *");
    let names = names.into_sequence().unwrap();
    assert!(!names.is_empty() && !bytes.is_empty(), "tokens were kept");
    for name in names {
        let name = crate::redis_server::text(&name);
        bytes.extend_from_slice(name.as_bytes());
        bytes.extend_from_slice(format!("{:?}", redis.admin_words(&["DUMP", &name])).as_bytes());
        if let redis::Value::BulkString(dump) = redis.admin_words(&["DUMP", &name]) {
            bytes.extend_from_slice(&dump);
        }
    }
    bytes
}

fn files_in(dir: &Path, bytes: &mut Vec<u8>) {
    for entry in std::fs::read_dir(dir).unwrap() {
        let entry = entry.unwrap();
        bytes.extend_from_slice(entry.file_name().as_encoded_bytes());
        bytes.extend_from_slice(&std::fs::read(entry.path()).unwrap());
    }
}
