//! The administrative API: clients, their secrets and the keys, on a listener of its own.
//!
//! `openapi.json` describes it, and is served at `/admin/openapi.json`. Whoever asks for anything else has an access token of this very
//! issuer with [`ADMIN_SCOPE`] or [`ADMIN_READ_SCOPE`] and the issuer as its audience.
//!
//! A change is acknowledged when it is committed and the token path of this process has seen it.

mod administration;
mod answer;
mod bearer;
mod call;
mod clients;
mod keys;
mod listener;
mod operation;
mod outcome;
mod problem;
mod representation;
mod request;
mod secrets;
#[cfg(test)]
mod tests;

pub(crate) use administration::{Administration, Unopened};
pub use bearer::{ADMIN_READ_SCOPE, ADMIN_SCOPE};

use crate::audit::{Audit, Event};
use crate::client_certificate::ClientCertificate;
use crate::http::{Answer, BodyOutcome, Face, RefusedBody, RequestId, check_head, close_after};
use crate::issuer::Issuer;
use crate::keyring::SigningKeys;
use crate::registry::Registry;
use answer::with_bytes;
use bearer::{Administrator, Guard};
use bytes::Bytes;
use call::{Call, Stored};
use http::header::HeaderValue;
use http::{Request, StatusCode};
use http_body::Body;
use jeton_proto::verification::Expectations;
use jeton_proto::wire::error_response::printable;
use operation::{Access, Operation, Routed, route};
use outcome::{Effect, Outcome};
use problem::{Code, Problem};
use request::{IfMatch, check_type, object};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::sync::Semaphore;
use tokio::time::timeout;

/// The description, which is no secret.
pub(crate) const DESCRIPTION: &str = include_str!("openapi.json");
/// How many requests use the store at once.
const TURNS: usize = 4;
/// How long a request waits for its turn.
const TURN_TIMEOUT: Duration = Duration::from_secs(5);

/// Answers the requests of administrators.
#[derive(Debug)]
pub(crate) struct Admin {
    face: Arc<Face<Issuer>>,
    stored: Arc<Stored>,
    guard: Guard,
    turns: Arc<Semaphore>,
    audit: Option<Audit>,
}

/// A request that is being answered, as the audit log knows it.
#[derive(Debug)]
struct Asked {
    peer: SocketAddr,
    request_id: RequestId,
    routed: Option<Routed>,
    administrator: Option<Administrator>,
}

impl Admin {
    /// What administers `registry` for the issuer behind `face`.
    pub(crate) fn new(
        face: Arc<Face<Issuer>>,
        registry: Registry,
        keys: SigningKeys,
        expectations: Expectations,
        audit: Option<Audit>,
    ) -> Self {
        let guard = Guard::new(expectations, face.endpoint());
        let stored = Arc::new(Stored { registry, keys: Mutex::new(keys) });
        Self { face, stored, guard, turns: Arc::new(Semaphore::new(TURNS)), audit }
    }

    /// Answers one request.
    pub(crate) async fn answer<B>(self: &Arc<Self>, request: Request<B>, peer: SocketAddr) -> Answer
    where
        B: Body<Data = Bytes> + Send,
        B::Error: std::error::Error,
    {
        let request_id = self.face.next_request_id();
        let mut asked = Asked { peer, request_id, routed: None, administrator: None };
        let has_body = !request.body().is_end_stream();
        let (answered, body) = self.answer_to(request, &mut asked).await;
        let mut answer = answered.unwrap_or_else(|problem| {
            self.tell_refusal(&problem, &asked);
            problem.into_answer()
        });
        if has_body && body == BodyOutcome::Refused {
            close_after(&mut answer);
        }
        request_id.write_to(&mut answer);
        answer
    }

    async fn answer_to<B>(
        self: &Arc<Self>,
        request: Request<B>,
        asked: &mut Asked,
    ) -> (Result<Answer, Problem>, BodyOutcome)
    where
        B: Body<Data = Bytes> + Send,
        B::Error: std::error::Error,
    {
        if let Err(reason) = check_head(request.version(), request.headers()) {
            return (Err(Problem::new(Code::InvalidRequest, reason)), BodyOutcome::Refused);
        }
        let (head, body) = request.into_parts();
        let admitted = route(&head.method, head.uri.path()).and_then(|routed| {
            let operation = routed.operation;
            asked.routed = Some(routed.clone());
            if operation.access() != Access::Open {
                let now = self.face.endpoint().clock.now();
                let certificate = head.extensions.get::<Arc<ClientCertificate>>().map(Arc::as_ref);
                let admitted = self.guard.admit(&head.headers, certificate, operation.access(), now);
                asked.administrator = Some(admitted?);
            }
            let if_match = IfMatch::parse(&head.headers)?;
            if operation.has_body() {
                check_type(operation, &head.headers)?;
            }
            Ok((routed, if_match))
        });
        let (routed, if_match) = match admitted {
            Ok(admitted) => admitted,
            Err(problem) => return (Err(problem), BodyOutcome::Refused),
        };
        if !routed.operation.has_body() {
            let call = Call::new(routed, head.uri.query(), if_match, None);
            return (self.perform(call, asked).await, BodyOutcome::Refused);
        }
        let collected = timeout(self.face.limits().body_timeout, self.face.collect(body)).await;
        let body = match collected.unwrap_or(Err(RefusedBody::Slow)) {
            Ok(body) => body,
            Err(refused) => return (Err(refused_body(refused)), BodyOutcome::Refused),
        };
        let answered = match object(&body) {
            Ok(members) => {
                let call = Call::new(routed, head.uri.query(), if_match, Some(members));
                self.perform(call, asked).await
            }
            Err(problem) => Err(problem),
        };
        (answered, BodyOutcome::Read)
    }

