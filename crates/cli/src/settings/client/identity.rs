//! Which client asks, and which authorization server.

use crate::args::IdentityArgs;
use crate::failure::Failure;
use crate::settings::faults::Faults;
use crate::settings::profile::{ClientLayers, Section};
use crate::settings::section::{CLIENT_ID, ISSUER, TOKEN_URL};
use crate::settings::{Found, Origin};

/// Which client at which authorization server.
#[derive(Debug)]
pub(crate) struct IdentitySettings {
    pub(crate) server: ServerSettings,
    pub(crate) client_id: String,
}

/// Which authorization server.
#[derive(Clone, Debug)]
pub(crate) enum ServerSettings {
    /// By its token endpoint, and its issuer identifier where that is known too.
    Endpoint { token_url: Found<String>, issuer: Option<String> },
    /// By its issuer identifier, which the endpoint is found by.
    Issuer(Found<String>),
}

impl ServerSettings {
    /// The url that is set for it.
    pub(crate) fn url(&self) -> &str {
        &self.found().value
    }

    /// Where that is set.
    pub(crate) fn origin(&self) -> &Origin {
        &self.found().origin
    }

    const fn found(&self) -> &Found<String> {
        match self {
            Self::Endpoint { token_url: found, .. } | Self::Issuer(found) => found,
        }
    }

    /// Its token endpoint, where that is set.
    pub(crate) fn token_url(&self) -> Option<&str> {
        match self {
            Self::Endpoint { token_url, .. } => Some(&token_url.value),
            Self::Issuer(_) => None,
        }
    }

    /// Its issuer identifier, where that is set.
    pub(crate) fn issuer(&self) -> Option<&str> {
        match self {
            Self::Endpoint { issuer, .. } => issuer.as_deref(),
            Self::Issuer(issuer) => Some(&issuer.value),
        }
    }
}

impl ClientLayers<'_> {
    /// Which client is meant, at which authorization server, or all that is wrong with that.
    pub(crate) fn identity(&self, args: &IdentityArgs) -> Result<IdentitySettings, Faults> {
        let mut faults = Faults::default();
        let server = self.server_among(&Section::ALL, args);
        let server = faults.keep(server.and_then(|server| server.ok_or_else(|| self.missing_server())));
        let client_id = self.text(&CLIENT_ID, args.client_id.as_deref());
        let client_id =
            client_id.and_then(|id| id.ok_or_else(|| self.missing("the client id", &CLIENT_ID.name)));
        let client_id = faults.keep(client_id);
        match (server, client_id) {
            (Some(server), Some(client_id)) => Ok(IdentitySettings { server, client_id: client_id.value }),
            (_, _) => Err(faults),
        }
    }

    /// Which server is meant as the settings file has it.
    pub(in crate::settings) fn server_in_file(&self) -> Option<ServerSettings> {
        self.server_among(&Section::IN_FILE, &IdentityArgs::default()).ok().flatten()
    }

    /// The server as the nearest section has it that says anything of it: the issuer of one server and the endpoint of another must not
    /// come together.
    fn server_among(
        &self,
        sections: &[Section],
        args: &IdentityArgs,
    ) -> Result<Option<ServerSettings>, Failure> {
        for section in sections {
            let token_url = self.text_in(*section, &TOKEN_URL, args.token_url.as_deref())?;
            let issuer = self.text_in(*section, &ISSUER, args.issuer.as_deref())?;
            match (token_url, issuer) {
                (None, None) => {}
                (None, Some(issuer)) => return Ok(Some(ServerSettings::Issuer(issuer))),
                (Some(token_url), issuer) => {
                    let issuer = issuer.map(|issuer| issuer.value);
                    return Ok(Some(ServerSettings::Endpoint { token_url, issuer }));
                }
            }
        }
        Ok(None)
    }

    fn missing_server(&self) -> Failure {
        let failure = self.missing("the token url", &TOKEN_URL.name);
        let Some(hint) = failure.what_to_do().filter(|hint| hint.starts_with("give ")) else {
            return failure;
        };
        let hint = format!("{hint}; or name the issuer, by which it is found: {}", ISSUER.name.flag);
        failure.hint(hint)
    }
}
