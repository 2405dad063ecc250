//! What a client has to prove itself with, and where that is: one thing, all of it from one section of the settings.

use crate::args::CredentialArgs;
use crate::exit_code::ExitCode;
use crate::failure::Failure;
use crate::settings::profile::{ClientLayers, Section};
use crate::settings::section::{
    CLIENT_ASSERTION, CLIENT_CERTIFICATE, CLIENT_CERTIFICATE_KEY, CLIENT_SECRET, CLIENT_SECRET_FILE,
    CLIENT_SECRET_PREVIOUS, ISSUER, PRIVATE_KEY, TOKEN_URL,
};
use crate::settings::{Found, Origin, found};
use jeton::credentials::SecretPlace;
use jeton::{ClientAuthMethod, Secret};
use std::path::Path;

/// What a client has to prove itself with, and where that is. Nothing is read yet.
#[derive(Debug)]
pub(crate) enum Material {
    /// A secret that it shares with the server, and perhaps the one before it.
    Secret { place: Found<SecretPlace>, previous: Option<Found<SecretPlace>> },
    /// A private key.
    PrivateKey(Found<SecretPlace>),
    /// Assertions that somebody else makes for it.
    Assertion(Found<SecretPlace>),
    /// A certificate, whose key may be in a place of its own.
    Certificate { place: Found<SecretPlace>, key: Option<Found<SecretPlace>> },
}

impl Material {
    /// What it is, for people.
    pub(crate) const fn kind(&self) -> &'static str {
        match self {
            Self::Secret { .. } => "client secret",
            Self::PrivateKey(_) => "private key",
            Self::Assertion(_) => "client assertion",
            Self::Certificate { .. } => "client certificate",
        }
    }

    /// What it is, for programs.
    pub(crate) const fn name(&self) -> &'static str {
        match self {
            Self::Secret { .. } => "client_secret",
            Self::PrivateKey(_) => "private_key",
            Self::Assertion(_) => "client_assertion",
            Self::Certificate { .. } => "client_certificate",
        }
    }

    /// Where it is.
    pub(crate) const fn place(&self) -> &Found<SecretPlace> {
        match self {
            Self::Secret { place, .. }
            | Self::PrivateKey(place)
            | Self::Assertion(place)
            | Self::Certificate { place, .. } => place,
        }
    }

    /// The other place that is read with it.
    pub(crate) const fn companion(&self) -> Option<&Found<SecretPlace>> {
        match self {
            Self::Secret { previous: other, .. } | Self::Certificate { key: other, .. } => other.as_ref(),
            Self::PrivateKey(_) | Self::Assertion(_) => None,
        }
    }

    /// All places that are read for it.
    pub(super) fn places(&self) -> Vec<&SecretPlace> {
        [self.place()].into_iter().chain(self.companion()).map(|place| &place.value).collect()
    }

    /// The methods that prove a client by it, the one where none is set first.
    pub(crate) const fn methods(&self) -> &'static [ClientAuthMethod] {
        use ClientAuthMethod as Method;
        match self {
            Self::Secret { .. } => {
                &[Method::ClientSecretBasic, Method::ClientSecretPost, Method::ClientSecretJwt]
            }
            Self::PrivateKey(_) | Self::Assertion(_) => &[Method::PrivateKeyJwt],
            Self::Certificate { .. } => &[Method::TlsClientAuth, Method::SelfSignedTlsClientAuth],
        }
    }

    /// What the names of tokens in the cache are bound to, when `text` was read. Whoever gives something wrong is to learn that,
    /// and not to get what the right thing brought; but an assertion is another one each hour, and the client the same.
    pub(crate) fn binding(&self, text: &Secret<String>) -> Secret<String> {
        match self {
            Self::Secret { .. } | Self::PrivateKey(_) | Self::Certificate { .. } => text.clone(),
            Self::Assertion(place) => Secret::new(format!("client assertion: {}", place.told_wherever())),
        }
    }
}

