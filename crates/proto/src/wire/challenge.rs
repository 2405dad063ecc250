//! `WWW-Authenticate` challenges: parsing any (RFC 9110 §11.6.1), rendering Bearer's (RFC 6750 §3).

use super::scope::Scope;
use std::fmt;

/// The most bytes of `WWW-Authenticate` that are read of one response; the rest is passed over.
pub const MAX_CHALLENGE_BYTES: usize = 16 * 1024;
/// The most challenges that are read of one response.
pub const MAX_CHALLENGES: usize = 32;
/// The most parameters that are read of one challenge.
pub const MAX_PARAMETERS: usize = 32;

/// One challenge of a response.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Challenge {
    scheme: String,
    parameters: Vec<(String, String)>,
}

impl Challenge {
    /// Whether the scheme is `scheme`, in any case.
    pub fn is_scheme(&self, scheme: &str) -> bool {
        self.scheme.eq_ignore_ascii_case(scheme)
    }

    /// The first parameter called `name`, in any case.
    pub fn parameter(&self, name: &str) -> Option<&str> {
        let found = self.parameters.iter().find(|(held, _)| held.eq_ignore_ascii_case(name));
        found.map(|(_, value)| value.as_str())
    }
}

/// Reads the challenges of all `WWW-Authenticate` fields of a response.
///
/// Lenient where servers deviate: values without quotes may hold any byte up to a comma or space, and what cannot be
/// read is passed over. Bounded by [`MAX_CHALLENGE_BYTES`], [`MAX_CHALLENGES`] and [`MAX_PARAMETERS`].
///
/// ```
/// use jeton_proto::wire::challenge::parse_challenges;
///
/// let field: &[u8] = br#"Basic realm="a, b", Bearer error="invalid_token""#;
/// let challenges = parse_challenges([field]);
/// assert_eq!(challenges[0].parameter("realm"), Some("a, b"));
/// assert_eq!(challenges[1].parameter("error"), Some("invalid_token"));
/// ```
pub fn parse_challenges<'a>(fields: impl IntoIterator<Item = &'a [u8]>) -> Vec<Challenge> {
    let mut challenges = Vec::new();
    let mut bytes_left = MAX_CHALLENGE_BYTES;
    for field in fields {
        let field = field.get(..field.len().min(bytes_left)).unwrap_or_default();
        bytes_left -= field.len();
        parse_field(Cursor { rest: field }, &mut challenges);
    }
    challenges
}

fn parse_field(mut cursor: Cursor<'_>, challenges: &mut Vec<Challenge>) {
    let mut current: Option<Challenge> = None;
    while cursor.skip_separators() {
        let word = cursor.word();
        if word.is_empty() {
            // A byte that begins nothing; passing over it keeps the loop moving.
            cursor.bump();
            continue;
        }
        match (cursor.value_follows(), current.as_mut()) {
            (true, Some(challenge)) => {
                let value = cursor.value();
                if challenge.parameters.len() < MAX_PARAMETERS {
                    challenge.parameters.push((lossy(word), value));
                }
            }
            // A parameter before any scheme belongs to nothing.
            (true, None) => drop(cursor.value()),
            (false, _) => {
                push(challenges, current.take());
                cursor.skip_token68();
                current = Some(Challenge { scheme: lossy(word), parameters: Vec::new() });
            }
        }
    }
    push(challenges, current);
}

fn push(challenges: &mut Vec<Challenge>, challenge: Option<Challenge>) {
    if let Some(challenge) = challenge
        && challenges.len() < MAX_CHALLENGES
    {
        challenges.push(challenge);
    }
}

fn lossy(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

struct Cursor<'a> {
    rest: &'a [u8],
}

impl<'a> Cursor<'a> {
    fn bump(&mut self) -> Option<u8> {
        let (first, rest) = self.rest.split_first()?;
        self.rest = rest;
        Some(*first)
    }

