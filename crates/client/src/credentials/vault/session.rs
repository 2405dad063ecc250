//! The token that a Vault is asked with: had once for all, renewed while that goes, and replaced by another login.

use super::super::source::{SecretSource, SourceFault, SourceFaultKind};
use super::answer::{Auth, Frame, TokenState};
use super::lease::{Lease, Renewal, Step};
use super::server::{Answer, Question, Server};
use http::{Method, StatusCode};
use jeton_proto::secret::Secret;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use tokio::sync::Mutex;
use tokio::time::{Instant, timeout_at};
use zeroize::Zeroizing;

/// How a token is come by, with the places opened.
pub(super) enum Way {
    /// It is read where it is.
    Token(Arc<dyn SecretSource>),
    /// What is proven is exchanged for one, by the method mounted at `mount`.
    LogIn { mount: String, role: Option<String>, proofs: Vec<(&'static str, Arc<dyn SecretSource>)> },
}

/// A token, and for how long it is good.
pub(super) struct Session {
    pub(super) token: Secret<String>,
    pub(super) standing: Standing,
    lease: Lease,
}

/// What the server said of a token when it was first seen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Standing {
    /// It is good.
    Good,
    /// Nothing: the token is worth nothing, or may not even look at itself.
    Unknown,
}

/// The session of all reads of a source.
pub(super) struct Sessions {
    way: Way,
    held: Mutex<Held>,
    /// Counts the ends of attempts to have a session.
    attempts: AtomicU64,
}

#[derive(Default)]
struct Held {
    session: Option<Arc<Session>>,
    failure: Option<SourceFault>,
}

/// A session, and whether it was begun for whoever asked.
pub(super) enum Entered {
    Before(Arc<Session>),
    Now(Arc<Session>),
}

impl Entered {
    pub(super) fn session(self) -> Arc<Session> {
        match self {
            Self::Before(session) | Self::Now(session) => session,
        }
    }
}

impl Sessions {
    pub(super) fn new(way: Way) -> Self {
        Self { way, held: Mutex::default(), attempts: AtomicU64::new(0) }
    }

    /// The session there is, renewed where that is due, or a new one. Many at once have one renewal or login, and its outcome.
    pub(super) async fn enter(&self, server: &Server, deadline: Instant) -> Result<Entered, SourceFault> {
        let seen = self.attempts.load(Ordering::SeqCst);
        let turn = timeout_at(deadline, self.held.lock()).await;
        let mut held = turn.map_err(|_elapsed| too_late(server))?;
        let now = Instant::now();
        match held.session.take().map(|session| (session.lease.step(now), session)) {
            Some((Step::Use, session)) => {
                held.session = Some(Arc::clone(&session));
                Ok(Entered::Before(session))
            }
            Some((Step::Renew, session)) => {
                held.session = Some(Arc::clone(&session));
                let renewed = renewed(server, &session, deadline).await.map(Arc::new);
                Ok(Entered::Before(Arc::clone(held.session.insert(renewed.unwrap_or(session)))))
            }
            Some((Step::LogIn, _)) | None => {
                if let Some(failure) =
                    held.failure.clone().filter(|_| seen != self.attempts.load(Ordering::SeqCst))
                {
                    return Err(failure);
                }
                let begun = self.begin(server, deadline).await.map(Arc::new);
                self.attempts.fetch_add(1, Ordering::SeqCst);
                held.failure = begun.as_ref().err().cloned();
                held.session = begun.as_ref().ok().cloned();
                begun.map(Entered::Now)
            }
        }
    }

    /// Forgets the session that was refused, unless another one is there already.
    pub(super) async fn leave(&self, refused: &Arc<Session>) {
        let mut held = self.held.lock().await;
        if held.session.as_ref().is_some_and(|session| Arc::ptr_eq(session, refused)) {
            held.session = None;
        }
    }

