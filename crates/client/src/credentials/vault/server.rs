//! One request to a Vault and its answer: the address, what goes with every request, and the faults that any of them may meet.

use super::super::environment::Surroundings;
use super::super::source::{SourceFault, SourceFaultKind};
use super::answer::{SealStatus, Words};
use super::place::VaultPlace;
use crate::http::{EndpointUrl, ExchangeLimits, HttpExchange, ReqwestExchange, TlsRoots};
use bytes::Bytes;
use http::header::{CONTENT_TYPE, LOCATION};
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode};
use jeton_proto::secret::{Secret, wiped_bytes, wiped_header_value};
use std::fmt::Display;
use std::fs::File;
use std::io::Read;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;
use url::Url;

/// The longest answer that is taken, and the longest file of certificates.
const MAX_ANSWER_BYTES: usize = 1024 * 1024;
/// The longest that one request takes, of the nine seconds that a read has.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(4);
const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);

const TOKEN: HeaderName = HeaderName::from_static("x-vault-token");
const NAMESPACE: HeaderName = HeaderName::from_static("x-vault-namespace");
/// What keeps a proxy from being made to ask a Vault by somebody who cannot set headers.
const REQUEST: HeaderName = HeaderName::from_static("x-vault-request");

/// The server, as it is asked for one place.
pub(super) struct Server {
    exchange: Arc<dyn HttpExchange>,
    base: Url,
    namespace: Option<HeaderValue>,
    /// How it is called in faults.
    place: String,
}

/// What is asked. The secrets in it are not told again, should the server repeat them.
pub(super) struct Question<'a> {
    pub(super) method: Method,
    /// Below `/v1`, each with its slashes.
    pub(super) path: &'a [&'a str],
    pub(super) version: Option<u64>,
    pub(super) token: Option<&'a Secret<String>>,
    /// JSON, and the secrets that are in it.
    pub(super) body: Option<(Vec<u8>, &'a [&'a Secret<String>])>,
}

impl<'a> Question<'a> {
    pub(super) fn get(path: &'a [&'a str], token: &'a Secret<String>) -> Self {
        Self { method: Method::GET, path, version: None, token: Some(token), body: None }
    }

    fn secrets(&self) -> Vec<&'a Secret<String>> {
        let of_body = self.body.as_ref().map(|(_, secrets)| *secrets).unwrap_or_default();
        of_body.iter().copied().chain(self.token).collect()
    }
}

/// What was answered: success, or a refusal that means something else at each question.
pub(super) enum Answer {
    Data(Bytes),
    /// 400, 403, 404 or another of the 400s, with its words, and the body for whoever finds more in it.
    Refused {
        status: StatusCode,
        words: Words,
        body: Bytes,
    },
}

impl Server {
    /// The one that `place` names, or that is named around it.
    pub(super) fn open(place: &VaultPlace, around: &Surroundings) -> Result<Self, SourceFault> {
        let unusable = |what: String| SourceFault::new(SourceFaultKind::Unusable, place, what);
        let address = setting(place.address.as_ref(), around, "ADDR")?;
        let address = address.ok_or_else(|| {
            unusable(
                "it is not said at which server: set the option address, BAO_ADDR or VAULT_ADDR".to_owned(),
            )
        })?;
        let wrong = |error: &dyn Display| unusable(format!("its address cannot be used: {error}"));
        let endpoint = EndpointUrl::parse(&address, &around.plain_http).map_err(|error| wrong(&error))?;
        let base = Url::parse(endpoint.as_str()).map_err(|error| wrong(&error))?;
        if base.query().is_some() {
            return Err(wrong(&"it has a query"));
        }
        let namespace = setting(place.namespace.as_ref(), around, "NAMESPACE")?;
        let in_header = |name: String| HeaderValue::try_from(name).ok().filter(|name| name.to_str().is_ok());
        let cannot = || unusable("its namespace has characters that no header can carry".to_owned());
        let namespace = namespace.map(|name| in_header(name).ok_or_else(cannot)).transpose()?;
        let ca_file =
            setting(place.ca_file.as_ref().map(|it| it.display().to_string()).as_ref(), around, "CACERT")?;
        let own_roots = ca_file.map(|path| certificates(&around.directory.join(path))).transpose();
        let own_roots = own_roots.map_err(unusable)?;
        let roots = own_roots.as_ref().unwrap_or(&around.tls_roots);
        let exchange =
            ReqwestExchange::new(roots, CONNECT_TIMEOUT).map_err(|error| unusable(error.to_string()))?;
        let place = format!("{place} at {}", endpoint.authority());
        Ok(Self { exchange: Arc::new(exchange), base, namespace, place })
    }

    pub(super) fn fault(&self, kind: SourceFaultKind, what: impl Display) -> SourceFault {
        SourceFault::new(kind, &self.place, what)
    }

    /// Asks, until `deadline` at most.
    pub(super) async fn ask(&self, question: Question<'_>, deadline: Instant) -> Result<Answer, SourceFault> {
        let secrets = question.secrets();
        let answer = self.exchanged(question, deadline).await?;
        let status = answer.status();
        if status.is_success() {
            return Ok(Answer::Data(answer.into_body()));
        }
        let words = Words::of(answer.body(), &secrets);
        match status {
            StatusCode::SERVICE_UNAVAILABLE => Err(self.unavailable(&words, deadline).await),
            status if status.is_redirection() => Err(self.redirected(answer.headers())),
            // A limit on requests; and a follower that has not yet heard what the token may do.
            StatusCode::TOO_MANY_REQUESTS | StatusCode::PRECONDITION_FAILED => {
                Err(self
                    .fault(SourceFaultKind::Unreachable, format!("it asks to be left alone for now{words}")))
            }
            status if status.is_client_error() => {
                Ok(Answer::Refused { status, words, body: answer.into_body() })
            }
            status => {
                let what = format!("it answered {}{words}", status.as_u16());
                Err(self.fault(SourceFaultKind::Unreachable, what))
            }
        }
    }

