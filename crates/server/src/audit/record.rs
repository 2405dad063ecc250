//! What is told of one event, as the members of a JSON object. Pure: the time is given, and no file is known here.

use crate::http::{push_number, push_text};
use jeton_proto::time::Timestamp;
use std::io::Write as _;
use std::net::SocketAddr;

/// The longest text of one member, in bytes before it is escaped; what is longer is cut.
const MAX_TEXT_BYTES: usize = 2048;

macro_rules! events {
    ($($variant:ident: $name:literal, $meaning:literal;)*) => {
        /// What happened.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum Event {
            $(#[doc = $meaning] $variant,)*
        }

        impl Event {
            /// Every event.
            pub const ALL: &'static [Self] = &[$(Self::$variant,)*];

            /// The member `event` of its record.
            #[must_use]
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $name,)* }
            }
        }
    };
}

// One line an event: its variant, its name in the log, its meaning.
events! {
    TokenGranted: "token_granted", "A token request was answered with a token.";
    TokenRefused: "token_refused", "A token request was answered with an error.";
    TokenRevoked: "token_revoked", "A token was revoked before its time.";
    RevocationRefused: "revocation_refused", "A request to revoke a token was answered with an error.";
    IntrospectionRefused: "introspection_refused", "A request about a token was answered with an error.";
    ClientAdded: "client_added", "A client was added.";
    ClientChanged: "client_changed", "The settings of a client were changed.";
    ClientEnabled: "client_enabled", "A client may have tokens again.";
    ClientDisabled: "client_disabled", "A client may have no more tokens.";
    ClientRemoved: "client_removed", "A client was removed.";
    SecretAdded: "secret_added", "A client was given one more secret; the detail is its name.";
    SecretRevoked: "secret_revoked", "A secret was taken from a client; the detail is its name.";
    AdminRefused: "admin_refused", "A request to the administrative API was refused; the detail says which and why.";
    SigningKeyAnnounced: "signing_key_announced", "A signing key was announced by hand; the detail is its key id.";
    SigningKeyRetired: "signing_key_retired", "A signing key was let sign no more; the detail is its key id.";
    SigningKeyDropped: "signing_key_dropped", "A signing key was taken out of the published keys; the detail is its key id.";
    SigningKeyReplaced: "signing_key_replaced", "A signing key was made that signs at once, in place of one that was retired or dropped; the detail is its key id.";
    ServerKeyReplaced: "server_key_replaced", "What is sealed in the registry was sealed with another server key.";
    ServerStarted: "server_started", "A server began to write to this log.";
    ServerEnded: "server_ended", "A server ended in good order.";
    LogResumed: "log_resumed", "The log was mended: the one before the last to write was cut off, or the log was damaged.";
    RecordsLost: "records_lost", "Records were lost before this one, because they could not be written for too long.";
}

/// Members of a record, in the order in which they are added, each behind a comma.
#[derive(Debug, Default)]
pub(crate) struct Members(Vec<u8>);

/// The members of a record. The first is the time.
#[derive(Debug)]
pub(crate) struct Record(Members);

impl Record {
    /// A record of `event` at `at`.
    pub(crate) fn new(event: Event, at: Timestamp) -> Self {
        // Room for what a granted token has, so that the hot path allocates once.
        let mut members = Vec::with_capacity(512);
        members.extend_from_slice(b"\"time\":\"");
        push_rfc3339(&mut members, at);
        members.extend_from_slice(b"\",\"event\":\"");
        members.extend_from_slice(event.as_str().as_bytes());
        members.push(b'"');
        Self(Members(members))
    }

    /// A text of our own. Of what a caller sent, only what was cleaned is to come here.
    pub(crate) fn text(self, name: &'static str, text: &str) -> Self {
        Self(self.0.text(name, text))
    }

    /// Members that were written before.
    pub(crate) fn with(mut self, members: &Members) -> Self {
        self.0.0.extend_from_slice(&members.0);
        self
    }

    /// A text, where there is one.
    pub(crate) fn text_of(self, name: &'static str, text: Option<&str>) -> Self {
        match text {
            Some(text) => self.text(name, text),
            None => self,
        }
    }

    /// The address of a caller.
    pub(crate) fn address(self, name: &'static str, address: SocketAddr) -> Self {
        Self(self.0.address(name, address))
    }

    pub(crate) fn number(mut self, name: &'static str, number: u64) -> Self {
        push_number(self.0.name(name), number);
        self
    }

    /// The members, without the braces around them.
    pub(crate) fn members(&self) -> &[u8] {
        &self.0.0
    }
}

