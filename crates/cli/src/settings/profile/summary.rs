//! A profile in short, as the settings file has it.

use super::ClientLayers;
use crate::settings::section::{AUTH_METHOD, CLIENT_ID, SCOPES};
use crate::settings::{Found, Material, ServerSettings};
use jeton::ClientAuthMethod;

/// What a profile says, with what it takes from the top of the settings file. What is not set is `None`, and so is a place of a
/// secret that cannot be told.
#[derive(Debug)]
pub(crate) struct ProfileSummary {
    pub(crate) name: String,
    pub(crate) token_url: Option<String>,
    pub(crate) issuer: Option<String>,
    pub(crate) client_id: Option<String>,
    /// `None` where the issuer's metadata decides.
    pub(crate) auth_method: Option<String>,
    pub(crate) scope: Option<String>,
    /// What the client proves itself with, by the name of its setting.
    pub(crate) credential: Option<&'static str>,
    /// Where that is.
    pub(crate) secret: Option<String>,
}

impl ClientLayers<'_> {
    /// The profile in short. Reads no secret, and no variable.
    pub(crate) fn summary(&self) -> ProfileSummary {
        let text = |found: Option<Found<String>>| found.map(|found| found.value);
        let scopes = self.in_file(&SCOPES).map(|found| found.value.join(" "));
        let server = self.server_in_file();
        let material = self.material_in_file().ok().flatten();
        let methods = material.as_ref().map(Material::methods);
        let of_material = methods.and_then(<[ClientAuthMethod]>::first).copied().unwrap_or_default();
        let auth_method = text(self.in_file(&AUTH_METHOD)).or_else(|| match server {
            Some(ServerSettings::Issuer(_)) => None,
            Some(ServerSettings::Endpoint { .. }) | None => Some(of_material.to_string()),
        });
        ProfileSummary {
            name: self.name().map(ToString::to_string).unwrap_or_default(),
            token_url: server.as_ref().and_then(ServerSettings::token_url).map(str::to_owned),
            issuer: server.as_ref().and_then(ServerSettings::issuer).map(str::to_owned),
            client_id: text(self.in_file(&CLIENT_ID)),
            auth_method,
            scope: scopes.filter(|scopes| !scopes.is_empty()),
            credential: material.as_ref().map(Material::name),
            // What is no place may be the secret itself.
            secret: material.map(|material| material.place().told()),
        }
    }
}
