//! Requests about tokens: `/oauth/introspect` and `/oauth/revoke`, read and refused like token requests.

use super::asked::{Asked, Caller};
use super::head::is_form;
use super::{Answer, BodyOutcome, Face, Panicked, catch_panic, credential, reply, shown};
use crate::audit::Event;
use crate::client_certificate::ClientCertificate;
use crate::endpoint::{
    Introspected, RevocationEffect, Revoked, TokenCall, TokenEndpoint, TokenInquiry, TokenRefusal,
};
use crate::inquiry_counters::Inquired;
use bytes::Bytes;
use http::Method;
use http::header::{ACCEPT, CONTENT_TYPE, HeaderValue};
use http::request::Parts;
use http_body::Body;
use jeton_proto::issuance::Rule;
use jeton_proto::wire::error_response::ErrorCode;
use jeton_proto::wire::introspection::{AnswerForm, JWT_CONTENT_TYPE};
use jeton_proto::wire::presented_token::PresentedToken;
use std::pin::Pin;
use std::sync::Arc;

/// Which endpoint is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Inquiry {
    Introspection,
    Revocation,
}

impl<E: TokenEndpoint> Face<E> {
    pub(super) async fn inquire<B>(
        &self,
        inquiry: Inquiry,
        head: &Parts,
        body: Pin<&mut B>,
        asked: &Asked<'_>,
    ) -> (Answer, BodyOutcome)
    where
        B: Body<Data = Bytes> + Send,
        B::Error: std::error::Error,
    {
        if head.method != Method::POST {
            let unread = if body.is_end_stream() { BodyOutcome::Read } else { BodyOutcome::Refused };
            return (self.inquiry_method_not_allowed(inquiry, asked), unread);
        }
        let body = match self.read(body).await {
            Ok(body) => body,
            Err(refused) => {
                let answer = self.refuse_inquiry(inquiry, &refused.refusal(), Caller::default(), asked);
                return (refused.finish(answer), BodyOutcome::Refused);
            }
        };
        let caught = catch_panic(self.inquiry_for(inquiry, head, &body, asked)).await;
        let answer = caught.unwrap_or_else(|Panicked| {
            let refusal = TokenRefusal::server_error("a panic while the request was answered");
            self.refuse_inquiry(inquiry, &refusal, Caller::default(), asked)
        });
        (answer, BodyOutcome::Read)
    }

    async fn inquiry_for(&self, inquiry: Inquiry, head: &Parts, body: &[u8], asked: &Asked<'_>) -> Answer {
        let invalid_request =
            |rule, text: String| TokenRefusal::new(ErrorCode::InvalidRequest, text).by(rule);
        if !is_form(&head.headers) {
            let text = "the content type must be application/x-www-form-urlencoded".to_owned();
            let refusal = invalid_request(Rule::ContentType, text);
            return self.refuse_inquiry(inquiry, &refusal, Caller::default(), asked);
        }
        let presented = match PresentedToken::parse(body) {
            Ok(presented) => presented,
            Err(error) => {
                let refusal = invalid_request(Rule::FormMalformed, error.to_string());
                return self.refuse_inquiry(inquiry, &refusal, Caller::default(), asked);
            }
        };
        let credential = match credential::presented(&head.headers, &presented.client) {
            Ok(credential) => credential,
            Err(refusal) => {
                let caller = Caller { client_id: presented.client.client_id.as_deref(), method: None };
                return self.refuse_inquiry(inquiry, &refusal, caller, asked);
            }
        };
        let caller = Caller::of(&presented.client, &credential);
        let peer = asked.peer.address;
        let certificate = head.extensions.get::<Arc<ClientCertificate>>().map(Arc::as_ref);
        let call = TokenCall { request: &presented.client, credential: &credential, peer, certificate };
        let token = TokenInquiry { call, token: &presented.token };
        let answered = match inquiry {
            Inquiry::Introspection => {
                let accept = head.headers.get_all(ACCEPT).iter().filter_map(|field| field.to_str().ok());
                let answer = self.endpoint.introspect(token, AnswerForm::accepted(accept)).await;
                answer.map(|introspected| self.tell(introspected, asked))
            }
            Inquiry::Revocation => {
                let answer = self.endpoint.revoke(token).await;
                answer.map(|revoked| self.acknowledge(&revoked, caller, asked))
            }
        };
        answered.unwrap_or_else(|refusal| self.refuse_inquiry(inquiry, &refusal, caller, asked))
    }

