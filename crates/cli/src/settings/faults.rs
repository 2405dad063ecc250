//! What is wrong with a settings file, told without acting on it.

use super::Layers;
use super::file::SettingsFile;
use crate::args::{
    AssertionArgs, CacheArgs, ClientArgs, ClientsDirArgs, CredentialArgs, IdentityArgs, NetworkArgs,
    OperationsArgs, ServerArgs, StorageArgs, ThrottlingArgs,
};
use crate::exit_code::ExitCode;
use crate::failure::Failure;
use jeton::credentials::Environment;
use std::path::Path;

/// Reads `text` as the settings file `jeton.toml`, and gives what would be told of it on stderr: as TOML, as the
/// settings of the commands that ask for tokens, and as those of the server. Empty when nothing is wrong.
///
/// No file that the settings name is opened.
pub fn settings_faults(text: &str) -> Vec<String> {
    let mut file = SettingsFile::parse(Path::new("jeton.toml"), text.to_owned());
    if !file.faults.is_empty() {
        return file.faults.iter().map(|fault| fault.failure.lines()).collect();
    }
    // The paths that are read while the settings are, and they may be those of a device.
    file.content.server.key_authorities = None;
    file.content.top.open_nothing();
    file.content.profiles.values_mut().for_each(|profile| profile.section.open_nothing());
    let layers = Layers { file, environment: Environment::default() };
    let args = ClientArgs::without_flags();
    let mut faults = Faults::default();
    faults.keep_all(layers.without_profile().client(&args));
    for profile in layers.profiles() {
        faults.keep_all(profile.client(&args));
    }
    faults.keep(layers.server(&server_without_flags()));
    faults.all().iter().map(Failure::lines).collect()
}

/// What is wrong with settings, all of it.
#[derive(Debug, Default)]
pub(crate) struct Faults(Vec<Failure>);

impl Faults {
    pub(crate) fn add(&mut self, failure: Failure) {
        self.0.push(failure);
    }

    /// The value, or its fault is added.
    pub(crate) fn keep<T>(&mut self, read: Result<T, Failure>) -> Option<T> {
        read.map_err(|failure| self.add(failure)).ok()
    }

    /// The value, or its faults are added.
    pub(crate) fn keep_all<T>(&mut self, read: Result<T, Self>) -> Option<T> {
        read.map_err(|faults| self.0.extend(faults.0)).ok()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(crate) fn all(&self) -> &[Failure] {
        &self.0
    }

    /// The first of them.
    pub(crate) fn first(self) -> Failure {
        let first = self.0.into_iter().next();
        first.unwrap_or_else(|| Failure::new(ExitCode::Other, "the settings are wrong"))
    }
}

impl ClientArgs {
    /// A command line that says nothing.
    pub(crate) fn without_flags() -> Self {
        Self {
            identity: IdentityArgs::default(),
            credential: CredentialArgs::default(),
            scopes: Vec::new(),
            audience: None,
            resources: Vec::new(),
            endpoint_params: Vec::new(),
            timeout: "15s".to_owned(),
            network: NetworkArgs::default(),
            cache: CacheArgs::default(),
        }
    }
}

fn server_without_flags() -> ServerArgs {
    ServerArgs {
        storage: StorageArgs::default(),
        listen: None,
        issuer: None,
        // Without it the directory of this user would be looked for in the environment.
        data_dir: Some("data".to_owned()),
        default_audience: None,
        signing_algorithms: Vec::new(),
        key_rotation_period: None,
        jwks_max_age: None,
        longest_token_lifetime: None,
        throttling: ThrottlingArgs::default(),
        operations: OperationsArgs::default(),
        assertions: AssertionArgs::default(),
        clients: ClientsDirArgs::default(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_halves_of_a_file_are_told_of() {
        let whole = "token_url = \"https://x/\"\nclient_id = \"c\"\nclient_secret_file = \"s\"\n[server]\nlisten = \"80\"";
        assert!(settings_faults(whole).is_empty(), "{:?}", settings_faults(whole));
        let faults = settings_faults("[server]\nlisten = \"here\"").concat();
        assert!(
            faults.contains("token url") && faults.contains("jeton.toml:2:10: server.listen"),
            "{faults}"
        );
        let profiles =
            format!("{whole}\n[client.a]\n[client.b]\nauth_method = \"none\"\n[client.c]\nscope = 1");
        let faults = settings_faults(&profiles).concat();
        assert!(
            faults.contains("jeton.toml:10:1: unknown field") && !faults.contains("auth_method: "),
            "{faults}"
        );
        let profiles = profiles.replace("scope = 1", "client_secret_file = \"other\"");
        let faults = settings_faults(&profiles);
        assert!(
            faults.len() == 1 && faults.concat().contains("jeton.toml:8:15: auth_method: "),
            "{faults:?}"
        );
        assert!(settings_faults("tokenurl = 1").concat().contains("jeton.toml:1:1: unknown field"));
    }
}
