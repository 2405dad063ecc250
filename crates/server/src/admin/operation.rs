//! What can be asked for, and under which method and path it is found.

use super::problem::{Code, Problem};
use http::Method;

/// What a request wants.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Operation {
    Description,
    ListClients,
    AddClient,
    ShowClient,
    ChangeClient,
    RemoveClient,
    AddSecret,
    RevokeSecret,
    DueSecrets,
    ListKeys,
    RotateKeys,
}

/// Who may have it done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Access {
    /// Everybody.
    Open,
    /// Who has a token for reading or for changing.
    Reading,
    /// Who has a token for changing.
    Changing,
}

const CLIENT: &str = "/admin/clients/{client_id}";

impl Operation {
    /// Every operation.
    pub(super) const ALL: [Self; 11] = [
        Self::Description,
        Self::ListClients,
        Self::AddClient,
        Self::ShowClient,
        Self::ChangeClient,
        Self::RemoveClient,
        Self::AddSecret,
        Self::RevokeSecret,
        Self::DueSecrets,
        Self::ListKeys,
        Self::RotateKeys,
    ];

    /// Its method.
    pub(super) const fn method(self) -> Method {
        match self {
            Self::Description | Self::ListClients | Self::ShowClient | Self::DueSecrets | Self::ListKeys => {
                Method::GET
            }
            Self::AddClient | Self::AddSecret | Self::RotateKeys => Method::POST,
            Self::ChangeClient => Method::PATCH,
            Self::RemoveClient | Self::RevokeSecret => Method::DELETE,
        }
    }

    /// Its path, with the names of what differs in braces.
    pub(super) const fn template(self) -> &'static str {
        match self {
            Self::Description => "/admin/openapi.json",
            Self::ListClients | Self::AddClient => "/admin/clients",
            Self::ShowClient | Self::ChangeClient | Self::RemoveClient => CLIENT,
            Self::AddSecret => "/admin/clients/{client_id}/secrets",
            Self::RevokeSecret => "/admin/clients/{client_id}/secrets/{name}",
            Self::DueSecrets => "/admin/secrets/due",
            Self::ListKeys => "/admin/keys",
            Self::RotateKeys => "/admin/keys/rotate",
        }
    }

    /// Who may have it done.
    pub(super) const fn access(self) -> Access {
        match self {
            Self::Description => Access::Open,
            Self::ListClients | Self::ShowClient | Self::DueSecrets | Self::ListKeys => Access::Reading,
            Self::AddClient
            | Self::ChangeClient
            | Self::RemoveClient
            | Self::AddSecret
            | Self::RevokeSecret
            | Self::RotateKeys => Access::Changing,
        }
    }

    /// Whether the request has a body that is read.
    pub(super) const fn has_body(self) -> bool {
        match self {
            Self::AddClient | Self::ChangeClient | Self::AddSecret | Self::RotateKeys => true,
            Self::Description
            | Self::ListClients
            | Self::ShowClient
            | Self::RemoveClient
            | Self::RevokeSecret
            | Self::DueSecrets
            | Self::ListKeys => false,
        }
    }
}

/// An operation, and what its path names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Routed {
    pub(super) operation: Operation,
    /// `client_id`, where the path has one.
    pub(super) client_id: String,
    /// `name`, where the path has one.
    pub(super) secret_name: String,
}

/// What is found at `path`.
pub(super) fn route(method: &Method, path: &str) -> Result<Routed, Problem> {
    let method = if method == Method::HEAD { &Method::GET } else { method };
    let segments: Option<Vec<String>> = path.split('/').map(percent_decoded).collect();
    let not_found = || Problem::new(Code::NotFound, "there is nothing here; see /admin/openapi.json");
    let segments = segments.ok_or_else(not_found)?;
    let fitting: Vec<Routed> =
        Operation::ALL.into_iter().filter_map(|operation| fit(operation, &segments)).collect();
    if fitting.is_empty() {
        return Err(not_found());
    }
    let methods: Vec<String> = fitting.iter().flat_map(|routed| names(&routed.operation.method())).collect();
    let wanted = fitting.into_iter().find(|routed| routed.operation.method() == *method);
    wanted.ok_or_else(|| Problem::method_not_allowed(&methods.join(", ")))
}

