//! A case of the corpus: what the token endpoint sends, and what has to come of it. The README beside the cases tells
//! the format to people.

use serde::Deserialize;
use std::path::{Path, PathBuf};

/// No part of a case makes more bytes than this, so that a slip of the pen does not fill the memory.
const MAX_CONTENT_BYTES: usize = 8 << 20;

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Case {
    /// Class and file name, set by [`read_all`].
    #[serde(skip)]
    pub(super) name: String,
    #[serde(default)]
    pub(super) scheme: Scheme,
    /// How long one token request may take; only for cases in which nothing comes.
    pub(super) request_timeout_ms: Option<u64>,
    pub(super) answer: Option<Answer>,
    pub(super) raw: Option<Raw>,
    pub(super) error: Option<ExpectedError>,
    pub(super) token: Option<ExpectedToken>,
}

#[derive(Clone, Copy, Debug, Default, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
pub(super) enum Scheme {
    #[default]
    Http,
    Https,
}

/// An answer in sound HTTP/1.1 framing.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Answer {
    pub(super) status: u16,
    /// Header lines, without their ends.
    #[serde(default)]
    pub(super) headers: Vec<String>,
    pub(super) body: Content,
}

/// Bytes and behaviour of a connection.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Raw {
    #[serde(default)]
    pub(super) when: When,
    pub(super) does: Vec<Step>,
    pub(super) then: Then,
}

/// What the server waits for before it begins.
#[derive(Clone, Copy, Debug, Default, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "kebab-case")]
pub(super) enum When {
    Connect,
    FirstByte,
    #[default]
    Request,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub(super) enum Step {
    Send(Content),
    /// The same bytes again and again, until the client goes away.
    Endless(Content),
    /// One byte after the other.
    Drip {
        bytes: Content,
        every_ms: u64,
    },
}

/// What becomes of the connection.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
pub(super) enum Then {
    /// The next request on it is answered in the same way.
    Keep,
    /// Closed in order, once the client's bytes are read.
    Close,
    /// Reset, so that the client sees an error and not an end.
    Reset,
    /// Held open in silence.
    Hold,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(untagged)]
pub(super) enum Content {
    Text(String),
    Hex { hex: String },
    Repeat { repeat: Box<Content>, times: usize },
    Parts(Vec<Content>),
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ExpectedError {
    /// The variant of `TokenErrorKind`, or several with " or " between them where the network decides.
    pub(super) kind: String,
    /// What the message has to say.
    pub(super) says: String,
    pub(super) retryable: bool,
    pub(super) requests_at_most: u64,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ExpectedToken {
    pub(super) access_token: Content,
    pub(super) life_seconds: u64,
    pub(super) scope: Option<String>,
}

impl Case {
    /// Reads a case.
    ///
    /// # Errors
    /// What is wrong with the file.
    pub(super) fn parse(name: &str, text: &str) -> Result<Self, String> {
        let mut case: Self = toml::from_str(text).map_err(|error| format!("{name}: {error}"))?;
        name.clone_into(&mut case.name);
        if case.answer.is_some() == case.raw.is_some() {
            return Err(format!("{name}: exactly one of [answer] and [raw] belongs in a case"));
        }
        if case.error.is_some() == case.token.is_some() {
            return Err(format!("{name}: exactly one of [error] and [token] belongs in a case"));
        }
        if !text.starts_with("# ") {
            return Err(format!(
                "{name}: a case begins with a comment that says what is wrong and who sends it"
            ));
        }
        if let Some(error) = &case.error {
            let bound = if error.retryable { 3 } else { 1 };
            if error.requests_at_most == 0 || error.requests_at_most > bound || error.says.is_empty() {
                return Err(format!("{name}: an error says something, after at most {bound} requests"));
            }
        }
        Ok(case)
    }

    /// What goes over the socket.
    pub(super) fn raw(&self) -> Raw {
        match (&self.raw, &self.answer) {
            (Some(raw), _) => raw.clone(),
            (None, Some(answer)) => {
                Raw { when: When::Request, does: vec![Step::Send(answer.framed())], then: Then::Keep }
            }
            (None, None) => unreachable!("refused by `parse`"),
        }
    }
}

impl Answer {
    fn framed(&self) -> Content {
        let body = self.body.bytes();
        let mut head = format!("HTTP/1.1 {} Any\r\nContent-Length: {}\r\n", self.status, body.len());
        for header in &self.headers {
            head.push_str(header);
            head.push_str("\r\n");
        }
        head.push_str("\r\n");
        Content::Parts(vec![Content::Text(head), self.body.clone()])
    }
}

impl Content {
    pub(super) fn bytes(&self) -> Vec<u8> {
        match self {
            Self::Text(text) => text.clone().into_bytes(),
            Self::Hex { hex } => {
                let digits: Vec<u8> = hex.bytes().filter(|byte| !byte.is_ascii_whitespace()).collect();
                let byte = |pair: &[u8]| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap();
                digits.chunks(2).map(byte).collect()
            }
            Self::Repeat { repeat, times } => {
                let unit = repeat.bytes();
                assert!(unit.len().saturating_mul(*times) <= MAX_CONTENT_BYTES, "a case is too large");
                unit.repeat(*times)
            }
            Self::Parts(parts) => parts.iter().map(Self::bytes).collect::<Vec<_>>().concat(),
        }
    }
}

/// Every case below the folder of the corpus, by name. What is not a case fails.
pub(super) fn read_all() -> Vec<Case> {
    let root = root();
    let mut cases = Vec::new();
    for class in entries(&root).into_iter().filter(|path| path.is_dir()) {
        for path in entries(&class) {
            let name = path.strip_prefix(&root).unwrap().to_str().unwrap().to_owned();
            let stem = name.strip_suffix(".toml").unwrap_or_else(|| panic!("{name} is not a case"));
            let text = std::fs::read_to_string(&path).unwrap();
            cases.push(Case::parse(stem, &text).unwrap_or_else(|fault| panic!("{fault}")));
        }
    }
    cases
}

pub(super) fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../testdata/negative/token_endpoint")
}

fn entries(folder: &Path) -> Vec<PathBuf> {
    let mut paths: Vec<_> = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    paths
}
