//! How servers are reached.

use crate::args::NetworkArgs;
use crate::failure::Failure;
use crate::settings::profile::ClientLayers;
use crate::settings::section::{CA_FILE, PLAIN_HTTP_HOSTS};
use jeton::http::{PlainHttp, TlsRoots};
use std::fmt::Display;

/// What a certificate in PEM begins with (RFC 7468 section 5).
const CERTIFICATE: &[u8] = b"-----BEGIN CERTIFICATE-----";

/// How servers are reached.
#[derive(Clone, Debug)]
pub(crate) struct NetworkSettings {
    pub(crate) plain_http: PlainHttp,
    pub(crate) tls_roots: TlsRoots,
}

impl ClientLayers<'_> {
    /// How servers are reached.
    pub(crate) fn network(&self, args: &NetworkArgs) -> Result<NetworkSettings, Failure> {
        let hosts = self.list(&PLAIN_HTTP_HOSTS, &args.plain_http_hosts, &[',', ' '])?;
        let hosts = hosts.map(|found| found.value).unwrap_or_default();
        let tls_roots = match self.text(&CA_FILE, args.ca_file.as_deref())? {
            None => TlsRoots::Platform,
            Some(found) => {
                let path = found.path();
                let fault = |what: &dyn Display| found.origin.fault(&format!("{}: {what}", path.display()));
                let pem = std::fs::read(&path).map_err(|error| fault(&error))?;
                if !pem.windows(CERTIFICATE.len()).any(|bytes| bytes == CERTIFICATE) {
                    return Err(fault(&"no PEM certificate is in it"));
                }
                TlsRoots::Only(pem)
            }
        };
        Ok(NetworkSettings {
            plain_http: hosts.into_iter().fold(PlainHttp::to_loopback(), PlainHttp::and_to),
            tls_roots,
        })
    }
}