fn names(method: &Method) -> Vec<String> {
    let head = (*method == Method::GET).then(|| "HEAD".to_owned());
    [method.to_string()].into_iter().chain(head).collect()
}

fn fit(operation: Operation, segments: &[String]) -> Option<Routed> {
    let mut routed = Routed { operation, client_id: String::new(), secret_name: String::new() };
    let template: Vec<&str> = operation.template().split('/').collect();
    if template.len() != segments.len() {
        return None;
    }
    for (wanted, segment) in template.into_iter().zip(segments) {
        match wanted {
            "{client_id}" | "{name}" if segment.is_empty() => return None,
            "{client_id}" => routed.client_id.clone_from(segment),
            "{name}" => routed.secret_name.clone_from(segment),
            fixed if fixed == segment => {}
            _ => return None,
        }
    }
    Some(routed)
}

/// A segment of a path without its percent-encoding (RFC 3986 §2.1); `None` where that is broken or no UTF-8.
fn percent_decoded(segment: &str) -> Option<String> {
    let mut bytes = segment.bytes();
    let mut decoded = Vec::with_capacity(segment.len());
    while let Some(byte) = bytes.next() {
        if byte == b'%' {
            let mut digit = || char::from(bytes.next()?).to_digit(16);
            decoded.push(u8::try_from(digit()? * 16 + digit()?).ok()?);
        } else {
            decoded.push(byte);
        }
    }
    String::from_utf8(decoded).ok()
}

/// `text` as one segment of a path.
pub(super) fn percent_encoded(text: &str) -> String {
    text.bytes().fold(String::new(), |mut encoded, byte| {
        if byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~') {
            encoded.push(char::from(byte));
        } else {
            use std::fmt::Write as _;
            let _infallible = write!(encoded, "%{byte:02X}");
        }
        encoded
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn found(method: &Method, path: &str) -> Option<(Operation, String, String)> {
        let routed = route(method, path).ok()?;
        Some((routed.operation, routed.client_id, routed.secret_name))
    }

    #[test]
    fn a_path_is_taken_apart_before_it_is_decoded() {
        let secret = found(&Method::DELETE, "/admin/clients/a%2Fb%20c/secrets/1");
        assert_eq!(secret, Some((Operation::RevokeSecret, "a/b c".to_owned(), "1".to_owned())));
        let head = found(&Method::HEAD, "/admin/clients/due");
        assert_eq!(head, Some((Operation::ShowClient, "due".to_owned(), String::new())));
    }

    #[test]
    fn nothing_else_is_found() {
        for path in [
            "/",
            "",
            "/admin",
            "/admin/",
            "/admin/clients/",
            "/admin/clients//secrets",
            "/admin/clients/%",
            "/admin/clients/%4",
            "/admin/clients/%zz",
            "/admin/clients/%ff",
            "/ADMIN/clients",
            "//admin/clients",
            "/admin/clients/a/b",
            "/oauth/token",
        ] {
            assert_eq!(route(&Method::GET, path).unwrap_err().code, Code::NotFound, "{path}");
        }
        let refused = route(&Method::PUT, "/admin/clients/a").unwrap_err();
        assert_eq!(refused.code, Code::MethodNotAllowed);
        assert!(refused.detail.ends_with("GET, HEAD, PATCH, DELETE"), "{}", refused.detail);
    }

    proptest! {
        #[test]
        fn every_client_id_has_a_path(id in "[ -~]{1,80}") {
            let path = format!("/admin/clients/{}", percent_encoded(&id));
            prop_assert_eq!(found(&Method::GET, &path), Some((Operation::ShowClient, id, String::new())));
        }
    }
}
