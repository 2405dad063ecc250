//! The authorization server: the server crate's HTTP face and its decisions, over a registry of one client in memory and
//! the clock of the world.
//!
//! The `Issuer` of the server crate cannot stand here: it comes with sockets, a file and a thread that looks at it in
//! real time. What it decides is in `jeton_proto::issuance`, and that is what is asked here too.

use crate::clock::ServerClock;
use bytes::Bytes;
use http::header::HOST;
use http::{HeaderValue, Request, Response};
use http_body_util::{BodyExt as _, Full};
use jeton::{Clock, Secret, Timestamp};
use jeton_proto::issuance::{
    ClientCredentials, ClientSettings, IssuancePolicy, MAX_TOKEN_LIFETIME, RegisteredClient, SecretDigest,
    authenticate, decide,
};
use jeton_proto::jose::access_token::{AccessTokenClaims, AccessTokenSigner};
use jeton_proto::jose::jwk::{JwkSet, SigningKey};
use jeton_proto::jose::jws::Algorithm;
use jeton_proto::wire::client_auth::ClientAuthMethod;
use jeton_server::Limits;
use jeton_server::endpoint::{Authentication, Granted, IssuedToken, TokenCall, TokenEndpoint, TokenRefusal};
use jeton_server::http::{Documents, Face};
use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, LazyLock, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// The issuer of every world.
pub const ISSUER: &str = "http://localhost:8080";
const HOST_AND_PORT: &str = "localhost:8080";
/// The audience of its tokens.
pub const AUDIENCE: &str = "https://api.example";
/// The client id of every world.
pub const CLIENT_ID: &str = "orders-worker";

const PEER: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 40_000);
/// A token that has less than this left is not given out a second time.
const LEAST_REISSUED: Duration = Duration::from_secs(1);

/// One key for all worlds: making it is dear, and nothing that happens depends on it.
static SIGNER: LazyLock<Option<AccessTokenSigner>> =
    LazyLock::new(|| SigningKey::generate(Algorithm::Es256).ok().map(AccessTokenSigner::new));

/// What the server does when it is asked again while a token of its own lives.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Reissue {
    /// It makes a new one.
    New,
    /// It gives the same one out until that dies (trap T4).
    Same,
}

/// How a world's server is set up.
#[derive(Clone, Debug)]
pub struct AuthoritySettings {
    /// The life of its tokens.
    pub token_lifetime: Duration,
    /// Whether it gives tokens out again.
    pub reissue: Reissue,
    /// The scopes of its client, separated by spaces.
    pub scope: String,
    /// The first secret of its client.
    pub secret: String,
}

/// Why a world's server cannot be set up.
#[derive(Debug, thiserror::Error)]
#[error("the authorization server of the world cannot be set up: {0}")]
pub struct SetupError(pub String);

/// The server, without a socket.
pub struct Authority {
    face: Face<Registered>,
    registered: Registered,
}

#[derive(Clone)]
struct Registered {
    state: Arc<Mutex<State>>,
    policy: IssuancePolicy,
    clock: ServerClock,
    reissue: Reissue,
}

struct State {
    client: Arc<RegisteredClient>,
    settings: ClientSettings,
    issued: u64,
    /// By scope: the last token, and when it dies.
    last: BTreeMap<String, (String, Timestamp)>,
}

impl Authority {
    /// A server for one client.
    pub fn new(settings: &AuthoritySettings, clock: ServerClock) -> Result<Self, SetupError> {
        let setup = |error: &dyn std::error::Error| SetupError(error.to_string());
        let signer = signer()?;
        let jwks = JwkSet::from_keys([signer.key().public_jwk()]).map_err(|error| setup(&error))?;
        let documents = Documents::new(ISSUER, jwks.to_json().to_string().into_bytes());
        let policy = IssuancePolicy::new(AUDIENCE.to_owned(), MAX_TOKEN_LIFETIME);
        let client_settings = ClientSettings {
            allowed_scope: settings.scope.parse().map_err(|error| setup(&error))?,
            token_lifetime: settings.token_lifetime,
            ..ClientSettings::new(CLIENT_ID)
        };
        let client = RegisteredClient::new(
            client_settings.clone(),
            ClientCredentials::from_digest(digest(&settings.secret)),
        );
        let registered = Registered {
            state: Arc::new(Mutex::new(State {
                client: Arc::new(client.map_err(|error| setup(&error))?),
                settings: client_settings,
                issued: 0,
                last: BTreeMap::new(),
            })),
            policy: policy.map_err(|error| setup(&error))?,
            clock,
            reissue: settings.reissue,
        };
        let documents = documents.map_err(|error| setup(&error))?;
        let face = Face::new(registered.clone(), documents, Limits::default());
        Ok(Self { face, registered })
    }

