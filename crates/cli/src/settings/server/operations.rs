//! The settings of what a server tells of itself.

use super::super::{Found, Layers, Name};
use crate::args::{AuditPlaceArgs, OperationsArgs};
use crate::failure::Failure;
use jeton_server::Config;
use jeton_server::audit::AuditLog;
use std::path::PathBuf;

const AUDIT_LOG: Name =
    Name { file: "server.audit_log", environment: "JETON_SERVER_AUDIT_LOG", flag: "--audit-log" };
const OFF: &str = "off";

impl Layers {
    /// Puts the settings of operation into `config`.
    pub(super) fn operations(&self, args: &OperationsArgs, config: &mut Config) -> Result<(), Failure> {
        config.audit_log = self.audit_log(args.audit_log.as_deref())?;
        Ok(())
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
