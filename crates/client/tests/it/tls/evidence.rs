//! The credential of these tests, and every form in which its secret could stand in bytes.

use crate::support::recorder::Connection;
use crate::support::{key, secs};
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD_NO_PAD, URL_SAFE_NO_PAD};
use jeton::http::TlsRoots;
use jeton::{BasicEncoding, ClientAuthMethod, Secret, TokenError, TokenManager};
use std::fmt::Write as _;

pub(super) const CLIENT_ID: &str = "canary client:1";
/// Every encoding makes something else of it.
pub(super) const SECRET: &str = "canary secret:+%/&=?~";

/// The ways to send it that there are.
pub(super) const METHODS: [ClientAuthMethod; 2] =
    [ClientAuthMethod::ClientSecretBasic, ClientAuthMethod::ClientSecretPost];

/// Asks the token endpoint at `url` as the client of these tests.
pub(super) async fn ask(url: &str, roots: TlsRoots, method: ClientAuthMethod) -> Result<String, TokenError> {
    let builder = TokenManager::builder(url, CLIENT_ID).client_secret(Secret::from(SECRET));
    let builder = builder.auth_method(method).basic_encoding(BasicEncoding::FormUrlEncoded);
    let manager = builder.tls_roots(roots).request_timeout(secs(10)).total_timeout(secs(20)).build().unwrap();
    manager.token(&key()).await.map(|token| token.access_token().to_owned())
}

/// Whether the secret stands in `bytes`, in whichever form.
pub(super) fn holds_the_secret(bytes: &[u8]) -> bool {
    forms()
        .iter()
        .any(|form| bytes.windows(form.len()).any(|window| window.eq_ignore_ascii_case(form.as_bytes())))
}

/// No byte of a request, and nothing of the secret before TLS.
#[track_caller]
pub(super) fn nothing_was_sent(connection: &Connection, case: &str) {
    let text = String::from_utf8_lossy(&connection.application);
    assert_eq!(text, "", "{case}: application bytes were sent");
    assert!(!holds_the_secret(&connection.raw), "{case}: the secret was sent in the clear");
    // An encrypted alert has 19 bytes with its tag.
    let encrypted = connection.encrypted_bytes();
    assert!(encrypted <= 24, "{case}: {encrypted} encrypted bytes were sent to a server that was refused");
}

fn forms() -> Vec<String> {
    let encoded = |text: &str| form_urlencoded::byte_serialize(text.as_bytes()).collect::<String>();
    let raw_pair = format!("{CLIENT_ID}:{SECRET}");
    let pair = format!("{}:{}", encoded(CLIENT_ID), encoded(SECRET));
    let mut percent = String::new();
    let mut hex = String::new();
    for byte in SECRET.bytes() {
        write!(percent, "%{byte:02x}").unwrap();
        write!(hex, "{byte:02x}").unwrap();
    }
    let mut forms =
        vec![SECRET.to_owned(), encoded(SECRET), encoded(SECRET).replace('+', "%20"), percent, hex];
    for text in [SECRET.to_owned(), encoded(SECRET), raw_pair, pair] {
        // Base64 has three forms, by what stands before; what depends on the neighbours is left out.
        for skipped in 0..3 {
            let bytes = &text.as_bytes()[skipped..];
            let whole = &bytes[..bytes.len() / 3 * 3];
            forms.push(STANDARD_NO_PAD.encode(whole));
            forms.push(URL_SAFE_NO_PAD.encode(whole));
        }
    }
    forms
}

#[test]
fn what_is_looked_for_is_found_in_every_form() {
    let percent = SECRET.bytes().fold(String::new(), |text, byte| text + &format!("%{byte:02X}"));
    for text in [
        format!("x{SECRET}y"),
        format!("Basic {}", base64::engine::general_purpose::STANDARD.encode(format!("id:{SECRET}"))),
        format!("Basic {}", base64::engine::general_purpose::STANDARD.encode(format!("a:{SECRET}!"))),
        format!("client_secret={}", form_urlencoded::byte_serialize(SECRET.as_bytes()).collect::<String>()),
        percent,
    ] {
        assert!(holds_the_secret(text.as_bytes()), "{text}");
    }
    assert!(!holds_the_secret(
        b"POST /token HTTP/1.1\r\nhost: localhost\r\n\r\ngrant_type=client_credentials"
    ));
}