    /// Answers one request.
    pub async fn answer(&self, mut request: Request<Bytes>) -> Response<Bytes> {
        // What an HTTP/1.1 client adds on the way.
        request.headers_mut().insert(HOST, HeaderValue::from_static(HOST_AND_PORT));
        let answer = self.face.answer(request.map(Full::new), PEER).await;
        let (head, body) = answer.into_parts();
        // The body lies in memory whole.
        let body = body.collect().await.map(http_body_util::Collected::to_bytes).unwrap_or_default();
        Response::from_parts(head, body)
    }

    /// Takes this secret from now on, and no other.
    pub fn rotate_secret(&self, secret: &str) -> Result<(), SetupError> {
        let mut state = self.registered.state();
        let client =
            RegisteredClient::new(state.settings.clone(), ClientCredentials::from_digest(digest(secret)));
        state.client = Arc::new(client.map_err(|error| SetupError(error.to_string()))?);
        Ok(())
    }

    /// Forgets the tokens that it would give out again: they were revoked.
    pub fn forget_issued(&self) {
        self.registered.state().last.clear();
    }
}

fn signer() -> Result<&'static AccessTokenSigner, SetupError> {
    SIGNER.as_ref().ok_or_else(|| SetupError("there is no signing key".to_owned()))
}

fn digest(secret: &str) -> SecretDigest {
    let hash = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, secret.as_bytes());
    let mut digest = [0; 32];
    for (to, from) in digest.iter_mut().zip(hash.as_ref()) {
        *to = *from;
    }
    SecretDigest::new(digest)
}

fn authentication() -> Authentication {
    let method = ClientAuthMethod::ClientSecretBasic;
    Authentication { method, credential: None }
}

impl Registered {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn sign(&self, call: &TokenCall<'_>, client: &RegisteredClient) -> Result<IssuedToken, TokenRefusal> {
        let now = self.clock.now();
        let grant = decide(client, call.request, &self.policy, now).map_err(|refusal| {
            TokenRefusal::new(refusal.code, refusal.description).with_detail(refusal.detail)
        })?;
        let scope = grant.scope.to_string();
        let mut state = self.state();
        if let (Reissue::Same, Some((token, expires_at))) = (self.reissue, state.last.get(&scope)) {
            let left = expires_at.saturating_since(now);
            if left >= LEAST_REISSUED {
                let expires_in = Duration::from_secs(left.as_secs());
                return Ok(IssuedToken {
                    access_token: Secret::from(token.as_str()),
                    expires_in,
                    granted: Granted::new(CLIENT_ID, Some(scope), "").into(),
                    jwt_id: String::new(),
                    authentication: authentication(),
                });
            }
        }
        state.issued += 1;
        let claims = AccessTokenClaims {
            issuer: ISSUER,
            audience: &grant.audience,
            subject: CLIENT_ID,
            client_id: CLIENT_ID,
            scope: Some(&grant.scope),
            issued_at: grant.issued_at,
            expires_at: grant.expires_at(),
            jwt_id: &format!("jti-{}", state.issued),
            confirmation: None,
        };
        let signed = signer().map_err(|error| TokenRefusal::server_error(error.to_string()))?.sign(&claims);
        let token = signed.map_err(|error| TokenRefusal::server_error(error.to_string()))?;
        state.last.insert(scope.clone(), (token.clone(), grant.expires_at()));
        Ok(IssuedToken {
            access_token: Secret::new(token),
            expires_in: grant.lifetime,
            granted: Granted::new(CLIENT_ID, Some(scope), "").into(),
            jwt_id: claims.jwt_id.to_owned(),
            authentication: authentication(),
        })
    }
}

impl TokenEndpoint for Registered {
    async fn answer(&self, call: TokenCall<'_>) -> Result<IssuedToken, TokenRefusal> {
        let Some((client_id, secret)) = call.credential.id_and_secret() else {
            return Err(TokenRefusal::invalid_client());
        };
        let client = Arc::clone(&self.state().client);
        let known = (client_id == CLIENT_ID).then_some(&*client);
        match authenticate(known, &digest(secret.expose()), self.clock.now()) {
            Ok(_) => self.sign(&call, &client),
            Err(failure) => Err(TokenRefusal::invalid_client().with_detail(failure.to_string())),
        }
    }
}

impl std::fmt::Debug for Authority {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Authority").finish_non_exhaustive()
    }
}
