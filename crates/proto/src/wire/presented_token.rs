//! Requests about a token: what a client presents to the introspection endpoint (RFC 7662 §2.1) and to the revocation
//! endpoint (RFC 7009 §2.1). Both have the same parameters and are read as strictly as token requests.

use super::form::{self, Parameter, Repetition};
use super::token_request::{Known, TokenRequest, TokenRequestError};
use crate::secret::Secret;
use std::borrow::Cow;

/// A token, and the client that presents it.
///
/// ```
/// use jeton_proto::wire::presented_token::PresentedToken;
///
/// let request = PresentedToken::parse(b"token=a.b.c&token_type_hint=access_token&client_id=api")?;
/// assert_eq!(request.token.expose(), "a.b.c");
/// assert_eq!(request.client.client_id.as_deref(), Some("api"));
/// # Ok::<(), jeton_proto::wire::token_request::TokenRequestError>(())
/// ```
#[derive(Debug)]
pub struct PresentedToken<'a> {
    /// `token`, which may be anything.
    pub token: Secret<String>,
    /// `token_type_hint`. A hint is not a condition: whoever finds nothing by it looks further (RFC 7009 §2.1).
    pub token_type_hint: Option<Cow<'a, str>>,
    /// How the client says who it is: the parameters of client authentication, which are those of a token request.
    /// Nothing else of a token request is in here.
    pub client: TokenRequest<'a>,
}

impl<'a> PresentedToken<'a> {
    /// Reads a body of the type `application/x-www-form-urlencoded`.
    ///
    /// Every error is an `invalid_request` of RFC 6749 §5.2, and its text repeats nothing that the caller sent.
    pub fn parse(body: &'a [u8]) -> Result<Self, TokenRequestError> {
        let mut token = None;
        let mut token_type_hint = None;
        let mut client = TokenRequest::default();
        form::read(body, |parameter, value: Cow<'a, str>| match parameter {
            Presented::Token => token = Some(Secret::new(value.into_owned())),
            Presented::TokenTypeHint => token_type_hint = Some(value),
            Presented::Client(known) => client.set(known, value),
        })?;
        let token = token.ok_or(TokenRequestError::Missing { name: Presented::Token.as_str() })?;
        Ok(Self { token, token_type_hint, client })
    }
}

#[derive(Clone, Copy, PartialEq)]
enum Presented {
    Token,
    TokenTypeHint,
    Client(Known),
}

impl Parameter for Presented {
    fn named(name: &str) -> Option<Self> {
        match name {
            "token" => Some(Self::Token),
            "token_type_hint" => Some(Self::TokenTypeHint),
            _ => match Known::named(name)? {
                known @ (Known::ClientId
                | Known::ClientSecret
                | Known::ClientAssertionType
                | Known::ClientAssertion) => Some(Self::Client(known)),
                Known::GrantType | Known::Scope | Known::Resource | Known::Audience => None,
            },
        }
    }

    fn as_str(self) -> &'static str {
        match self {
            Self::Token => "token",
            Self::TokenTypeHint => "token_type_hint",
            Self::Client(known) => known.as_str(),
        }
    }

    fn repetition(self) -> Repetition {
        Repetition::Refused
    }
}

#[cfg(test)]
mod tests {
    use super::super::token_request::{MAX_BODY_BYTES, MAX_PARAMETERS, MAX_VALUE_BYTES};
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_examples_of_the_rfcs_are_read() {
        // RFC 7662 §2.1 and RFC 7009 §2.1.
        for (body, token, hint) in [
            (&b"token=2YotnFZFEjr1zCsicMWpAA"[..], "2YotnFZFEjr1zCsicMWpAA", None),
            (b"token=mF_9.B5f-4.1JqM&token_type_hint=access_token", "mF_9.B5f-4.1JqM", Some("access_token")),
            (
                b"token=45ghiukldjahdnhzdauz&token_type_hint=refresh_token",
                "45ghiukldjahdnhzdauz",
                Some("refresh_token"),
            ),
        ] {
            let read = PresentedToken::parse(body).unwrap();
            assert_eq!((read.token.expose().as_str(), read.token_type_hint.as_deref()), (token, hint));
            assert_eq!(read.client, TokenRequest::default());
        }
    }

    #[test]
    fn what_is_of_a_token_request_alone_is_passed_over() {
        let body =
            b"token=t&grant_type=x&scope=y&resource=z&audience=q&client_id=c&client_secret=s&unknown=1";
        let read = PresentedToken::parse(body).unwrap();
        let client = TokenRequest {
            client_id: Some("c".into()),
            client_secret: Some(Secret::from("s")),
            ..TokenRequest::default()
        };
        assert_eq!(read.client, client);
    }

    #[test]
    fn t36_whatever_could_be_read_in_two_ways_is_refused() {
        let parse = |body: &[u8]| PresentedToken::parse(body).map(|_| ()).unwrap_err();
        for (body, error) in [
            (&b"token=a&token=b"[..], TokenRequestError::Repeated { name: Some("token") }),
            (b"token=a&to%6ben=b", TokenRequestError::Repeated { name: Some("token") }),
            (b"token=a&client_id=a&client_id=a", TokenRequestError::Repeated { name: Some("client_id") }),
            (b"token=a&resource=a&resource=a", TokenRequestError::Repeated { name: None }),
            (b"token=a&x=1&x=2", TokenRequestError::Repeated { name: None }),
            (b"", TokenRequestError::Missing { name: "token" }),
            (b"token=", TokenRequestError::Missing { name: "token" }),
            (b"token_type_hint=access_token", TokenRequestError::Missing { name: "token" }),
            (b"token=%", TokenRequestError::PercentEncoding),
            (b"token=%FF", TokenRequestError::Utf8),
            (b"token=%00", TokenRequestError::Nul),
        ] {
            assert_eq!(parse(body), error, "{}", body.escape_ascii());
        }
        let long = format!("token={}", "a".repeat(MAX_VALUE_BYTES + 1));
        assert_eq!(parse(long.as_bytes()), TokenRequestError::ParameterTooLong);
        let many = format!("token=a{}", "&=".repeat(MAX_PARAMETERS));
        assert!(matches!(
            parse(many.as_bytes()),
            TokenRequestError::TooManyParameters | TokenRequestError::Repeated { .. }
        ));
        let huge = vec![b'a'; MAX_BODY_BYTES + 1];
        assert_eq!(parse(&huge), TokenRequestError::BodyTooLong { bytes: huge.len() });
    }

    proptest! {
        #[test]
        fn no_body_makes_it_panic(body in proptest::collection::vec(prop_oneof![Just(b'&'), Just(b'='), Just(b'%'), any::<u8>()], 0..300)) {
            let _parsed = PresentedToken::parse(&body);
        }

        #[test]
        fn a_token_is_read_as_it_was_sent(token in "[^\0]{1,80}") {
            let body = form_urlencoded::Serializer::new(String::new()).append_pair("token", &token).finish();
            let read = PresentedToken::parse(body.as_bytes()).unwrap();
            prop_assert_eq!(read.token.expose(), &token);
        }
    }
}