    async fn exchanged(
        &self,
        question: Question<'_>,
        deadline: Instant,
    ) -> Result<http::Response<Bytes>, SourceFault> {
        let time = deadline.saturating_duration_since(Instant::now()).min(REQUEST_TIMEOUT);
        if time.is_zero() {
            return Err(self.fault(SourceFaultKind::Unreachable, "there was no time left to ask it"));
        }
        let request = self.request(question)?;
        let limits = ExchangeLimits { time, body_bytes: MAX_ANSWER_BYTES };
        let answer = self.exchange.exchange(request, limits).await;
        answer.map_err(|error| self.fault(SourceFaultKind::Unreachable, error))
    }

    fn request(&self, question: Question<'_>) -> Result<http::Request<Bytes>, SourceFault> {
        let mut url = self.base.clone();
        if let Ok(mut path) = url.path_segments_mut() {
            let segments = question.path.iter().flat_map(|part| part.split('/'));
            path.pop_if_empty().push("v1").extend(segments);
        }
        if let Some(version) = question.version {
            url.set_query(Some(&format!("version={version}")));
        }
        let mut request = http::Request::new(Bytes::new());
        *request.method_mut() = question.method;
        *request.uri_mut() = url
            .as_str()
            .try_into()
            .map_err(|_| self.fault(SourceFaultKind::Unusable, "a request to it cannot be built"))?;
        let headers = request.headers_mut();
        headers.insert(REQUEST, HeaderValue::from_static("true"));
        if let Some(namespace) = &self.namespace {
            headers.insert(NAMESPACE, namespace.clone());
        }
        if let Some(token) = question.token {
            let header = wiped_header_value(token.expose().clone().into_bytes());
            let what = "the token for it has characters that no header can carry";
            headers.insert(TOKEN, header.map_err(|_| self.fault(SourceFaultKind::Malformed, what))?);
        }
        if let Some((body, _)) = question.body {
            headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
            *request.body_mut() = wiped_bytes(body);
        }
        Ok(request)
    }

    /// A standby server sends to the active one. The token would go wherever it says, so nobody follows.
    fn redirected(&self, headers: &HeaderMap) -> SourceFault {
        let target = headers.get(LOCATION).and_then(|it| it.to_str().ok()).and_then(|it| Url::parse(it).ok());
        let target =
            target.map_or_else(String::new, |url| format!(" to {}://{}", url.scheme(), url.authority()));
        let what = "a token is not sent there: set the option address to the active server or to what stands before them";
        self.fault(SourceFaultKind::Unusable, format!("it redirects{target}, and {what}"))
    }

    /// Why it is unavailable: the state of the seal is told to everyone, so it is asked for without the token.
    async fn unavailable(&self, words: &Words, deadline: Instant) -> SourceFault {
        let path = ["sys", "seal-status"];
        let question = Question { method: Method::GET, path: &path, version: None, token: None, body: None };
        let answer = self.exchanged(question, deadline).await.ok();
        let status = answer.and_then(|answer| serde_json::from_slice::<SealStatus>(answer.body()).ok());
        let what = match status {
            Some(SealStatus { initialized: false, .. }) => {
                "it is not initialized: its operator has to initialize and unseal it".to_owned()
            }
            Some(SealStatus { sealed: true, .. }) => "it is sealed: its operator has to unseal it".to_owned(),
            Some(SealStatus { .. }) | None => format!("it answered 503{words}"),
        };
        self.fault(SourceFaultKind::Unreachable, what)
    }

    /// What is in an answer of success.
    pub(super) fn read<'a, T: serde::Deserialize<'a>>(&self, body: &'a Bytes) -> Result<T, SourceFault> {
        // The reason would quote the answer.
        serde_json::from_slice(body).map_err(|_quoting| self.foreign())
    }

    /// For an answer that no Vault gives.
    pub(super) fn foreign(&self) -> SourceFault {
        self.fault(SourceFaultKind::Malformed, "its answer is not that of a Vault: is the address right")
    }
}

/// What is said, else what the environment says: in the name of `OpenBao` first, as that does itself.
fn setting(said: Option<&String>, around: &Surroundings, name: &str) -> Result<Option<String>, SourceFault> {
    if let Some(said) = said {
        return Ok(Some(said.clone()));
    }
    match around.environment.text(&format!("BAO_{name}"))? {
        Some(value) => Ok(Some(value)),
        None => around.environment.text(&format!("VAULT_{name}")),
    }
}

fn certificates(path: &Path) -> Result<TlsRoots, String> {
    let mut pem = Vec::new();
    let limit = u64::try_from(MAX_ANSWER_BYTES).unwrap_or(u64::MAX);
    let read = File::open(path).and_then(|file| file.take(limit).read_to_end(&mut pem));
    match read {
        Ok(_) => Ok(TlsRoots::Only(pem)),
        Err(error) => Err(format!("the certificate file {} cannot be read: {error}", path.display())),
    }
}
