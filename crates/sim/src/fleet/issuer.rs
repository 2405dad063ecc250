//! The authorization server of a fleet: tokens with numbers, and a few moods.

use bytes::Bytes;
use http::header::RETRY_AFTER;
use http::{HeaderValue, Response, StatusCode};
use std::time::Duration;

/// The client id of every process.
pub const CLIENT_ID: &str = "canary-client-id";
/// Its secret.
pub const SECRET: &str = "canary-client-secret";
/// What every token begins with.
pub const TOKEN: &str = "canary-token-";

/// How it answers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Mood {
    /// With tokens.
    #[default]
    Well,
    /// 503.
    Failing,
    /// 429, with a pause.
    Throttling {
        /// `Retry-After`, in seconds.
        seconds: u64,
    },
    /// Not at all.
    Silent,
}

/// One token.
#[derive(Clone, Copy, Debug)]
pub struct Grant {
    /// For which key.
    pub key: u8,
    /// When it was asked for.
    pub asked_ms: u64,
    /// When it dies.
    pub dies_at_ms: u64,
    /// Whether APIs refuse it.
    pub revoked: bool,
}

/// The server.
#[derive(Debug, Default)]
pub struct Issuer {
    /// Its mood.
    pub mood: Mood,
    grants: Vec<Grant>,
}

impl Issuer {
    /// The grant with this number; the first is number 0.
    pub fn grant(&self, number: usize) -> Option<Grant> {
        self.grants.get(number).copied()
    }

    /// Every grant for this key, the newest first.
    pub fn grants_of(&self, key: u8) -> impl Iterator<Item = (usize, Grant)> {
        let numbered = self.grants.iter().copied().enumerate().rev();
        numbered.filter(move |(_, grant)| grant.key == key)
    }

    /// APIs refuse this token from now on.
    pub fn revoke(&mut self, number: usize) {
        if let Some(grant) = self.grants.get_mut(number) {
            grant.revoked = true;
        }
    }

    /// The answer to a request for `key` that was sent at `asked_ms` and arrives now; nothing when there is none. With the number
    /// of the token that it has.
    pub fn answer(
        &mut self,
        key: u8,
        asked_ms: u64,
        now_ms: u64,
        life: Duration,
    ) -> Option<(Response<Bytes>, Option<usize>)> {
        let plain = |status: StatusCode, body: String| {
            let mut answer = Response::new(Bytes::from(body));
            *answer.status_mut() = status;
            answer
        };
        match self.mood {
            Mood::Silent => None,
            Mood::Failing => Some((plain(StatusCode::SERVICE_UNAVAILABLE, String::new()), None)),
            Mood::Throttling { seconds } => {
                let mut answer = plain(StatusCode::TOO_MANY_REQUESTS, String::new());
                answer.headers_mut().insert(RETRY_AFTER, HeaderValue::from(seconds));
                Some((answer, None))
            }
            Mood::Well => {
                let number = self.grants.len();
                let dies_at_ms = now_ms + crate::clock::millis(life);
                self.grants.push(Grant { key, asked_ms, dies_at_ms, revoked: false });
                let body = format!(
                    r#"{{"access_token":"{TOKEN}{number}","token_type":"Bearer","expires_in":{}}}"#,
                    life.as_secs()
                );
                Some((plain(StatusCode::OK, body), Some(number)))
            }
        }
    }
}

/// The number of a token.
pub fn number_of(token: &str) -> Option<usize> {
    token.strip_prefix(TOKEN).and_then(|digits| digits.parse().ok())
}
