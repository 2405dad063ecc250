//! Servers that repeat a credential in what they write for people to read.

use super::credential::{Authentication, Credential};
use jeton_proto::wire::error_response::{ErrorCode, printable};
use zeroize::Zeroizing;

/// How much of a credential may be a coincidence.
const PART_BYTES: usize = 12;

const NOT_SHOWN: &str = "not shown: it repeats the credential";

impl Credential {
    /// What a server says of a request, for people to read: without it, where it has a part of what the request carried.
    pub(crate) fn unless_repeated(&self, sent: &Authentication, text: String) -> String {
        if self.is_repeated_in(sent, &text) { NOT_SHOWN.to_owned() } else { text }
    }

    /// The same for a code. Those that are registered are no credential.
    pub(crate) fn code_unless_repeated(&self, sent: &Authentication, code: ErrorCode) -> ErrorCode {
        match code {
            ErrorCode::Other(text) => {
                ErrorCode::Other(self.unless_repeated(sent, text.into_string()).into_boxed_str())
            }
            registered => registered,
        }
    }

    fn is_repeated_in(&self, sent: &Authentication, text: &str) -> bool {
        let secret = self.text().expose();
        let encoded: Zeroizing<String> =
            Zeroizing::new(form_urlencoded::byte_serialize(secret.as_bytes()).collect());
        let header = sent.header.as_ref().and_then(|header| header.to_str().ok());
        // The scheme is none of the credential.
        let header = header.map(|header| header.split_once(' ').map_or(header, |(_, value)| value));
        let assertion = sent.assertion().map(|assertion| assertion.expose().as_str());
        let parts = [Some(secret.as_str()), Some(encoded.as_str()), header, assertion];
        parts.into_iter().flatten().any(|secret| is_part_in(secret, text))
    }
}

/// Whether a part of `secret` is in `text`, which was made printable.
fn is_part_in(secret: &str, text: &str) -> bool {
    // Cut and cleaned like the text, so that one is found in the other.
    let secret = Zeroizing::new(printable(secret));
    let part_bytes = secret.len().min(PART_BYTES);
    part_bytes > 0
        && secret
            .as_bytes()
            .windows(part_bytes)
            .any(|part| text.as_bytes().windows(part_bytes).any(|shown| shown == part))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn t34_a_part_of_a_credential_is_known_again_and_a_coincidence_is_not() {
        let secret = "cañary: secret of the client";
        for text in ["it was ca?ary: secret of the client", "secret of the cl", "nary: secret of tha"] {
            assert!(is_part_in(secret, &printable(text)), "{text}");
        }
        for text in ["the secret of a server", "", "secret"] {
            assert!(!is_part_in(secret, text), "{text}");
        }
        assert!(is_part_in("short", "a short one") && !is_part_in("", "anything"));
    }
}
