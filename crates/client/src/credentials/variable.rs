//! A secret in a variable of the environment.

use super::content::{MAX_SECRET_BYTES, too_long};
use super::environment::Environment;
use super::place::SecretPlace;
use super::source::{SecretFuture, SecretReading, SecretSource, SourceFault, SourceFaultKind};
use jeton_proto::secret::Secret;
use std::future::ready;

/// The value of a variable, as it was when the environment was taken. Nothing is cut from it.
#[derive(Clone, Debug)]
pub struct VariableSource {
    value: Result<Secret<String>, SourceFault>,
}

impl VariableSource {
    /// The variable `name` of `environment`. That it is not set is told when it is read.
    #[must_use]
    pub fn new(environment: &Environment, name: &str) -> Self {
        Self { value: value(environment, name) }
    }
}

fn value(environment: &Environment, name: &str) -> Result<Secret<String>, SourceFault> {
    let place = SecretPlace::Environment(name.to_owned());
    let fault = |kind, what| SourceFault::new(kind, &place, what);
    let value =
        environment.text(name).map_err(|fault_of_it| fault(fault_of_it.kind(), "it is not utf-8 text"))?;
    let value = value.map(Secret::new);
    let value = value.ok_or_else(|| fault(SourceFaultKind::Absent, "it is not set, or empty"))?;
    if value.expose().len() > MAX_SECRET_BYTES {
        return Err(too_long(&place));
    }
    Ok(value)
}

impl SecretSource for VariableSource {
    fn read(&self) -> SecretFuture<'_> {
        Box::pin(ready(self.value.clone().map(SecretReading::new)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::ffi::OsString;
    use std::os::unix::ffi::OsStringExt as _;

    #[tokio::test]
    async fn a_variable_holds_a_secret_or_it_is_told_what_is_wrong() {
        let binary = ("BINARY".into(), OsString::from_vec(b"canary\xff".to_vec()));
        let long = ("LONG".into(), "canary".repeat(20_000).into());
        let variables: [(OsString, OsString); 4] =
            [("SECRET".into(), " s\n".into()), ("EMPTY".into(), "".into()), binary, long];
        let environment = variables.into_iter().collect();
        let read = async |name| VariableSource::new(&environment, name).read().await;
        assert_eq!(read("SECRET").await.unwrap().current.expose(), " s\n", "nothing is cut");
        for (name, kind, what) in [
            ("EMPTY", SourceFaultKind::Absent, "EMPTY: it is not set, or empty"),
            ("OTHER", SourceFaultKind::Absent, "OTHER: it is not set, or empty"),
            ("BINARY", SourceFaultKind::Malformed, "BINARY: it is not utf-8 text"),
            ("LONG", SourceFaultKind::Malformed, "LONG: it is longer than 65536 bytes"),
        ] {
            let fault = read(name).await.unwrap_err();
            assert_eq!(fault.kind(), kind);
            assert_eq!(fault.to_string(), format!("the secret in the environment variable {what}"));
        }
    }
}
