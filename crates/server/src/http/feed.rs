//! The signed list of revoked tokens. It is public like the keys: whoever has not seen a token learns nothing from it.

use super::{Answer, Face, Panicked, catch_panic, reply};
use crate::endpoint::{RevocationFeedPage, TokenEndpoint, TokenRefusal};
use crate::inquiry_counters::Inquired;
use http::header::{CACHE_CONTROL, CONTENT_TYPE, ETAG, HeaderMap, HeaderValue, IF_NONE_MATCH};
use http::{Response, StatusCode};
use http_body_util::Full;
use jeton_proto::revocation::{ChangeMark, FeedPosition};
use jeton_proto::wire::error_response::ErrorCode;

const CONTENT: HeaderValue = HeaderValue::from_static("application/jeton-revocations+jwt");
/// How long a cache may give out a page without asking: a revocation takes so much longer to be known.
const CACHING: HeaderValue = HeaderValue::from_static("public, max-age=2");

impl<E: TokenEndpoint> Face<E> {
    pub(super) async fn revocations(&self, query: Option<&str>, headers: &HeaderMap) -> Answer {
        let Some(position) = position(query.unwrap_or_default()) else {
            let text = "the parameters since and mark must be those of one earlier answer";
            return reply::refusal(&TokenRefusal::new(ErrorCode::InvalidRequest, text));
        };
        let page = catch_panic(self.endpoint.revocations(position)).await;
        let panicked =
            |Panicked| Err(TokenRefusal::server_error("a panic while the revoked tokens were listed"));
        let page = match page.unwrap_or_else(panicked) {
            Ok(page) => page,
            Err(refusal) => {
                tracing::error!(detail = refusal.detail.as_deref(), "the revoked tokens cannot be listed");
                return reply::refusal(&refusal);
            }
        };
        self.answer_with(page, headers)
    }

    fn answer_with(&self, page: RevocationFeedPage, headers: &HeaderMap) -> Answer {
        let known = is_known(headers, &page.tag);
        self.inquiry_counters.count(if known { Inquired::FeedUnchanged } else { Inquired::FeedSent });
        let mut answer = Response::new(Full::new(if known { bytes::Bytes::new() } else { page.jwt }));
        let fields = answer.headers_mut();
        fields.insert(CACHE_CONTROL, CACHING);
        if let Ok(tag) = HeaderValue::try_from(format!("\"{}\"", page.tag)) {
            fields.insert(ETAG, tag);
        }
        if known {
            *answer.status_mut() = StatusCode::NOT_MODIFIED;
        } else {
            answer.headers_mut().insert(CONTENT_TYPE, CONTENT);
        }
        answer
    }
}

/// Where the query says that its sender stands; at the beginning without a `since`. Parameters that are not known are passed
/// over, as proxies add some.
fn position(query: &str) -> Option<FeedPosition> {
    let through = match only(query, "since=").ok()? {
        None => 0,
        Some(digits) if digits.bytes().all(|byte| byte.is_ascii_digit()) => digits.parse().ok()?,
        Some(_) => return None,
    };
    let mark = match only(query, "mark=").ok()? {
        None => None,
        Some(text) => Some(ChangeMark::parse(text)?),
    };
    Some(FeedPosition { through, mark })
}

struct Repeated;

/// The one value of a parameter, if it is there.
fn only<'q>(query: &'q str, name: &str) -> Result<Option<&'q str>, Repeated> {
    let mut values = query.split('&').filter_map(|pair| pair.strip_prefix(name));
    let first = values.next();
    if values.next().is_none() { Ok(first) } else { Err(Repeated) }
}

/// RFC 9110 §13.1.2, by weak comparison.
fn is_known(headers: &HeaderMap, tag: &str) -> bool {
    let fields = headers.get_all(IF_NONE_MATCH).iter().filter_map(|field| field.to_str().ok());
    fields.flat_map(|field| field.split(',')).map(str::trim).any(|known| {
        let quoted = known.strip_prefix("W/").unwrap_or(known);
        known == "*" || quoted.strip_prefix('"').and_then(|rest| rest.strip_suffix('"')) == Some(tag)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_query_has_one_number_and_one_mark_at_most() {
        let since = |query| position(query).map(|position| position.through);
        for (query, number) in [
            ("", Some(0)),
            ("since=0", Some(0)),
            ("since=17", Some(17)),
            ("since=17&cache=1", Some(17)),
            ("x&since=18446744073709551615", Some(u64::MAX)),
            ("since=18446744073709551616", None),
            ("since=", None),
            ("since=-1", None),
            ("since=+1", None),
            ("since=1&since=1", None),
            ("since=%31", None),
            ("since=1e3", None),
        ] {
            assert_eq!(since(query), number, "{query}");
        }
        let mark = Some(ChangeMark::from_bytes([0; 9]));
        for (query, expected) in [
            ("since=7&mark=AAAAAAAAAAAA", Some(FeedPosition { through: 7, mark })),
            ("mark=AAAAAAAAAAAA", Some(FeedPosition { through: 0, mark })),
            ("since=7", Some(FeedPosition { through: 7, mark: None })),
            ("since=7&mark=", None),
            ("since=7&mark=AAAAAAAAAAA", None),
            ("since=7&mark=AAAAAAAAAAAA&mark=AAAAAAAAAAAA", None),
            ("since=7&mark=AAAAAAAAAAA%41", None),
        ] {
            assert_eq!(position(query), expected, "{query}");
        }
    }

    #[test]
    fn an_entity_tag_is_compared_weakly() {
        let known = |field: &str| {
            let mut headers = HeaderMap::new();
            headers.insert(IF_NONE_MATCH, HeaderValue::try_from(field).unwrap());
            is_known(&headers, "1-2-3")
        };
        for field in ["\"1-2-3\"", "W/\"1-2-3\"", "\"x\", \"1-2-3\"", "*"] {
            assert!(known(field), "{field}");
        }
        for field in ["1-2-3", "\"1-2\"", "\"\"", "\"1-2-3", "w/\"1-2-3\""] {
            assert!(!known(field), "{field}");
        }
    }
}
