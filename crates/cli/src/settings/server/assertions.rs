//! The settings of `jeton serve` by which assertions of clients are judged.

use super::super::{Found, Layers, Name};
use crate::args::AssertionArgs;
use crate::failure::Failure;
use jeton_server::{AssertionAudience, Config};
use std::fmt::Display;
use std::fs::File;
use std::io::Read as _;

const ASSERTION_AUDIENCE: Name = Name {
    file: "server.assertion_audience",
    environment: "JETON_SERVER_ASSERTION_AUDIENCE",
    flag: "--assertion-audience",
};
const KEY_AUTHORITIES: Name = Name {
    file: "server.key_authorities",
    environment: "JETON_SERVER_KEY_AUTHORITIES",
    flag: "--key-authorities",
};
/// The longest file of certificate authorities that is read, in bytes; those of a whole system are a quarter of that.
const MAX_AUTHORITIES_BYTES: u64 = 1024 * 1024;
/// What a certificate in PEM begins with (RFC 7468 section 5).
const CERTIFICATE: &[u8] = b"-----BEGIN CERTIFICATE-----";

impl Layers {
    /// Puts the settings of assertions into `config`.
    pub(super) fn assertions(&self, args: &AssertionArgs, config: &mut Config) -> Result<(), Failure> {
        let file = &self.file.content.server;
        let audience = args.assertion_audience.as_deref();
        if let Some(found) = self.text(&ASSERTION_AUDIENCE, audience, file.assertion_audience.as_ref())? {
            config.assertion_audience = match found.value.as_str() {
                "issuer" => AssertionAudience::Issuer,
                "issuer_or_token_endpoint" => AssertionAudience::IssuerOrTokenEndpoint,
                _ => return Err(found.origin.fault(&"it is issuer or issuer_or_token_endpoint")),
            };
        }
        let authorities = args.key_authorities.as_deref();
        let authorities = self.text(&KEY_AUTHORITIES, authorities, file.key_authorities.as_ref())?;
        config.key_authorities = authorities.map(|found| read_certificates(&found)).transpose()?;
        Ok(())
    }
}

fn read_certificates(found: &Found<String>) -> Result<Vec<u8>, Failure> {
    let path = found.path();
    let fault = |what: &dyn Display| found.origin.fault(&format!("{}: {what}", path.display()));
    let mut pem = Vec::new();
    let file = File::open(&path).map_err(|error| fault(&error))?;
    file.take(MAX_AUTHORITIES_BYTES + 1).read_to_end(&mut pem).map_err(|error| fault(&error))?;
    if pem.len() as u64 > MAX_AUTHORITIES_BYTES {
        return Err(fault(&format!("it is longer than {MAX_AUTHORITIES_BYTES} bytes")));
    }
    if !pem.windows(CERTIFICATE.len()).any(|bytes| bytes == CERTIFICATE) {
        return Err(fault(&"no PEM certificate is in it"));
    }
    Ok(pem)
}