    async fn perform(self: &Arc<Self>, call: Call, asked: &Asked) -> Result<Answer, Problem> {
        if call.operation() == Operation::Description {
            let body = Bytes::from_static(DESCRIPTION.as_bytes());
            return Ok(with_bytes(StatusCode::OK, body, HeaderValue::from_static("application/json")));
        }
        let (admin, peer, request_id) = (Arc::clone(self), asked.peer, asked.request_id);
        let actor = asked.administrator.clone();
        // In a task of its own, what was begun is brought to its end and told, though the caller may be gone.
        let performing =
            tokio::spawn(async move { admin.perform_to_its_end(call, actor, peer, request_id).await });
        performing.await.unwrap_or_else(|_| {
            Err(Problem::new(
                Code::ServerError,
                "a fault of this program; look at what was done before you try again",
            ))
        })
    }

    async fn perform_to_its_end(
        &self,
        call: Call,
        actor: Option<Administrator>,
        peer: SocketAddr,
        request_id: RequestId,
    ) -> Result<Answer, Problem> {
        let issuer = self.face.endpoint();
        let now = issuer.clock.now();
        let turn = timeout(TURN_TIMEOUT, Arc::clone(&self.turns).acquire_owned()).await;
        let busy =
            || Problem::new(Code::Busy, "others administer at the same time; nothing was done, try again");
        let Ok(Ok(turn)) = turn else { return Err(busy()) };
        let stored = Arc::clone(&self.stored);
        let performed = tokio::task::spawn_blocking(move || {
            let outcome = call.perform(&stored, now);
            drop(turn);
            outcome
        });
        let outcome = performed
            .await
            .unwrap_or_else(|_| Err(Problem::new(Code::ServerError, "a fault of this program")))?;
        self.tell(&outcome, actor.as_ref(), peer, request_id);
        match outcome.effect {
            Effect::Nothing => {}
            Effect::Gives(change) => {
                issuer.authenticator.watch.wait_for(change).await;
            }
            Effect::Takes(change) => {
                let seen = issuer.authenticator.watch.wait_for(change).await;
                if !seen {
                    return Err(Problem::new(
                        Code::Unavailable,
                        "the change is made, but this server cannot read it back: until it can, it goes on with what was before",
                    ));
                }
            }
        }
        Ok(outcome.into_answer())
    }

    fn tell(
        &self,
        outcome: &Outcome,
        actor: Option<&Administrator>,
        peer: SocketAddr,
        request_id: RequestId,
    ) {
        let actor = actor.map_or("nobody", |actor| actor.0.as_str());
        for told in &outcome.told {
            let client_id = (!told.client_id.is_empty()).then(|| printable(&told.client_id));
            let client_id = client_id.as_deref();
            tracing::info!(
                event = told.event.as_str(),
                actor,
                client_id,
                detail = told.detail.as_deref(),
                %peer,
                request_id = request_id.as_str(),
                "administered"
            );
            if let Some(audit) = &self.audit {
                let record = audit
                    .record(told.event)
                    .text("request_id", request_id.as_str())
                    .text("actor", actor)
                    .text_of("client_id", client_id)
                    .text_of("detail", told.detail.as_deref())
                    .text("outcome", "done")
                    .address("peer", peer);
                audit.add(&record);
            }
        }
    }

    /// Refusals of those who may not, and of changes, are told; that something is not there to be read is not.
    fn tell_refusal(&self, problem: &Problem, asked: &Asked) {
        let changes =
            asked.routed.as_ref().is_some_and(|routed| routed.operation.access() == Access::Changing);
        let may_not = matches!(problem.code.status(), StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN);
        let actor = asked.administrator.as_ref().map(|actor| actor.0.as_str());
        let code = problem.code.as_str();
        tracing::info!(error = code, actor, peer = %asked.peer, request_id = asked.request_id.as_str(), "not administered");
        let (Some(audit), Some(routed), true) = (&self.audit, &asked.routed, changes || may_not) else {
            return;
        };
        let detail = format!("{} {}", routed.operation.method(), routed.operation.template());
        let client_id = (!routed.client_id.is_empty()).then(|| printable(&routed.client_id));
        let record = audit
            .record(Event::AdminRefused)
            .text("request_id", asked.request_id.as_str())
            .text_of("actor", actor)
            .text_of("client_id", client_id.as_deref())
            .text("detail", &detail)
            .text("outcome", code)
            .address("peer", asked.peer);
        audit.add(&record);
    }
}

fn refused_body(refused: RefusedBody) -> Problem {
    match refused {
        RefusedBody::TooLong => Problem::new(Code::BodyTooLong, "the body is too long"),
        RefusedBody::Slow => Problem::new(Code::BodySlow, "the body did not arrive in time"),
        RefusedBody::Broken => Problem::new(Code::InvalidRequest, "the body did not arrive whole"),
    }
}
