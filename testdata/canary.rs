//! Looks for secret values in whatever a program writes, in every form in which they travel. The tests of several crates take this file
//! in by its path, so that all of them look for the same.

#![allow(dead_code, reason = "each test takes what it needs of it")]

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE};
use std::fmt::Write as _;
use url::form_urlencoded;

/// How much of a form is a hit: too much for chance, and little enough that a value that was cut is found.
const NEEDLE_BYTES: usize = 12;
/// The same of a list of numbers, eight of them or more: three are found by chance where sealed bytes are shown as such a list.
const LIST_NEEDLE_BYTES: usize = 40;
/// From one needle to the next. A run of this and of a needle is found wherever it was cut.
const STRIDE_BYTES: usize = 6;

/// What must not be written, and how it would look.
#[derive(Default)]
pub(crate) struct Canaries {
    needles: Vec<Needle>,
}

struct Needle {
    name: String,
    bytes: Vec<u8>,
}

impl Canaries {
    /// Looks for `value`, too, in every form.
    pub(crate) fn add(&mut self, name: &str, value: &str) {
        assert!(value.len() >= 20, "{name} is too short to be told from chance");
        for (form, text) in forms(value) {
            let needle_bytes = if form == LIST { LIST_NEEDLE_BYTES } else { NEEDLE_BYTES };
            for at in (0..=text.len().saturating_sub(needle_bytes)).step_by(STRIDE_BYTES) {
                let bytes = text.as_bytes()[at..at + needle_bytes].to_vec();
                if self.needles.iter().all(|known| known.bytes != bytes) {
                    self.needles.push(Needle { name: format!("{name}, {form}"), bytes });
                }
            }
        }
    }

    /// The same with one value.
    pub(crate) fn of(name: &str, value: &str) -> Self {
        let mut canaries = Self::default();
        canaries.add(name, value);
        canaries
    }

    /// What is in `bytes`, by name, with what stands around it.
    pub(crate) fn found_in(&self, bytes: &[u8]) -> Vec<String> {
        let mut begins = [false; 256];
        for needle in &self.needles {
            begins[usize::from(needle.bytes[0])] = true;
        }
        let mut found = Vec::new();
        for (at, byte) in bytes.iter().enumerate() {
            if !begins[usize::from(*byte)] {
                continue;
            }
            let hit = self.needles.iter().find(|needle| bytes[at..].starts_with(&needle.bytes));
            if let Some(Needle { name, .. }) = hit {
                let around = &bytes[at.saturating_sub(150)..(at + 50).min(bytes.len())];
                found.push(format!("{name}: {}", around.escape_ascii()));
            }
        }
        found
    }

    /// That nothing is in `bytes`, which are of `place`.
    #[track_caller]
    pub(crate) fn assert_absent(&self, place: &str, bytes: impl AsRef<[u8]>) {
        let found = self.found_in(bytes.as_ref());
        let first: Vec<&String> = found.iter().take(5).collect();
        assert!(found.is_empty(), "{} hits in {place}, the first of them: {first:#?}", found.len());
    }
}

/// The form that `Debug` gives to bytes.
const LIST: &str = "as a list of numbers";

/// A value in the forms in which it travels or is shown, each by name.
fn forms(value: &str) -> Vec<(&'static str, String)> {
    let percent = |keep: &dyn Fn(u8) -> bool| {
        value.bytes().fold(String::new(), |mut text, byte| {
            if keep(byte) {
                text.push(char::from(byte));
            } else {
                write!(text, "%{byte:02X}").unwrap();
            }
            text
        })
    };
    let unreserved = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~".contains(&byte);
    let form: String = form_urlencoded::byte_serialize(value.as_bytes()).collect();
    let json = serde_json::to_string(value).unwrap();
    let hex = value.bytes().fold(String::new(), |mut text, byte| {
        write!(text, "{byte:02x}").unwrap();
        text
    });
    let list = format!("{:?}", value.as_bytes());
    let mut forms = vec![
        ("as it is", value.to_owned()),
        ("url-encoded", percent(&unreserved)),
        ("url-encoded in lower case", percent(&unreserved).to_ascii_lowercase()),
        ("form-encoded", form.clone()),
        ("as json", json.trim_matches('"').to_owned()),
        ("as ascii json", ascii_json(value)),
        ("as Debug shows it", format!("{value:?}").trim_matches('"').to_owned()),
        ("as bytes are escaped", value.as_bytes().escape_ascii().to_string()),
        ("in hexadecimal", hex.to_uppercase()),
        ("in hexadecimal in lower case", hex),
        (LIST, list.trim_matches(['[', ']']).to_owned()),
    ];
    // A Basic credential has the form-encoded value in it, or the value itself.
    for text in [value, &form] {
        for before in 0..3 {
            let padded = format!("{}{text}", "x".repeat(before));
            for encoded in [STANDARD.encode(&padded), URL_SAFE.encode(&padded)] {
                // The characters at the ends depend on the neighbours, and padding is at the end.
                forms.push(("in base64", encoded.get(4..encoded.len() - 4).unwrap().to_owned()));
            }
        }
    }
    forms
}

/// JSON as it is written where only ASCII is wanted.
fn ascii_json(value: &str) -> String {
    value.encode_utf16().fold(String::new(), |mut text, unit| {
        match u8::try_from(unit) {
            Ok(byte) if byte.is_ascii() => text.push(char::from(byte)),
            _ => write!(text, "\\u{unit:04x}").unwrap(),
        }
        text
    })
}

/// That it finds what is there.
#[test]
fn t34_a_canary_is_found_in_every_form_and_when_it_is_cut() {
    let value = "cañary: of+a&secret=%\"\\/~?>{0}";
    let canaries = Canaries::of("the value", value);
    let form: String = form_urlencoded::byte_serialize(value.as_bytes()).collect();
    for shown in [
        format!("x{value}y"),
        format!("{value:?}"),
        serde_json::to_string(value).unwrap(),
        format!("{:?}", value.as_bytes()),
        form.clone(),
        STANDARD.encode(format!("billing:{form}")),
        STANDARD.encode(format!("b:{value}")),
        URL_SAFE.encode(format!("bi:{value}")),
        value.chars().take(19).collect(),
        value.chars().skip(9).collect(),
        format!("{:?}", &value.as_bytes()[9..21]),
    ] {
        assert!(!canaries.found_in(shown.as_bytes()).is_empty(), "{shown}");
    }
    assert!(canaries.found_in(b"nothing of it: of a secret").is_empty());
    // Three bytes of sealed ones are those of a secret now and then.
    assert!(canaries.found_in(format!("{:?}", &value.as_bytes()[4..8]).as_bytes()).is_empty());
}