    fn tell(&self, introspected: Introspected, asked: &Asked<'_>) -> Answer {
        let active = introspected.inactive.is_none();
        self.inquiry_counters.count(if active { Inquired::Active } else { Inquired::Inactive });
        tracing::debug!(
            client_id = &*shown(&introspected.caller),
            active,
            reason = introspected.inactive.as_deref().map(shown).as_deref(),
            peer = %asked.peer.address,
            request_id = asked.id.as_str(),
            "token introspected"
        );
        let mut answer = reply::told(introspected.body);
        if introspected.form == AnswerForm::Jwt {
            answer.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(JWT_CONTENT_TYPE));
        }
        answer
    }

    fn acknowledge(&self, revoked: &Revoked, caller: Caller<'_>, asked: &Asked<'_>) -> Answer {
        let (counted, effect) = match &revoked.effect {
            RevocationEffect::Revoked { .. } => (Inquired::Revoked, "revoked"),
            RevocationEffect::RevokedBefore => (Inquired::RevokedNothing, "revoked before"),
            RevocationEffect::Nothing(reason) => (Inquired::RevokedNothing, reason.as_str()),
        };
        self.inquiry_counters.count(counted);
        let client_id = shown(&revoked.caller);
        tracing::info!(
            client_id = &*client_id,
            effect = &*shown(effect),
            peer = %asked.peer.address,
            request_id = asked.id.as_str(),
            "token revocation"
        );
        if let (Some(audit), RevocationEffect::Revoked { jwt_id }) = (&self.audit, &revoked.effect) {
            let record = audit.record(Event::TokenRevoked);
            let caller = Caller { client_id: Some(&client_id), ..caller };
            audit.add(&asked.revoked(record, jwt_id, caller, asked.elapsed()));
        }
        // RFC 7009 §2.2: the client is told by the status alone.
        reply::told(Bytes::from_static(b"{}"))
    }

    /// An error of RFC 6749 §5.2, which RFC 7662 §2.3 and RFC 7009 §2.2.1 use too.
    pub(super) fn refuse_inquiry(
        &self,
        inquiry: Inquiry,
        refusal: &TokenRefusal,
        caller: Caller<'_>,
        asked: &Asked<'_>,
    ) -> Answer {
        let (counted, event, message) = match (inquiry, &refusal.code, refusal.limit) {
            (Inquiry::Introspection, _, _) => {
                (Inquired::IntrospectionRefused, Event::IntrospectionRefused, "introspection refused")
            }
            (Inquiry::Revocation, ErrorCode::TemporarilyUnavailable, None)
                if refusal.rule == Rule::RevocationShareUsed =>
            {
                (Inquired::RevocationShareUsed, Event::RevocationRefused, "token not revoked")
            }
            (Inquiry::Revocation, ErrorCode::TemporarilyUnavailable, None) => {
                (Inquired::RevocationUnavailable, Event::RevocationRefused, "token not revoked")
            }
            (Inquiry::Revocation, _, _) => {
                (Inquired::RevocationRefused, Event::RevocationRefused, "revocation refused")
            }
        };
        self.inquiry_counters.count(counted);
        self.tell_refusal(event, message, refusal, caller, asked)
    }

    fn inquiry_method_not_allowed(&self, inquiry: Inquiry, asked: &Asked<'_>) -> Answer {
        let description = match inquiry {
            Inquiry::Introspection => "the introspection endpoint takes POST requests alone",
            Inquiry::Revocation => "the revocation endpoint takes POST requests alone",
        };
        let refusal = TokenRefusal::new(ErrorCode::InvalidRequest, description).by(Rule::MethodNotAllowed);
        let mut answer = self.refuse_inquiry(inquiry, &refusal, Caller::default(), asked);
        reply::allow(&mut answer, HeaderValue::from_static("POST"));
        answer
    }
}
