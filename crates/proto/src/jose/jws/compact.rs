//! The compact serialization (RFC 7515 §7.1), taken apart strictly before anything of it is believed.

use super::json;
use super::{InvalidJws, MAX_HEADER_BYTES, MAX_JWS_BYTES, MAX_KEY_ID_BYTES, Part};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Map, Value};

/// Three parts of which the header has been read. The signature has not been checked.
pub(in crate::jose) struct Compact<'a> {
    header: Map<String, Value>,
    pub(in crate::jose) signing_input: &'a str,
    payload: &'a str,
    signature: &'a str,
}

impl<'a> Compact<'a> {
    /// Splits and reads a compact serialization of at most [`MAX_JWS_BYTES`] bytes (RFC 7515 §5.2, steps 1 to 7).
    pub(in crate::jose) fn parse(compact: &'a str) -> Result<Self, InvalidJws> {
        if compact.len() > MAX_JWS_BYTES {
            return Err(InvalidJws::TooLong { bytes: compact.len() });
        }
        let (signing_input, header, payload, signature) = split(compact)?;
        if header.len() > MAX_HEADER_BYTES {
            return Err(InvalidJws::HeaderTooLong { bytes: header.len() });
        }
        let header = URL_SAFE_NO_PAD.decode(header).map_err(|_| InvalidJws::Base64(Part::Header))?;
        let header = json::parse_object(&header).map_err(InvalidJws::Header)?;
        // An extension changes what the rest means, so it is looked for first. RFC 7515 §4.1.11: a `crit` with a name
        // that is not understood makes the token invalid, and no extension is understood here.
        for extension in ["crit", "b64"] {
            if header.contains_key(extension) {
                return Err(InvalidJws::Extension(extension));
            }
        }
        Ok(Self { header, signing_input, payload, signature })
    }

    /// `alg`, where it is a string.
    pub(in crate::jose) fn algorithm_name(&self) -> Option<&str> {
        self.header.get("alg").and_then(Value::as_str)
    }

    /// A header parameter that is a string of at most [`MAX_KEY_ID_BYTES`], where it is there at all.
    pub(in crate::jose) fn text(&self, name: &'static str) -> Result<Option<&str>, InvalidJws> {
        match self.header.get(name) {
            None => Ok(None),
            Some(Value::String(text)) if text.len() <= MAX_KEY_ID_BYTES => Ok(Some(text)),
            Some(_) => Err(InvalidJws::HeaderParameter(name)),
        }
    }

    /// The bytes of the signature.
    pub(in crate::jose) fn signature(&self) -> Result<Vec<u8>, InvalidJws> {
        URL_SAFE_NO_PAD.decode(self.signature).map_err(|_| InvalidJws::Base64(Part::Signature))
    }

    /// The bytes of the payload.
    pub(in crate::jose) fn payload(&self) -> Result<Vec<u8>, InvalidJws> {
        URL_SAFE_NO_PAD.decode(self.payload).map_err(|_| InvalidJws::Base64(Part::Payload))
    }
}

/// Signing input, header, payload, signature.
fn split(compact: &str) -> Result<(&str, &str, &str, &str), InvalidJws> {
    if compact.trim_start().starts_with('{') {
        return Err(InvalidJws::JsonSerialization);
    }
    let wrong = || match compact.bytes().filter(|&byte| byte == b'.').count() {
        4 => InvalidJws::Encrypted,
        dots => InvalidJws::NotThreeParts { dots },
    };
    let (signing_input, signature) = compact.rsplit_once('.').ok_or_else(wrong)?;
    let (header, payload) = signing_input.split_once('.').ok_or_else(wrong)?;
    if payload.contains('.') {
        return Err(wrong());
    }
    Ok((signing_input, header, payload, signature))
}