    fn take_while(&mut self, wanted: impl Fn(u8) -> bool) -> &'a [u8] {
        let end = self.rest.iter().position(|byte| !wanted(*byte)).unwrap_or(self.rest.len());
        let (taken, rest) = self.rest.split_at(end);
        self.rest = rest;
        taken
    }

    /// Passes over white space and commas; whether anything is left.
    fn skip_separators(&mut self) -> bool {
        self.take_while(|byte| matches!(byte, b' ' | b'\t' | b','));
        !self.rest.is_empty()
    }

    /// A scheme or parameter name.
    fn word(&mut self) -> &'a [u8] {
        self.take_while(|byte| !matches!(byte, b' ' | b'\t' | b',' | b'=' | b'"'))
    }

    /// Whether the word just read is a parameter's name: `=` follows, perhaps after white space. Moves behind it.
    fn value_follows(&mut self) -> bool {
        let mut ahead = Cursor { rest: self.rest };
        ahead.take_while(|byte| matches!(byte, b' ' | b'\t'));
        let follows = ahead.bump() == Some(b'=');
        if follows {
            ahead.take_while(|byte| matches!(byte, b' ' | b'\t'));
            self.rest = ahead.rest;
        }
        follows
    }

    fn value(&mut self) -> String {
        if self.rest.first() == Some(&b'"') {
            self.bump();
            return self.quoted();
        }
        lossy(self.take_while(|byte| !matches!(byte, b' ' | b'\t' | b',')))
    }

    /// A quoted-string (RFC 9110 §5.6.4) behind its opening quote; one without an end runs to the end of the field.
    fn quoted(&mut self) -> String {
        let mut value = Vec::new();
        while let Some(byte) = self.bump() {
            match byte {
                b'"' => break,
                b'\\' => value.extend(self.bump()),
                other => value.push(other),
            }
        }
        lossy(&value)
    }

    /// A token68 behind a scheme (RFC 9110 §11.2): a word with padding that ends the challenge.
    fn skip_token68(&mut self) {
        let mut ahead = Cursor { rest: self.rest };
        if ahead.take_while(|byte| byte == b' ').is_empty() {
            return;
        }
        let word = ahead.word();
        let padding = ahead.take_while(|byte| byte == b'=');
        ahead.take_while(|byte| matches!(byte, b' ' | b'\t'));
        let ends = matches!(ahead.rest.first(), None | Some(b','));
        if !word.is_empty() && ends && (!padding.is_empty() || is_token68(word)) {
            self.rest = ahead.rest;
        }
    }
}

fn is_token68(word: &[u8]) -> bool {
    word.iter()
        .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~' | b'+' | b'/'))
}

/// The `error` codes of RFC 6750 §3.1.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BearerError {
    /// The request is malformed, or carries a token in more than one way: 400.
    InvalidRequest,
    /// The token is expired, revoked, malformed or not for this API: 401.
    InvalidToken,
    /// The token lacks a scope: 403.
    InsufficientScope,
}

impl BearerError {
    /// The code as it stands on the wire.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::InvalidRequest => "invalid_request",
            Self::InvalidToken => "invalid_token",
            Self::InsufficientScope => "insufficient_scope",
        }
    }

    /// The HTTP status that RFC 6750 §3.1 asks for.
    #[must_use]
    pub const fn status(self) -> u16 {
        match self {
            Self::InvalidRequest => 400,
            Self::InvalidToken => 401,
            Self::InsufficientScope => 403,
        }
    }
}

/// A Bearer challenge to send (RFC 6750 §3). Its `Display` is the value of `WWW-Authenticate`: printable ASCII in
/// every case, since what cannot stand in a quoted string is replaced by `?`.
///
/// ```
/// use jeton_proto::wire::challenge::{BearerChallenge, BearerError};
///
/// let challenge = BearerChallenge::new("orders").error(BearerError::InvalidToken, "the token expired");
/// assert_eq!(
///     challenge.to_string(),
///     r#"Bearer realm="orders", error="invalid_token", error_description="the token expired""#
/// );
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BearerChallenge {
    realm: String,
    error: Option<(BearerError, String)>,
    scope: Option<Scope>,
}

impl BearerChallenge {
    /// The challenge for a request without credentials: a realm and no more (RFC 6750 §3.1).
    pub fn new(realm: impl Into<String>) -> Self {
        Self { realm: realm.into(), error: None, scope: None }
    }

    /// Says what was wrong.
    #[must_use]
    pub fn error(mut self, error: BearerError, description: impl Into<String>) -> Self {
        self.error = Some((error, description.into()));
        self
    }

    /// Names the scope that is needed.
    #[must_use]
    pub fn scope(mut self, scope: Scope) -> Self {
        self.scope = Some(scope);
        self
    }
}

impl fmt::Display for BearerChallenge {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Bearer realm={}", Quoted(&self.realm))?;
        if let Some((error, description)) = &self.error {
            write!(f, ", error=\"{}\", error_description={}", error.as_str(), Quoted(description))?;
        }
        if let Some(scope) = &self.scope {
            write!(f, ", scope=\"{scope}\"")?;
        }
        Ok(())
    }
}

