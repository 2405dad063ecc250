//! What is wrong with a settings file, told without acting on it.

use super::Layers;
use super::file::SettingsFile;
use crate::args::{CacheArgs, ClientArgs, IdentityArgs, NetworkArgs, ServerArgs};
use jeton::credentials::Environment;
use std::path::Path;

/// Reads `text` as the settings file `jeton.toml`, and gives what would be told of it on stderr: as TOML, as the
/// settings of the commands that ask for tokens, and as those of the server. Empty when nothing is wrong.
///
/// No file that the settings name is opened.
pub fn settings_faults(text: &str) -> Vec<String> {
    let mut file = match SettingsFile::parse(Path::new("jeton.toml"), text.to_owned()) {
        Ok(file) => file,
        Err(failure) => return vec![failure.lines()],
    };
    // The one path that is read while the settings are, and it may be that of a device.
    file.content.ca_file = None;
    let layers = Layers { file, environment: Environment::default() };
    let client = layers.client(&client_without_flags()).err();
    let server = layers.server(&server_without_flags()).err();
    client.into_iter().chain(server).map(|failure| failure.lines()).collect()
}

fn client_without_flags() -> ClientArgs {
    ClientArgs {
        identity: IdentityArgs { token_url: None, client_id: None },
        client_secret: None,
        auth_method: None,
        scopes: Vec::new(),
        audience: None,
        resources: Vec::new(),
        endpoint_params: Vec::new(),
        timeout: "15s".to_owned(),
        network: NetworkArgs { ca_file: None, plain_http_hosts: Vec::new() },
        cache: CacheArgs::default(),
    }
}

fn server_without_flags() -> ServerArgs {
    ServerArgs {
        listen: None,
        issuer: None,
        // Without it the directory of this user would be looked for in the environment.
        data_dir: Some("data".to_owned()),
        default_audience: None,
        signing_algorithm: None,
        longest_token_lifetime: None,
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
        assert!(settings_faults("tokenurl = 1").concat().contains("jeton.toml:1:1: unknown field"));
    }
}
