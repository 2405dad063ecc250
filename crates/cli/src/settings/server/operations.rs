//! The settings of what a server tells of itself.

use super::super::{Found, Layers, Name, missing};
use super::ListenAddress;
use crate::args::{AuditPlaceArgs, OperationsArgs};
use crate::failure::Failure;
use crate::lifespan::Lifespan;
use jeton_server::audit::AuditLog;
use jeton_server::{Config, TlsFiles};
use std::path::PathBuf;

const AUDIT_LOG: Name =
    Name { file: "server.audit_log", environment: "JETON_SERVER_AUDIT_LOG", flag: "--audit-log" };
const METRICS_LISTEN: Name = Name {
    file: "server.metrics_listen",
    environment: "JETON_SERVER_METRICS_LISTEN",
    flag: "--metrics-listen",
};
const OTLP_ENDPOINT: Name =
    Name { file: "server.otlp_endpoint", environment: "JETON_SERVER_OTLP_ENDPOINT", flag: "--otlp-endpoint" };
const OTLP_INTERVAL: Name =
    Name { file: "server.otlp_interval", environment: "JETON_SERVER_OTLP_INTERVAL", flag: "--otlp-interval" };
const ADMIN_LISTEN: Name =
    Name { file: "server.admin_listen", environment: "JETON_SERVER_ADMIN_LISTEN", flag: "--admin-listen" };
const TLS_CERTIFICATE: Name = Name {
    file: "server.tls_certificate",
    environment: "JETON_SERVER_TLS_CERTIFICATE",
    flag: "--tls-certificate",
};
const TLS_KEY: Name = Name { file: "server.tls_key", environment: "JETON_SERVER_TLS_KEY", flag: "--tls-key" };
const TLS_CLIENT_CA: Name =
    Name { file: "server.tls_client_ca", environment: "JETON_SERVER_TLS_CLIENT_CA", flag: "--tls-client-ca" };
const OFF: &str = "off";

impl Layers {
    /// Puts the settings of operation into `config`.
    pub(super) fn operations(&self, args: &OperationsArgs, config: &mut Config) -> Result<(), Failure> {
        config.audit_log = self.audit_log(args.audit_log.as_deref())?;
        let in_file = self.file.content.server.metrics_listen.as_ref();
        if let Some(found) = self.text(&METRICS_LISTEN, args.metrics_listen.as_deref(), in_file)? {
            config.metrics_listen = Some(found.parse::<ListenAddress>()?.0);
        }
        let in_file = self.file.content.server.otlp_endpoint.as_ref();
        let endpoint = self.text(&OTLP_ENDPOINT, args.otlp_endpoint.as_deref(), in_file)?;
        config.otlp_endpoint = endpoint.map(|found| found.value);
        let in_file = self.file.content.server.otlp_interval.as_ref();
        if let Some(found) = self.text(&OTLP_INTERVAL, args.otlp_interval.as_deref(), in_file)? {
            config.otlp_interval = found.parse::<Lifespan>()?.0;
        }
        let in_file = self.file.content.server.admin_listen.as_ref();
        if let Some(found) = self.text(&ADMIN_LISTEN, args.admin_listen.as_deref(), in_file)? {
            config.admin_listen = Some(found.parse::<ListenAddress>()?.0);
        }
        config.tls = self.tls(args)?;
        Ok(())
    }

    fn tls(&self, args: &OperationsArgs) -> Result<Option<TlsFiles>, Failure> {
        let file = &self.file.content.server;
        let certificate =
            self.text(&TLS_CERTIFICATE, args.tls_certificate.as_deref(), file.tls_certificate.as_ref())?;
        let key = self.text(&TLS_KEY, args.tls_key.as_deref(), file.tls_key.as_ref())?;
        let client_ca =
            self.text(&TLS_CLIENT_CA, args.tls_client_ca.as_deref(), file.tls_client_ca.as_ref())?;
        let client_ca = client_ca.map(|found| found.path());
        match (certificate, key) {
            (Some(certificate), Some(key)) => {
                Ok(Some(TlsFiles { client_ca, ..TlsFiles::new(certificate.path(), key.path()) }))
            }
            (Some(_), None) => Err(missing("the key of the certificate", &TLS_KEY)),
            (None, Some(_)) => Err(missing("the certificate of the key", &TLS_CERTIFICATE)),
            (None, None) if client_ca.is_some() => {
                Err(missing("the certificate, without which no client is asked for one,", &TLS_CERTIFICATE))
            }
            (None, None) => Ok(None),
        }
    }

    /// The audit log of the server, unless there is none.
    pub(crate) fn audit_file(&self, args: &AuditPlaceArgs) -> Result<Option<PathBuf>, Failure> {
        let data_dir = self.data_dir(args.data_dir.as_deref())?;
        Ok(self.audit_log(args.audit_log.as_deref())?.path(&data_dir))
    }

    /// Where the audit log is.
    pub(crate) fn audit_log(&self, flag: Option<&str>) -> Result<AuditLog, Failure> {
        let in_file = self.file.content.server.audit_log.as_ref();
        Ok(match self.text(&AUDIT_LOG, flag, in_file)? {
            None => AuditLog::InDataDir,
            Some(Found { value, .. }) if value == OFF => AuditLog::Off,
            Some(found) => AuditLog::File(found.path()),
        })
    }
}