/// Text as a quoted-string of the characters that RFC 6750 §3 allows.
struct Quoted<'a>(&'a str);

impl fmt::Display for Quoted<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("\"")?;
        for character in self.0.chars() {
            let allowed = matches!(character, ' '..='!' | '#'..='[' | ']'..='~');
            write!(f, "{}", if allowed { character } else { '?' })?;
        }
        f.write_str("\"")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn parse(fields: &[&str]) -> Vec<Challenge> {
        parse_challenges(fields.iter().map(|field| field.as_bytes()))
    }

    fn error_of(fields: &[&str]) -> Option<String> {
        let challenges = parse(fields);
        let bearer = challenges.iter().find(|challenge| challenge.is_scheme("bearer"))?;
        bearer.parameter("error").map(str::to_owned)
    }

    #[test]
    fn t21_the_error_is_found_in_every_shape_of_challenge() {
        for fields in [
            &[r#"Bearer error="invalid_token""#][..],
            &["Bearer error=invalid_token"],
            &["bearer   ERROR = \"invalid_token\" "],
            &["Bearer realm=\"a\",error=\"invalid_token\",error_description=\"x\""],
            &["Basic realm=\"simple\"", "Bearer error=\"invalid_token\""],
            &["Basic realm=\"a, Bearer error=\\\"no\\\"\", Bearer realm=\"b\", error=\"invalid_token\""],
            &["Negotiate YWJj==, Bearer error=\"invalid_token\""],
            &["Negotiate YWJj, Bearer error=\"invalid_token\""],
            &["Negotiate, Bearer error=\"invalid_token\""],
            &[", ,Bearer error=\"invalid_token\",,"],
            &["Bearer error_description=\"error=insufficient_scope\", error=\"invalid_token\""],
            &["Digest qop=\"auth,auth-int\", nonce=\"x\", Bearer error=\"invalid\\_token\""],
        ] {
            assert_eq!(error_of(fields).as_deref(), Some("invalid_token"), "{fields:?}");
        }
    }

    #[test]
    fn t21_an_error_inside_a_description_or_another_scheme_is_not_ours() {
        for fields in [
            &["Bearer error_description=\"error=\\\"invalid_token\\\"\""][..],
            &["Bearer"],
            &["Basic realm=\"x\", error=\"invalid_token\""],
            &["DPoP error=\"invalid_token\""],
            &["error=\"invalid_token\""],
            &["Bearer realm=\"unterminated, error=invalid_token"],
            &[""],
        ] {
            assert_eq!(error_of(fields), None, "{fields:?}");
        }
    }

    #[test]
    fn what_a_hostile_server_sends_is_bounded() {
        let many = "Bearer a=b, ".repeat(10_000);
        assert_eq!(parse(&[&many, &many]).len(), MAX_CHALLENGES);
        let wide = format!("Bearer {}", "a=b,".repeat(3_000));
        assert_eq!(parse(&[&wide]).first().unwrap().parameters.len(), MAX_PARAMETERS);
    }

    #[test]
    fn t37_a_rendered_challenge_is_one_line_of_printable_ascii() {
        let rendered = BearerChallenge::new("a\"b\r\nX: y")
            .error(BearerError::InvalidToken, "é\\")
            .scope("b a".parse().unwrap())
            .to_string();
        assert_eq!(
            rendered,
            r#"Bearer realm="a?b??X: y", error="invalid_token", error_description="??", scope="a b""#
        );
        assert_eq!(BearerChallenge::new("api").to_string(), r#"Bearer realm="api""#);
    }

    proptest! {
        #[test]
        fn any_bytes_are_answered(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            let _answered = parse_challenges([bytes.as_slice()]);
        }

        #[test]
        fn what_is_rendered_parses_to_the_same(realm in "[ !#-\\[\\]-~]{0,20}", description in "[ !#-\\[\\]-~]{0,40}") {
            let text = BearerChallenge::new(&*realm).error(BearerError::InvalidToken, &*description).to_string();
            let challenges = parse_challenges([text.as_bytes()]);
            prop_assert_eq!(challenges.len(), 1);
            prop_assert_eq!(challenges[0].parameter("realm"), Some(realm.as_str()));
            prop_assert_eq!(challenges[0].parameter("error"), Some("invalid_token"));
            prop_assert_eq!(challenges[0].parameter("error_description"), Some(description.as_str()));
        }
    }
}
