//! The JWK Set that a server shows, which changes while it is shown (RFC 7517 §5).

use super::{Answer, reply};
use ::http::StatusCode;
use ::http::header::{CACHE_CONTROL, ETAG, HeaderMap, HeaderValue, IF_NONE_MATCH};
use arc_swap::ArcSwap;
use aws_lc_rs::digest::{SHA256, digest};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use bytes::Bytes;
use http_body_util::Full;
use std::sync::Arc;
use std::time::Duration;

/// A JWK Set with its `ETag`, for verifiers that keep it for a while and then ask whether it is still the same (RFC 9111).
#[derive(Debug)]
pub struct PublishedKeys {
    document: ArcSwap<Document>,
    cache_control: HeaderValue,
}

#[derive(Debug)]
struct Document {
    body: Bytes,
    etag: HeaderValue,
}

impl PublishedKeys {
    /// The JWK Set `jwks`, which verifiers may keep for `max_age`, in whole seconds.
    #[must_use]
    pub fn new(jwks: Vec<u8>, max_age: Duration) -> Self {
        let cache_control = HeaderValue::try_from(format!("public, max-age={}", max_age.as_secs()));
        Self {
            document: ArcSwap::from_pointee(Document::new(jwks)),
            cache_control: cache_control.unwrap_or(HeaderValue::from_static("no-cache")),
        }
    }

    /// Shows `jwks` from now on.
    pub fn publish(&self, jwks: Vec<u8>) {
        self.document.store(Arc::new(Document::new(jwks)));
    }

    /// The answer to a request with these headers: the set, or 304 for a caller that has it (RFC 9110 §13.1.2).
    pub(super) fn answer(&self, headers: &HeaderMap) -> Answer {
        let document = self.document.load();
        let mut answer = if document.is_known(headers) {
            let mut unchanged = Answer::new(Full::default());
            *unchanged.status_mut() = StatusCode::NOT_MODIFIED;
            unchanged
        } else {
            reply::document(&document.body, HeaderValue::from_static("application/jwk-set+json"))
        };
        answer.headers_mut().insert(CACHE_CONTROL, self.cache_control.clone());
        answer.headers_mut().insert(ETAG, document.etag.clone());
        answer
    }
}

impl Document {
    fn new(body: Vec<u8>) -> Self {
        let etag = format!("\"{}\"", URL_SAFE_NO_PAD.encode(digest(&SHA256, &body)));
        let etag = HeaderValue::try_from(etag).unwrap_or(HeaderValue::from_static("\"\""));
        Self { body: body.into(), etag }
    }

    /// Whether `If-None-Match` names it. Validators are compared weakly there, and a tag of ours has no comma.
    fn is_known(&self, headers: &HeaderMap) -> bool {
        let lists = headers.get_all(IF_NONE_MATCH).iter().filter_map(|list| list.to_str().ok());
        lists
            .flat_map(|list| list.split(','))
            .map(str::trim)
            .any(|tag| tag == "*" || tag.strip_prefix("W/").unwrap_or(tag).as_bytes() == self.etag.as_bytes())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(keys: &PublishedKeys, known: &[&str]) -> Answer {
        let mut headers = HeaderMap::new();
        for tags in known {
            headers.append(IF_NONE_MATCH, tags.parse().unwrap());
        }
        keys.answer(&headers)
    }

    #[test]
    fn who_has_the_set_is_told_that_it_is_the_same_until_it_is_not() {
        let keys = PublishedKeys::new(b"{\"keys\":[]}".to_vec(), Duration::from_mins(2));
        let first = answer(&keys, &[]);
        let tag = first.headers()[ETAG].to_str().unwrap().to_owned();
        assert_eq!(first.headers()[CACHE_CONTROL], "public, max-age=120");
        assert!(tag.starts_with('"') && tag.ends_with('"') && tag.len() == 45, "a strong tag: {tag}");
        let weak = format!("W/{tag}");
        let among = format!("\"other\" , {tag}");
        for known in [&[tag.as_str()][..], &[&weak], &["*"], &[&among], &["\"x\"", &tag]] {
            let again = answer(&keys, known);
            assert_eq!(
                (again.status(), &again.headers()[ETAG]),
                (StatusCode::NOT_MODIFIED, &first.headers()[ETAG])
            );
            assert_eq!(again.headers()[CACHE_CONTROL], "public, max-age=120");
        }
        for unknown in [tag.trim_matches('"'), "\"\"", "", "W/", &tag.to_lowercase()] {
            assert_eq!(answer(&keys, &[unknown]).status(), StatusCode::OK, "{unknown}");
        }
        keys.publish(b"{\"keys\":[{}]}".to_vec());
        let changed = answer(&keys, &[&tag]);
        assert_eq!(changed.status(), StatusCode::OK);
        assert_ne!(changed.headers()[ETAG], first.headers()[ETAG]);
    }
}
