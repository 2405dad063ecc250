//! The process that uses a secret, drops it and looks for it.

use crate::canary::Mask;
use crate::exchange::OwnExchange;
use crate::search::Search;
use jeton::bearer::BearerLayer;
use jeton::http::TlsRoots;
use jeton::store::{FileStore, KeyRing, StoreKey};
use jeton::{ClientAuthMethod, Secret, TokenKey, TokenManager};
use std::any::Any;
use std::env::var;
use std::io::Write as _;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use tower::{Layer as _, Service as _, ServiceExt as _};

/// The variables that tell the child what to do.
pub(crate) const PART: &str = "JETON_IMAGE_PART";
pub(crate) const WAY: &str = "JETON_IMAGE_WAY";
pub(crate) const SECRET: &str = "JETON_IMAGE_SECRET";
pub(crate) const NEEDLES: &str = "JETON_IMAGE_NEEDLES";
pub(crate) const DIRECTORY: &str = "JETON_IMAGE_DIRECTORY";
pub(crate) const PLAIN: &str = "JETON_IMAGE_PLAIN";
pub(crate) const TLS: &str = "JETON_IMAGE_TLS";
pub(crate) const CA_PEM: &str = "JETON_IMAGE_CA_PEM";

/// What its lines begin with.
pub(crate) const HIT: &str = "@ hit: ";
pub(crate) const SEARCHED: &str = "@ searched";

/// What it does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Part {
    /// The secret in a header.
    Basic,
    /// The secret in the body.
    Post,
    /// A secret that the server does not take.
    Refused,
    /// A call whose first token is refused.
    Replay,
    /// A token that is kept for others.
    FileStore,
    KeepsTheSecret,
    KeepsTheHeader,
    KeepsTheToken,
}

/// How requests go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Way {
    OwnExchange,
    PlainHttp,
    Tls,
}

impl Part {
    const ALL: [Self; 8] = [
        Self::Basic,
        Self::Post,
        Self::Refused,
        Self::Replay,
        Self::FileStore,
        Self::KeepsTheSecret,
        Self::KeepsTheHeader,
        Self::KeepsTheToken,
    ];

    pub(crate) fn name(self) -> String {
        format!("{self:?}")
    }

    fn method(self) -> ClientAuthMethod {
        if self == Self::Post {
            ClientAuthMethod::ClientSecretPost
        } else {
            ClientAuthMethod::ClientSecretBasic
        }
    }
}

impl Way {
    const ALL: [Self; 3] = [Self::OwnExchange, Self::PlainHttp, Self::Tls];

    pub(crate) fn name(self) -> String {
        format!("{self:?}")
    }

    fn address(self) -> String {
        match self {
            Self::OwnExchange | Self::PlainHttp => format!("http://{}", var(PLAIN).unwrap()),
            Self::Tls => format!("https://{}", var(TLS).unwrap()),
        }
    }
}

/// Does its part, if this process is a child.
pub(crate) fn play_if_told() {
    let Ok(name) = var(PART) else { return };
    let part = Part::ALL.into_iter().find(|part| part.name() == name).unwrap();
    let way = Way::ALL.into_iter().find(|way| way.name() == var(WAY).unwrap()).unwrap();
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let kept = runtime.block_on(async { tokio::spawn(use_and_drop(part, way)).await.unwrap() });
    drop(runtime);
    let hits = Search::of(&var(NEEDLES).unwrap()).everywhere();
    drop(kept);
    let mut out = std::io::stdout().lock();
    for hit in hits {
        writeln!(out, "\n{HIT}{hit}").unwrap();
    }
    writeln!(out, "\n{SEARCHED}").unwrap();
}

/// The secret, unmasked in the memory that it has from then on.
fn secret() -> Secret<String> {
    let mut bytes = Mask::masked(&var(SECRET).unwrap());
    for byte in &mut bytes {
        *byte ^= Mask::BYTE;
    }
    Secret::new(String::from_utf8(bytes).unwrap())
}

/// Mints, hits, calls; what it gives back lives on.
async fn use_and_drop(part: Part, way: Way) -> Box<dyn Any + Send> {
    let (secret, address) = (secret(), way.address());
    let path = if part == Part::Refused { "refused" } else { "token" };
    let mut builder = TokenManager::builder(format!("{address}/{path}"), "billing")
        .client_secret(secret.clone())
        .auth_method(part.method())
        .tls_roots(TlsRoots::Only(var(CA_PEM).unwrap().into_bytes()));
    if way == Way::OwnExchange {
        builder = builder.exchange(Arc::new(OwnExchange));
    }
    if part == Part::FileStore {
        let store = FileStore::open(Path::new(&var(DIRECTORY).unwrap()).join("store")).unwrap();
        let keys = KeyRing::new(&StoreKey::generate().unwrap()).unwrap();
        builder = builder.shared_store(Arc::new(store), keys);
    }
    let manager = builder.build().unwrap();
    let key = TokenKey::scope("orders:read").unwrap();
    if part == Part::Refused {
        manager.token(&key).await.unwrap_err();
        return Box::new(());
    }
    let token = manager.token(&key).await.unwrap();
    manager.handle(&key).unwrap().get_with(|token| assert!(!token.access_token().is_empty())).unwrap();
    if part == Part::Replay {
        replay(&manager, &key, &address).await;
    }
    manager.close(Duration::from_secs(5)).await;
    match part {
        Part::KeepsTheSecret => Box::new(secret),
        Part::KeepsTheHeader => Box::new(jeton_proto::wire::client_auth::basic_authorization(
            "billing",
            &secret,
            jeton::BasicEncoding::FormUrlEncoded,
        )),
        Part::KeepsTheToken => Box::new(token),
        Part::Basic | Part::Post | Part::Refused | Part::Replay | Part::FileStore => Box::new(()),
    }
}

/// A call whose first token is refused, and which goes through with the second.
async fn replay(manager: &TokenManager, key: &TokenKey, address: &str) {
    let _installed = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let client = reqwest::Client::builder().build().unwrap();
    let mut service = BearerLayer::new(manager.handle(key).unwrap()).layer(client.clone());
    let request = client.get(format!("{address}/api")).build().unwrap();
    let response = service.ready().await.unwrap().call(request).await.unwrap();
    assert_eq!(response.status(), 200);
}