    async fn begin(&self, server: &Server, deadline: Instant) -> Result<Session, SourceFault> {
        match &self.way {
            Way::Token(source) => {
                let token = proof(server, "token", source.as_ref(), deadline).await?;
                looked_up(server, token, deadline).await
            }
            Way::LogIn { mount, role, proofs } => {
                let mut proven = Vec::with_capacity(proofs.len());
                for (name, source) in proofs {
                    proven.push((*name, proof(server, name, source.as_ref(), deadline).await?));
                }
                logged_in(server, mount, role.as_deref(), &proven, deadline).await
            }
        }
    }
}

/// The token in use after it was renewed, or the same one where the server would not. Without an answer there is none: the
/// next look tries again.
async fn renewed(server: &Server, session: &Session, deadline: Instant) -> Option<Session> {
    let asked_at = Instant::now();
    let path = ["auth", "token", "renew-self"];
    let token = &session.token;
    let body = Some((b"{}".to_vec(), [].as_slice()));
    let question = Question { method: Method::POST, path: &path, version: None, token: Some(token), body };
    let lease = match server.ask(question, deadline).await {
        Ok(Answer::Data(body)) => {
            let auth = server.read::<Frame<()>>(&body).ok().and_then(|frame| frame.auth)?;
            session.lease.renewed(asked_at, auth.life(), renewal(auth.renewable))
        }
        Ok(Answer::Refused { status, words, .. }) => {
            tracing::debug!(status = status.as_u16(), %words, "the token for the vault cannot be renewed");
            session.lease.not_renewable()
        }
        Err(fault) => {
            tracing::debug!(%fault, "the token for the vault was not renewed");
            return None;
        }
    };
    Some(Session { token: token.clone(), standing: session.standing, lease })
}

/// The session with a token that somebody else had issued: it is asked for how long that is good.
async fn looked_up(
    server: &Server,
    token: Secret<String>,
    deadline: Instant,
) -> Result<Session, SourceFault> {
    let asked_at = Instant::now();
    let path = ["auth", "token", "lookup-self"];
    match server.ask(Question::get(&path, &token), deadline).await? {
        Answer::Data(body) => {
            let state = server.read::<Frame<TokenState>>(&body)?.data.ok_or_else(|| server.foreign())?;
            let lease = Lease::new(asked_at, state.life(), renewal(state.renewable));
            Ok(Session { token, standing: Standing::Good, lease })
        }
        Answer::Refused { .. } => Ok(Session { token, standing: Standing::Unknown, lease: Lease::Open }),
    }
}

async fn logged_in(
    server: &Server,
    mount: &str,
    role: Option<&str>,
    proofs: &[(&'static str, Secret<String>)],
    deadline: Instant,
) -> Result<Session, SourceFault> {
    let role = role.map(|role| ("role", role));
    let members = role.into_iter().chain(proofs.iter().map(|(name, proof)| (*name, proof.expose().as_str())));
    let body = json_object(members).ok_or_else(|| server.foreign())?;
    let secrets: Vec<&Secret<String>> = proofs.iter().map(|(_, proof)| proof).collect();
    let asked_at = Instant::now();
    let path = ["auth", mount, "login"];
    let body = Some((body, secrets.as_slice()));
    let question = Question { method: Method::POST, path: &path, version: None, token: None, body };
    match server.ask(question, deadline).await? {
        Answer::Data(body) => {
            let auth: Auth = server.read::<Frame<()>>(&body)?.auth.ok_or_else(|| server.foreign())?;
            if auth.client_token.expose().is_empty() {
                let what = format!(
                    "the login at auth/{mount} gave no token: one with a second factor is not supported"
                );
                return Err(server.fault(SourceFaultKind::Denied, what));
            }
            let lease = Lease::new(asked_at, auth.life(), renewal(auth.renewable));
            Ok(Session { token: auth.client_token, standing: Standing::Good, lease })
        }
        // Without a token, a login that is not there is refused like a wrong one.
        Answer::Refused { status, words, .. } => {
            let names: Vec<&str> = proofs.iter().map(|(name, _)| *name).collect();
            let names = names.join(" and ");
            let elsewhere = match status {
                StatusCode::FORBIDDEN | StatusCode::NOT_FOUND | StatusCode::METHOD_NOT_ALLOWED => {
                    ", or name where it is mounted by the option auth_mount"
                }
                _ => "",
            };
            let what = format!(
                "the login at auth/{mount} was refused: check the role and the {names}{elsewhere}{words}"
            );
            Err(server.fault(SourceFaultKind::Denied, what))
        }
    }
}

/// An object of texts. It is written by hand into what is wiped when it grows, since it is all secrets.
fn json_object<'a>(members: impl Iterator<Item = (&'static str, &'a str)>) -> Option<Vec<u8>> {
    let members: Vec<(&str, &str)> = members.collect();
    // Six bytes at most for each one.
    let most = members.iter().map(|(name, value)| name.len() + 6 * value.len() + 6).sum::<usize>() + 2;
    let mut json = Zeroizing::new(Vec::with_capacity(most));
    json.push(b'{');
    for (place, (name, value)) in members.iter().enumerate() {
        if place > 0 {
            json.push(b',');
        }
        serde_json::to_writer(&mut *json, name).ok()?;
        json.push(b':');
        serde_json::to_writer(&mut *json, value).ok()?;
    }
    json.push(b'}');
    Some(std::mem::take(&mut *json))
}

async fn proof(
    server: &Server,
    name: &str,
    source: &dyn SecretSource,
    deadline: Instant,
) -> Result<Secret<String>, SourceFault> {
    let read = timeout_at(deadline, source.read()).await;
    let read = read.map_err(|_elapsed| too_late(server))?;
    read.map(|reading| reading.current)
        .map_err(|fault| server.fault(fault.kind(), format!("its {name}: {fault}")))
}

fn renewal(is_renewable: bool) -> Renewal {
    if is_renewable { Renewal::Possible } else { Renewal::Exhausted }
}

fn too_late(server: &Server) -> SourceFault {
    server.fault(SourceFaultKind::Unreachable, "a login there did not end in time")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_login_sends_is_json_whatever_is_in_it() {
        let members = [("role", "a\"\\\u{1}é"), ("jwt", "x.y.z")];
        let json = json_object(members.into_iter()).unwrap();
        assert_eq!(json, br#"{"role":"a\"\\\u0001"#.iter().chain("é\",\"jwt\":\"x.y.z\"}".as_bytes()).copied().collect::<Vec<_>>());
        assert_eq!(json_object(std::iter::empty()).unwrap(), b"{}");
    }
}
