//! `moto` as Secrets Manager, and what an administrator does to it, over a socket of its own.

use crate::foreign::programs::ForeignServer;
use serde_json::{Value, json};
use std::io::{Read, Write};
use std::net::TcpStream;

/// What the SDK needs to ask at all; `moto` takes any.
pub(crate) const CREDENTIALS: &[(&str, &str)] = &[
    ("AWS_ACCESS_KEY_ID", "AKIDEXAMPLE"),
    ("AWS_SECRET_ACCESS_KEY", "canary-secret-access-key"),
    ("AWS_REGION", "us-east-1"),
];

pub(crate) struct SecretsManager(ForeignServer);

impl SecretsManager {
    pub(crate) fn start() -> Self {
        Self(ForeignServer::moto())
    }

    /// `secret`, as it is named behind `aws:`.
    pub(crate) fn place(&self, secret: &str) -> String {
        format!("{secret}?endpoint={}", self.0.url(""))
    }

    pub(crate) fn create(&self, name: &str, content: Value) {
        let mut request = content;
        request["Name"] = name.into();
        self.call("CreateSecret", request);
    }

    /// Another version, which becomes the current one.
    pub(crate) fn put(&self, name: &str, secret: &str) {
        self.call("PutSecretValue", json!({ "SecretId": name, "SecretString": secret }));
    }

    pub(crate) fn arn(&self, name: &str) -> String {
        self.call("DescribeSecret", json!({ "SecretId": name }))["ARN"].as_str().unwrap().to_owned()
    }

    pub(crate) fn call(&self, operation: &str, mut request: Value) -> Value {
        if matches!(operation, "CreateSecret" | "PutSecretValue") {
            request["ClientRequestToken"] = format!("{:032x}", fastrand::u128(..)).into();
        }
        let body = request.to_string();
        let address = self.0.url("").trim_start_matches("http://").to_owned();
        let mut stream = TcpStream::connect(&address).unwrap();
        write!(
            stream,
            "POST / HTTP/1.0\r\nHost: {address}\r\nX-Amz-Target: secretsmanager.{operation}\r\n\
             Content-Type: application/x-amz-json-1.1\r\nContent-Length: {}\r\n\
             Authorization: AWS4-HMAC-SHA256 Credential=A/20260101/us-east-1/secretsmanager/aws4_request, \
             SignedHeaders=host, Signature=none\r\n\r\n{body}",
            body.len()
        )
        .unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        assert!(head.lines().next().unwrap().contains(" 200 "), "{operation}: {answer}");
        serde_json::from_str(body).unwrap()
    }
}
