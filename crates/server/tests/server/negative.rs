//! `testdata/negative/authorization_server`: requests that must not be granted, each a file. The README beside them tells the format.

use super::{Running, read_to_end};
use jeton_proto::issuance::ClientSettings;
use jeton_server::Registry;
use serde::Deserialize;
use std::path::{Path, PathBuf};
use tokio::io::AsyncWriteExt as _;

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Case {
    request: Option<Request>,
    raw: Option<Raw>,
    refusal: Refusal,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Request {
    method: Option<String>,
    target: Option<String>,
    #[serde(default)]
    headers: Vec<String>,
    body: Option<Content>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Raw {
    send: Content,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Refusal {
    /// Left out where the connection may end without an answer.
    status: Option<u16>,
    error: Option<String>,
    says: Option<String>,
}

#[derive(Debug, Deserialize)]
#[serde(untagged)]
enum Content {
    Text(String),
    Hex { hex: String },
    Repeat { repeat: String, times: usize },
    Parts(Vec<Content>),
}

/// What stands for `{secret}` and `{basic}`.
struct RightCredential {
    secret: String,
    header: String,
}

impl Content {
    fn bytes(&self, right: &RightCredential) -> Vec<u8> {
        match self {
            Self::Text(text) => right.put_into(text).into_bytes(),
            Self::Hex { hex } => (0..hex.len())
                .step_by(2)
                .map(|at| u8::from_str_radix(hex.get(at..at + 2).unwrap(), 16).unwrap())
                .collect(),
            Self::Repeat { repeat, times } => repeat.repeat(*times).into_bytes(),
            Self::Parts(parts) => parts.iter().flat_map(|part| part.bytes(right)).collect(),
        }
    }
}

impl RightCredential {
    fn put_into(&self, text: &str) -> String {
        text.replace("{secret}", &self.secret).replace("{basic}", &self.header)
    }
}

impl Case {
    fn bytes(&self, right: &RightCredential) -> Vec<u8> {
        match (&self.request, &self.raw) {
            (Some(request), None) => request.bytes(right),
            (None, Some(raw)) => raw.send.bytes(right),
            (Some(_), Some(_)) | (None, None) => panic!("a case has one of [request] and [raw]"),
        }
    }
}

impl Request {
    fn bytes(&self, right: &RightCredential) -> Vec<u8> {
        let method = self.method.as_deref().unwrap_or("POST");
        let target = right.put_into(self.target.as_deref().unwrap_or("/oauth/token"));
        let body = self.body.as_ref().map(|body| body.bytes(right));
        let mut request = format!("{method} {target} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n");
        for header in &self.headers {
            request.push_str(&right.put_into(header));
            request.push_str("\r\n");
        }
        if let Some(body) = &body {
            request.extend(["Content-Length: ", &body.len().to_string(), "\r\n"]);
        }
        request.push_str("\r\n");
        let mut bytes = request.into_bytes();
        bytes.extend(body.unwrap_or_default());
        bytes
    }
}

/// What is wrong with `answer`, if anything.
fn fault(refusal: &Refusal, answer: &str) -> Option<String> {
    let Some((head, body)) = answer.split_once("\r\n\r\n") else {
        return refusal.status.map(|_| "there is no answer".to_owned());
    };
    let status = head.split(' ').nth(1).and_then(|status| status.parse::<u16>().ok());
    if refusal.status.is_some() && status != refusal.status {
        return Some(format!("the status is {status:?}"));
    }
    // The names of our own answers may have the word in them, so it is looked for as it was sent.
    if answer.to_ascii_lowercase().contains("canary") {
        return Some("it repeats what was sent".to_owned());
    }
    if answer.contains("access_token") || answer.contains("jeton_secret_") {
        return Some("it has a token or a secret".to_owned());
    }
    let document: serde_json::Value = serde_json::from_str(body).unwrap_or_default();
    if document["error"].as_str() != refusal.error.as_deref() {
        return Some(format!("the error is {}", document["error"]));
    }
    let description = document["error_description"].as_str().unwrap_or_default();
    if refusal.error.is_some() {
        let head = head.to_ascii_lowercase();
        if !head.contains("cache-control: no-store") || !head.contains("pragma: no-cache") {
            return Some("it may be kept".to_owned());
        }
        if description.is_empty()
            || !description.bytes().all(|byte| matches!(byte, b' '..=b'~') && byte != b'"')
        {
            return Some(format!("the description is not one of RFC 6749 section 5.2: {description:?}"));
        }
    }
    if let Some(says) = &refusal.says
        && !description.to_ascii_lowercase().contains(says)
    {
        return Some(format!("it says {description:?}"));
    }
    None
}

fn corpus() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../testdata/negative/authorization_server")
}

fn cases() -> Vec<(String, Case)> {
    let mut cases = Vec::new();
    for class in std::fs::read_dir(corpus()).unwrap() {
        let class = class.unwrap().path();
        for file in std::fs::read_dir(&class).unwrap() {
            let path = file.unwrap().path();
            let text = std::fs::read_to_string(&path).unwrap();
            assert!(text.starts_with("# "), "{} says nothing of what is wrong", path.display());
            let case = toml::from_str(&text).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
            let stem = |path: &Path| path.file_stem().unwrap().to_string_lossy().into_owned();
            cases.push((format!("{}/{}", stem(&class), stem(&path)), case));
        }
    }
    cases.sort_by(|(one, _), (other, _)| one.cmp(other));
    cases
}

#[tokio::test]
async fn t36_no_bad_request_is_granted_and_each_is_told_what_is_wrong() {
    let dir = tempfile::tempdir().unwrap();
    let registry = Registry::open(dir.path()).unwrap();
    let settings = |client_id| ClientSettings {
        allowed_scope: "a b".parse().unwrap(),
        audiences: vec!["https://api.example".to_owned()],
        ..ClientSettings::new(client_id)
    };
    let secret = registry.add(settings("worker")).unwrap().expose().clone();
    registry.add(settings("disabled")).unwrap();
    registry.disable("disabled").unwrap();
    let header = super::basic("worker", &secret).trim_end().to_owned();
    let right = RightCredential { secret, header };
    let server = Running::start(dir.path());
    let cases = cases();
    assert!(cases.len() >= 200, "{} cases", cases.len());
    let mut faults = Vec::new();
    for (name, case) in &cases {
        let mut stream = server.connect().await;
        // A server that refuses early may have ended the connection before all is sent.
        let sent = stream.write_all(&case.bytes(&right)).await;
        drop(sent);
        if case.raw.is_some() {
            // What is no whole request would be waited for.
            drop(stream.shutdown().await);
        }
        let answer = read_to_end(&mut stream).await;
        if let Some(fault) = fault(&case.refusal, &answer) {
            faults.push(format!("{name}: {fault}"));
        }
    }
    assert!(faults.is_empty(), "{} of {}:\n{}", faults.len(), cases.len(), faults.join("\n"));
    assert_eq!(server.counters.values().granted, 0);
    server.stop().await;
}