impl Found<SecretPlace> {
    /// The place for people, with the whole path of a file.
    pub(crate) fn told(&self) -> String {
        self.told_by(Path::to_path_buf)
    }

    /// As `told`, and the same in every directory that a command may run in.
    fn told_wherever(&self) -> String {
        self.told_by(|path| std::path::absolute(path).unwrap_or_else(|_| path.to_owned()))
    }

    fn told_by(&self, whole: impl Fn(&Path) -> std::path::PathBuf) -> String {
        if let SecretPlace::File(path) = &self.value {
            return SecretPlace::File(whole(&self.origin.directory().join(path))).to_string();
        }
        self.value.to_string()
    }
}

impl ClientLayers<'_> {
    /// What the client proves itself with, and in which section that is set: the nearest one that has any of it.
    pub(super) fn material(&self, args: &CredentialArgs) -> Result<(Section, Material), Failure> {
        self.nearest_material(&Section::ALL, args)?.ok_or_else(|| self.missing_material())
    }

    /// As the settings file has it.
    pub(in crate::settings) fn material_in_file(&self) -> Result<Option<Material>, Failure> {
        let found = self.nearest_material(&Section::IN_FILE, &CredentialArgs::default())?;
        Ok(found.map(|(_, material)| material))
    }

    fn nearest_material(
        &self,
        sections: &[Section],
        args: &CredentialArgs,
    ) -> Result<Option<(Section, Material)>, Failure> {
        for section in sections {
            let Some(material) = self.material_in(*section, args)? else { continue };
            if *section == Section::Top {
                self.is_for_this_server(&material)?;
            }
            return Ok(Some((*section, material)));
        }
        Ok(None)
    }

    fn material_in(&self, section: Section, args: &CredentialArgs) -> Result<Option<Material>, Failure> {
        let place = |setting, flag: &Option<String>| self.place_in(section, setting, flag.as_deref());
        let secret = self.secret_in(section, args)?;
        let previous = place(&CLIENT_SECRET_PREVIOUS, &args.client_secret_previous)?;
        let private_key = place(&PRIVATE_KEY, &args.private_key)?;
        let assertion = place(&CLIENT_ASSERTION, &args.client_assertion)?;
        let certificate = place(&CLIENT_CERTIFICATE, &args.client_certificate)?;
        let key = place(&CLIENT_CERTIFICATE_KEY, &args.client_certificate_key)?;
        alone(secret.is_none(), previous.as_ref(), "a client secret")?;
        alone(certificate.is_none(), key.as_ref(), "a client certificate")?;
        let all = [
            secret.map(|place| Material::Secret { place, previous }),
            private_key.map(Material::PrivateKey),
            assertion.map(Material::Assertion),
            certificate.map(|place| Material::Certificate { place, key }),
        ];
        let mut all = all.into_iter().flatten();
        match (all.next(), all.next()) {
            (Some(first), Some(second)) => {
                let (kind, origin) = (first.kind(), &first.place().origin);
                let what =
                    format!("a {kind} is set too, by {origin}, and a client proves itself by one thing");
                Err(second.place().origin.fault(&what).hint("remove one of them"))
            }
            (first, _) => Ok(first),
        }
    }

    fn secret_in(
        &self,
        section: Section,
        args: &CredentialArgs,
    ) -> Result<Option<Found<SecretPlace>>, Failure> {
        let file = |file: Found<String>| found(SecretPlace::File(file.value.into()), file.origin);
        match section {
            Section::Flags => self.place_in(section, &CLIENT_SECRET, args.client_secret.as_deref()),
            Section::Variables => self.secret_in_variables(),
            Section::Profile | Section::Top => {
                let named = self.place_in(section, &CLIENT_SECRET, None)?;
                match (named, self.text_in(section, &CLIENT_SECRET_FILE, None)?) {
                    (Some(named), Some(_)) => {
                        Err(named.origin.fault(&"client_secret_file is set too; remove one of them"))
                    }
                    (named, in_file) => Ok(named.or_else(|| in_file.map(file))),
                }
            }
        }
    }

    /// `JETON_CLIENT_SECRET` is the one variable that holds a secret itself.
    fn secret_in_variables(&self) -> Result<Option<Found<SecretPlace>>, Failure> {
        match (self.variable(&CLIENT_SECRET)?, self.variable(&CLIENT_SECRET_FILE)?) {
            (None, None) => Ok(None),
            (Some(Found { origin, .. }), None) => {
                let variable = CLIENT_SECRET.name.environment.to_owned();
                Ok(Some(Found { value: SecretPlace::Environment(variable), origin }))
            }
            (None, Some(file)) => {
                Ok(Some(Found { value: SecretPlace::File(file.value.into()), origin: file.origin }))
            }
            (Some(_), Some(_)) => {
                let message = "JETON_CLIENT_SECRET and JETON_CLIENT_SECRET_FILE are both set";
                Err(Failure::new(ExitCode::Configuration, message).hint("unset one of them"))
            }
        }
    }

    /// A line that was forgotten must not send what is for one server to another.
    fn is_for_this_server(&self, at_the_top: &Material) -> Result<(), Failure> {
        let own = (self.in_profile(&TOKEN_URL), self.in_profile(&ISSUER));
        let top = (self.at_the_top(&TOKEN_URL), self.at_the_top(&ISSUER));
        let same = |own: &Option<Found<String>>, top: &Option<Found<String>>| matches!((own, top), (Some(own), Some(top)) if own.value == top.value);
        let elsewhere = match (&own.0, &own.1) {
            (None, None) => None,
            _ if top.0.is_none() && top.1.is_none() => None,
            (Some(own_url), _) => (!same(&own.0, &top.0)).then_some(own_url),
            (None, Some(issuer)) => (!same(&own.1, &top.1)).then_some(issuer),
        };
        let Some(elsewhere) = elsewhere else { return Ok(()) };
        let kind = match at_the_top {
            Material::Secret { .. } => "secret",
            Material::PrivateKey(_) | Material::Assertion(_) | Material::Certificate { .. } => {
                at_the_top.kind()
            }
        };
        let server = if top.0.is_some() { "token_url" } else { "issuer" };
        let what =
            format!("the {kind} at the top of the file is for the {server} there, and not for this one");
        let hint = match at_the_top {
            Material::Secret { .. } => {
                "write client_secret or client_secret_file in the profile too".to_owned()
            }
            Material::PrivateKey(_) | Material::Assertion(_) | Material::Certificate { .. } => {
                format!("write {} in the profile too", at_the_top.name())
            }
        };
        Err(elsewhere.origin.fault(&what).hint(hint))
    }

    fn missing_material(&self) -> Failure {
        let failure = self.missing("the client secret", &CLIENT_SECRET.name);
        match self.name() {
            Some(_) => failure,
            None => failure.hint(
                "give --client-secret env:NAME, file:PATH or - (standard input), set JETON_CLIENT_SECRET_FILE or \
                 JETON_CLIENT_SECRET, or write client_secret_file or client_secret in the settings file; or name a \
                 private_key, client_assertion or client_certificate",
            ),
        }
    }
}

/// That `companion` does not stand without what it goes with, which another section may have: the two would not fit together.
fn alone(is_alone: bool, companion: Option<&Found<SecretPlace>>, with: &str) -> Result<(), Failure> {
    match companion {
        Some(Found { origin, .. }) if is_alone => {
            let where_else = match origin {
                Origin::Flag(_) => "on the command line",
                Origin::Environment(_) => "in the environment",
                Origin::File { .. } => "in the same table",
            };
            Err(origin.fault(&format!("it goes with {with}, which has to be named {where_else} too")))
        }
        Some(_) | None => Ok(()),
    }
}
