//! A request as the log and the audit log know it.

use super::Answer;
use crate::audit::{Members, Record};
use crate::endpoint::{IssuedToken, PresentedCredential, TokenRefusal};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use http::header::{HeaderName, HeaderValue};
use jeton_proto::wire::client_auth::ClientAuthMethod;
use jeton_proto::wire::token_request::TokenRequest;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

const X_REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// Who is at the other end of a connection.
#[derive(Debug)]
pub(crate) struct Peer {
    pub(crate) address: SocketAddr,
    /// What the audit log says of it.
    members: Members,
}

impl From<SocketAddr> for Peer {
    fn from(address: SocketAddr) -> Self {
        Self { address, members: Members::default().address("peer", address) }
    }
}

/// A request that is being answered.
#[derive(Debug)]
pub(super) struct Asked<'a> {
    pub(super) peer: &'a Peer,
    pub(super) id: RequestId,
    begun: Instant,
}

/// Who asks, as far as the request tells; nothing of it is believed yet.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Caller<'a> {
    pub(super) client_id: Option<&'a str>,
    pub(super) method: Option<ClientAuthMethod>,
}

impl<'a> Caller<'a> {
    pub(super) fn of(request: &'a TokenRequest<'_>, credential: &'a PresentedCredential<'_>) -> Self {
        Self {
            client_id: credential.client_id().or(request.client_id.as_deref()),
            method: credential.method(),
        }
    }
}

impl<'a> Asked<'a> {
    pub(super) fn new(peer: &'a Peer, id: RequestId) -> Self {
        Self { peer, id, begun: Instant::now() }
    }

    /// How long it has been answered for.
    pub(super) fn elapsed(&self) -> Duration {
        self.begun.elapsed()
    }

    /// What the audit log says of a token that was granted.
    pub(super) fn granted(&self, record: Record, issued: &IssuedToken, took: Duration) -> Record {
        let authentication = &issued.authentication;
        let record = record
            .text("request_id", self.id.as_str())
            .with(issued.granted.members())
            .text("method", authentication.method.as_str())
            .text_of("credential", authentication.credential.as_deref())
            .text("jti", &issued.jwt_id)
            .number("expires_in", issued.expires_in.as_secs());
        self.end(record, took)
    }

    /// What the audit log says of a refusal. Client id and reason are cleaned.
    pub(super) fn refused(
        &self,
        record: Record,
        refusal: &TokenRefusal,
        reason: &str,
        caller: Caller<'_>,
        took: Duration,
    ) -> Record {
        let record = self
            .begin(record, caller)
            .text("error", refusal.code.as_str())
            .text("rule", refusal.rule.id())
            .text("reason", reason);
        self.end(record, took)
    }

    /// What the audit log says of a token that was revoked. The client id is cleaned.
    pub(super) fn revoked(&self, record: Record, jwt_id: &str, caller: Caller<'_>, took: Duration) -> Record {
        self.end(self.begin(record, caller).text("jti", jwt_id), took)
    }

    fn begin(&self, record: Record, caller: Caller<'_>) -> Record {
        record
            .text("request_id", self.id.as_str())
            .text_of("client_id", caller.client_id)
            .text_of("method", caller.method.map(ClientAuthMethod::as_str))
    }

    fn end(&self, record: Record, took: Duration) -> Record {
        let micros = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
        record.with(&self.peer.members).number("duration_us", micros)
    }
}

/// The name of one request, in base64url: unique, and no word about how many there were before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct RequestId([u8; 22]);

impl RequestId {
    pub(crate) fn as_str(&self) -> &str {
        std::str::from_utf8(&self.0).unwrap_or_default()
    }

    pub(crate) fn write_to(&self, answer: &mut Answer) {
        if let Ok(value) = HeaderValue::from_bytes(&self.0) {
            answer.headers_mut().insert(X_REQUEST_ID, value);
        }
    }
}

/// Gives each request its id: a random number of this process, and a counter that is stirred with another one.
#[derive(Debug)]
pub(super) struct RequestIds {
    process: u64,
    stir: u64,
    next: AtomicU64,
}

impl RequestIds {
    pub(super) fn new() -> Self {
        let mut random = [[0; 8]; 2];
        let filled = random.iter_mut().all(|half| aws_lc_rs::rand::fill(half).is_ok());
        let [process, stir] = random.map(u64::from_ne_bytes);
        // Without a random source no token can be signed either; the ids stay unique within the process.
        let process = if filled { process } else { u64::from(std::process::id()) };
        Self { process, stir, next: AtomicU64::new(0) }
    }

    pub(super) fn next(&self) -> RequestId {
        let number = stirred(self.next.fetch_add(1, Ordering::Relaxed) ^ self.stir);
        let mut bytes = [0; 16];
        let (first, second) = bytes.split_at_mut(8);
        first.copy_from_slice(&self.process.to_be_bytes());
        second.copy_from_slice(&number.to_be_bytes());
        let mut text = [b'A'; 22];
        // 16 bytes are 22 characters, always.
        let _infallible = URL_SAFE_NO_PAD.encode_slice(bytes, &mut text);
        RequestId(text)
    }
}

/// The finalizer of `SplitMix64`: one to one, so that different numbers stay different.
const fn stirred(number: u64) -> u64 {
    let number = (number ^ (number >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let number = (number ^ (number >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    number ^ (number >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn request_ids_are_unique_and_do_not_count() {
        let (ids, others) = (RequestIds::new(), RequestIds::new());
        let seen: HashSet<_> = (0..1000).flat_map(|_| [ids.next(), others.next()]).collect();
        assert_eq!(seen.len(), 2000);
        assert!(seen.iter().all(|id| id.as_str().len() == 22 && URL_SAFE_NO_PAD.decode(id.as_str()).is_ok()));
        let tails: Vec<_> = (0..3).map(|_| ids.next().0[14..].to_vec()).collect();
        assert!(tails[0] != tails[1] && tails[1] != tails[2]);
    }
}
