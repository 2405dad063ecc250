//! Looks for the canaries in what a store left behind, in every form that somebody might have written them in.

use super::findings::Findings;
use super::secrets::{self, hex};
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD_NO_PAD, URL_SAFE_NO_PAD};
use std::collections::BTreeSet;

/// What is looked for, with the name of the form that it is in.
#[derive(Debug)]
pub struct Needles {
    needles: Vec<(String, Vec<u8>)>,
}

impl Needles {
    /// The canaries, and these tokens word by word.
    pub fn with_tokens<'a>(tokens: impl IntoIterator<Item = &'a str>) -> Self {
        let canaries = [
            ("client id", secrets::CLIENT_ID),
            ("client secret", secrets::SECRET),
            ("access token", secrets::TOKEN),
            ("scope", secrets::SCOPE),
        ];
        let tails = tokens.into_iter().filter_map(|token| token.rsplit('.').next());
        let all = canaries.into_iter().chain(tails.map(|tail| ("end of a token", tail)));
        Self { needles: all.flat_map(|(name, text)| forms(name, text)).collect() }
    }

    /// How many there are.
    pub fn count(&self) -> usize {
        self.needles.len()
    }

    /// Which of them are in `hay`.
    pub fn found_in(&self, hay: &[u8]) -> Vec<&str> {
        let is_in = |needle: &[u8]| hay.windows(needle.len()).any(|window| window == needle);
        self.needles.iter().filter(|(_, needle)| is_in(needle)).map(|(name, _)| name.as_str()).collect()
    }

    /// Looks through all of `hays`, and notes what is found, and how much was looked through.
    pub fn look_through(&self, hays: &[(String, Vec<u8>)], findings: &mut Findings) {
        let bytes: usize = hays.iter().map(|(_, hay)| hay.len()).sum();
        findings.figure("searched", format!("{} parts, {bytes} bytes, {} needles", hays.len(), self.count()));
        findings.expect(bytes > 0, || "there was nothing to search".to_owned());
        for (place, hay) in hays {
            for name in self.found_in(hay).into_iter().chain(self.found_in(place.as_bytes())) {
                findings.fault(format!("{name} in {place}"));
            }
        }
    }
}

fn forms(name: &str, text: &str) -> Vec<(String, Vec<u8>)> {
    let urlencoded: String = form_urlencoded::byte_serialize(text.as_bytes()).collect();
    let percent = percent_encoded(text);
    let mut forms = BTreeSet::new();
    for plain in [text, &urlencoded] {
        let bytes = plain.as_bytes();
        forms.insert(("raw", plain.to_owned()));
        forms.insert(("hex", hex(bytes)));
        forms.insert(("hex", hex(bytes).to_uppercase()));
        for offset in 0..3 {
            forms.insert(("base64", aligned(bytes, offset, |bytes| STANDARD_NO_PAD.encode(bytes))));
            forms.insert(("base64url", aligned(bytes, offset, |bytes| URL_SAFE_NO_PAD.encode(bytes))));
        }
    }
    forms.insert(("url-encoded", percent.to_uppercase()));
    forms.insert(("url-encoded", percent));
    forms.into_iter().map(|(form, text)| (format!("{name} ({form})"), text.into_bytes())).collect()
}

fn percent_encoded(text: &str) -> String {
    let digits = hex(text.as_bytes());
    let mut encoded = String::with_capacity(digits.len() * 2);
    for (index, digit) in digits.chars().enumerate() {
        if index.is_multiple_of(2) {
            encoded.push('%');
        }
        encoded.push(digit);
    }
    encoded
}

/// The letters that are the same whatever stands before and behind, when `offset` bytes of a group of three stand before.
fn aligned(bytes: &[u8], offset: usize, encode: impl Fn(&[u8]) -> String) -> String {
    let mut padded = vec![0; offset];
    padded.extend_from_slice(bytes);
    let before = if offset == 0 { 0 } else { offset + 1 };
    let behind = usize::from(!padded.len().is_multiple_of(3));
    let encoded = encode(&padded);
    let kept = encoded.len().saturating_sub(before + behind);
    encoded.chars().skip(before).take(kept).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use base64::engine::general_purpose::STANDARD;

    #[test]
    fn every_form_is_found_wherever_it_stands() {
        let needles = Needles::with_tokens(["canary-token~+/.1.0123456789abcdef0123456789abcdef"]);
        for canary in [
            secrets::CLIENT_ID,
            secrets::SECRET,
            secrets::TOKEN,
            secrets::SCOPE,
            "0123456789abcdef0123456789abcdef",
        ] {
            for before in 0..4 {
                let plain = format!("{}{canary}xyz", "~".repeat(before));
                let urlencoded: String = form_urlencoded::byte_serialize(plain.as_bytes()).collect();
                for hay in [
                    plain.clone(),
                    hex(plain.as_bytes()),
                    hex(urlencoded.as_bytes()).to_uppercase(),
                    STANDARD.encode(&plain),
                    URL_SAFE_NO_PAD.encode(&plain),
                    STANDARD.encode(&urlencoded),
                    urlencoded,
                    percent_encoded(&plain),
                ] {
                    assert!(!needles.found_in(hay.as_bytes()).is_empty(), "{canary} in {hay}");
                }
            }
        }
        assert!(needles.found_in(b"nothing of that is in here, whatever it is called").is_empty());
    }
}