impl Members {
    /// The address of a caller.
    pub(crate) fn address(mut self, name: &'static str, address: SocketAddr) -> Self {
        let out = self.name(name);
        out.push(b'"');
        match address {
            // What `Display` writes, in a fifth of its time.
            SocketAddr::V4(address) => {
                for (octet, mark) in address.ip().octets().into_iter().zip(*b"...:") {
                    push_number(out, octet.into());
                    out.push(mark);
                }
                push_number(out, address.port().into());
            }
            SocketAddr::V6(address) => {
                let _infallible = write!(out, "{address}");
            }
        }
        out.push(b'"');
        self
    }

    /// A text of our own. Of what a caller sent, only what was cleaned is to come here.
    pub(crate) fn text(mut self, name: &'static str, text: &str) -> Self {
        push_text(self.name(name), cut(text));
        self
    }

    fn name(&mut self, name: &'static str) -> &mut Vec<u8> {
        let Self(out) = self;
        out.extend_from_slice(b",\"");
        out.extend_from_slice(name.as_bytes());
        out.extend_from_slice(b"\":");
        out
    }
}

fn cut(text: &str) -> &str {
    text.get(..text.floor_char_boundary(MAX_TEXT_BYTES)).unwrap_or_default()
}

/// RFC 3339 in UTC with milliseconds. What is beyond the year 9999 is its last instant.
fn push_rfc3339(out: &mut Vec<u8>, at: Timestamp) {
    const LAST_MILLIS: u64 = 253_402_300_799_999;
    let millis = at.as_unix_millis().min(LAST_MILLIS);
    let (days, of_day) = (millis / 86_400_000, millis % 86_400_000);
    // The calendar of 400 years repeats; counted from the first of March of the year 0, leap days come last.
    let shifted = days + 719_468;
    let (era, of_era) = (shifted / 146_097, shifted % 146_097);
    let year_of_era = (of_era - of_era / 1_460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * of_year + 2) / 153;
    let day = of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 { month_from_march + 3 } else { month_from_march - 9 };
    let year = era * 400 + year_of_era + u64::from(month <= 2);
    let two = |value: u64| [digit(value / 10), digit(value)];
    out.extend_from_slice(&two(year / 100));
    out.extend_from_slice(&two(year));
    for (mark, value) in [
        (b'-', month),
        (b'-', day),
        (b'T', of_day / 3_600_000),
        (b':', of_day / 60_000 % 60),
        (b':', of_day / 1_000 % 60),
    ] {
        out.push(mark);
        out.extend_from_slice(&two(value));
    }
    out.extend_from_slice(&[b'.', digit(of_day / 100), digit(of_day / 10), digit(of_day), b'Z']);
}

fn digit(value: u64) -> u8 {
    b'0' + u8::try_from(value % 10).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn time_of(millis: u64) -> String {
        let mut out = Vec::new();
        push_rfc3339(&mut out, Timestamp::from_unix_millis(millis));
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn times_are_rfc_3339_in_utc_with_milliseconds() {
        for (millis, expected) in [
            (0, "1970-01-01T00:00:00.000Z"),
            (951_782_399_999, "2000-02-28T23:59:59.999Z"),
            (951_782_400_000, "2000-02-29T00:00:00.000Z"),
            (951_868_800_000, "2000-03-01T00:00:00.000Z"),
            (1_700_000_000_123, "2023-11-14T22:13:20.123Z"),
            (4_107_542_399_000, "2100-02-28T23:59:59.000Z"),
            (4_107_542_400_000, "2100-03-01T00:00:00.000Z"),
            (u64::MAX, "9999-12-31T23:59:59.999Z"),
        ] {
            assert_eq!(time_of(millis), expected);
        }
    }

    #[test]
    fn members_are_those_of_a_json_object_on_one_line() {
        let record = Record::new(Event::TokenGranted, Timestamp::EPOCH)
            .text("client_id", "a\"\n\\é")
            .text_of("scope", None)
            .text("reason", &"é".repeat(MAX_TEXT_BYTES))
            .address("peer", SocketAddr::from(([10, 0, 255, 1], 65535)))
            .address("other", "[2001:db8::1]:80".parse().unwrap())
            .number("expires_in", 60);
        let members = String::from_utf8(record.members().to_vec()).unwrap();
        assert!(!members.contains('\n'));
        let object: serde_json::Value = serde_json::from_str(&format!("{{{members}}}")).unwrap();
        assert_eq!(object["client_id"], "a\"\n\\é");
        assert_eq!(
            (&object["peer"], &object["other"]),
            (&"10.0.255.1:65535".into(), &"[2001:db8::1]:80".into())
        );
        assert_eq!(object["reason"].as_str().unwrap().len(), MAX_TEXT_BYTES);
        assert_eq!(
            (&object["expires_in"], &object["event"], object.get("scope")),
            (&60.into(), &"token_granted".into(), None)
        );
    }
}
