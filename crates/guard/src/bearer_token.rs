//! The one bearer token of a request (RFC 6750 §2.1). The form and query ways of RFC 6750 are not looked at: a token in
//! a URL ends up in logs.

use crate::refusal::Refusal;
use http::HeaderMap;
use http::header::AUTHORIZATION;

/// The token in the `Authorization` field.
pub(crate) fn bearer_token(headers: &HeaderMap) -> Result<&str, Refusal> {
    let mut fields = headers.get_all(AUTHORIZATION).iter();
    let Some(field) = fields.next() else {
        return Err(Refusal::NoCredentials);
    };
    if fields.next().is_some() {
        return Err(Refusal::InvalidRequest("more than one Authorization field"));
    }
    let Ok(credentials) = field.to_str() else {
        return Err(Refusal::InvalidRequest("the Authorization field is not printable ASCII"));
    };
    let (scheme, token) = credentials.split_once(' ').unwrap_or((credentials, ""));
    if !scheme.eq_ignore_ascii_case("Bearer") {
        return Err(Refusal::NoCredentials);
    }
    let token = token.trim_matches(' ');
    if token.is_empty() {
        return Err(Refusal::InvalidRequest("the Authorization field has no token"));
    }
    if token.contains([' ', '\t']) {
        return Err(Refusal::InvalidRequest("the Authorization field has more than one token"));
    }
    Ok(token)
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::HeaderValue;

    fn of(fields: &[&[u8]]) -> Result<String, u16> {
        let mut headers = HeaderMap::new();
        for field in fields {
            headers.append(AUTHORIZATION, HeaderValue::from_bytes(field).unwrap());
        }
        bearer_token(&headers).map(str::to_owned).map_err(|refusal| refusal.status().as_u16())
    }

    #[test]
    fn the_scheme_has_any_case_and_the_token_stays_as_it_is() {
        for field in ["Bearer a.b.c", "bearer a.b.c", "BEARER   a.b.c", "Bearer a.b.c "] {
            assert_eq!(of(&[field.as_bytes()]).as_deref(), Ok("a.b.c"), "{field:?}");
        }
    }

    #[test]
    fn what_is_no_bearer_token_is_as_no_credentials() {
        assert_eq!(of(&[]), Err(401));
        for field in ["Basic YTpi", "", "Bearertoken", "DPoP a.b.c", " Bearer"] {
            assert_eq!(of(&[field.as_bytes()]), Err(401), "{field:?}");
        }
    }

    #[test]
    fn t36_what_cannot_be_read_is_an_invalid_request() {
        for fields in [
            &[b"Bearer a".as_slice(), b"Bearer a"][..],
            &[b"Bearer a", b"Basic YTpi"],
            &[b"Bearer"],
            &[b"Bearer  "],
            &[b"Bearer a b"],
            &[b"Bearer a, Bearer b"],
            &[b"Bearer a\tb"],
            &[b"Bearer \xff\xfe"],
        ] {
            assert_eq!(of(fields), Err(400), "{fields:?}");
        }
    }
}
