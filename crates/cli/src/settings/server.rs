//! The settings of `jeton serve`, and the data directory of `jeton client`.

mod assertions;
mod keeping;
mod operations;
mod throttling;

pub(crate) use keeping::Keeping;

use super::{Found, Layers, Name, Origin, found};
use crate::args::{ClientsDirArgs, ServerArgs};
use crate::exit_code::ExitCode;
use crate::failure::Failure;
use crate::lifespan::Lifespan;
use jeton::Secret;
use jeton::credentials::SecretPlace;
use jeton_proto::jose::jws::Algorithm;
use jeton_server::{Config, Listen, Unnamed, default_data_dir};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::str::FromStr;
use toml::Spanned;

const LISTEN: Name = Name { file: "server.listen", environment: "JETON_SERVER_LISTEN", flag: "--listen" };
const ISSUER: Name = Name { file: "server.issuer", environment: "JETON_SERVER_ISSUER", flag: "--issuer" };
const DATA_DIR: Name =
    Name { file: "server.data_dir", environment: "JETON_SERVER_DATA_DIR", flag: "--data-dir" };
const DEFAULT_AUDIENCE: Name = Name {
    file: "server.default_audience",
    environment: "JETON_SERVER_DEFAULT_AUDIENCE",
    flag: "--default-audience",
};
const SIGNING_ALGORITHMS: Name = Name {
    file: "server.signing_algorithms",
    environment: "JETON_SERVER_SIGNING_ALGORITHMS",
    flag: "--signing-algorithm",
};
const KEY_ROTATION_PERIOD: Name = Name {
    file: "server.key_rotation_period",
    environment: "JETON_SERVER_KEY_ROTATION_PERIOD",
    flag: "--key-rotation-period",
};
const JWKS_MAX_AGE: Name =
    Name { file: "server.jwks_max_age", environment: "JETON_SERVER_JWKS_MAX_AGE", flag: "--jwks-max-age" };
const LONGEST_TOKEN_LIFETIME: Name = Name {
    file: "server.longest_token_lifetime",
    environment: "JETON_SERVER_LONGEST_TOKEN_LIFETIME",
    flag: "--longest-token-lifetime",
};

const CLIENTS_DIR: Name =
    Name { file: "server.clients_dir", environment: "JETON_SERVER_CLIENTS_DIR", flag: "--clients" };
const UNNAMED_CLIENTS: Name = Name {
    file: "server.unnamed_clients",
    environment: "JETON_SERVER_UNNAMED_CLIENTS",
    flag: "--unnamed-clients",
};

impl Layers {
    /// The settings of a server, without its key and its database: see [`Layers::keeping`].
    pub(crate) fn server(&self, args: &ServerArgs) -> Result<Config, Failure> {
        let file = &self.file.content.server;
        // Read by whoever starts the server: what is only checked reads no secret.
        self.keeping_settings(&args.storage)?;
        let mut config = Config::new(self.data_dir(args.data_dir.as_deref())?);
        if let Some(found) = self.text(&LISTEN, args.listen.as_deref(), file.listen.as_ref())? {
            config.listen = found.parse::<ListenAddress>()?.0;
        }
        let issuer = self.text(&ISSUER, args.issuer.as_deref(), file.issuer.as_ref())?;
        config.issuer = issuer.map(|found| found.value);
        let audience =
            self.text(&DEFAULT_AUDIENCE, args.default_audience.as_deref(), file.default_audience.as_ref())?;
        config.default_audience = audience.map(|found| found.value);
        if let Some(algorithms) = self.signing_algorithms(args)? {
            config.signing_algorithms = algorithms;
        }
        let span = |name: &Name, flag: &Option<String>, in_file: &Option<Spanned<String>>| {
            let found = self.text(name, flag.as_deref(), in_file.as_ref())?;
            found.map(|found| found.parse::<Lifespan>()).transpose()
        };
        if let Some(period) =
            span(&KEY_ROTATION_PERIOD, &args.key_rotation_period, &file.key_rotation_period)?
        {
            config.key_rotation_period = period.0;
        }
        if let Some(max_age) = span(&JWKS_MAX_AGE, &args.jwks_max_age, &file.jwks_max_age)? {
            config.jwks_max_age = max_age.0;
        }
        let longest = (&args.longest_token_lifetime, &file.longest_token_lifetime);
        if let Some(longest) = span(&LONGEST_TOKEN_LIFETIME, longest.0, longest.1)? {
            config.longest_token_lifetime = longest.0;
        }
        config.throttling = self.throttling(&args.throttling, file)?;
        self.operations(&args.operations, &mut config)?;
        self.assertions(&args.assertions, &mut config)?;
        self.clients_dir(&args.clients, &mut config)?;
        Ok(config)
    }

    fn clients_dir(&self, args: &ClientsDirArgs, config: &mut Config) -> Result<(), Failure> {
        let file = &self.file.content.server;
        let dir = self.text(&CLIENTS_DIR, args.clients_dir.as_deref(), file.clients_dir.as_ref())?;
        config.clients_dir = dir.map(|found| found.path());
        let unnamed =
            self.text(&UNNAMED_CLIENTS, args.unnamed_clients.as_deref(), file.unnamed_clients.as_ref())?;
        if let Some(found) = unnamed {
            config.unnamed_clients = match found.value.as_str() {
                "keep" => Unnamed::Kept,
                "remove" => Unnamed::Removed,
                _ => return Err(found.origin.fault(&"it is keep or remove")),
            };
        }
        Ok(())
    }

    /// Reads the secret at the place that a flag names.
    pub(crate) async fn secret_at(&self, flag: &'static str, place: &str) -> Result<Secret<String>, Failure> {
        let found = found(place, Origin::Flag(flag));
        let place = Found { value: found.parse::<SecretPlace>()?, origin: found.origin };
        self.secrets(&[&place.value]).read(&place).await
    }

    /// What the server signs with; in the environment the names are divided by commas or spaces.
    fn signing_algorithms(&self, args: &ServerArgs) -> Result<Option<Vec<Algorithm>>, Failure> {
        let name = &SIGNING_ALGORITHMS;
        let names = if !args.signing_algorithms.is_empty() {
            found(args.signing_algorithms.clone(), Origin::Flag(name.flag))
        } else if let Some(value) = self.environment.text(name.environment)? {
            let names = value.split([',', ' ']).filter(|name| !name.is_empty()).map(str::to_owned);
            found(names.collect(), Origin::Environment(name.environment))
        } else if let Some(in_file) = &self.file.content.server.signing_algorithms {
            self.in_file(name, in_file)
        } else {
            return Ok(None);
        };
        let known = names.value.iter().map(|name| Algorithm::parse(name)).collect::<Option<Vec<_>>>();
        let known = known.filter(|known| !known.is_empty()).ok_or_else(|| {
            let all = Algorithm::ALL.map(Algorithm::as_str).join(", ");
            names.origin.fault(&format!("it is one of {all}"))
        })?;
        Ok(Some(known))
    }

    /// The data directory: what is set, or the one of this user.
    pub(crate) fn data_dir(&self, flag: Option<&str>) -> Result<PathBuf, Failure> {
        let in_file = self.file.content.server.data_dir.as_ref();
        match self.text(&DATA_DIR, flag, in_file)? {
            Some(found) => Ok(found.path()),
            None => default_data_dir().map_err(|error| Failure::of(ExitCode::Configuration, &error)),
        }
    }
}

/// Where to listen: `PORT` or `localhost:PORT` for all loopback addresses, or addresses divided by commas.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ListenAddress(pub(crate) Listen);

impl ListenAddress {
    /// Reads the flag `--listen`.
    pub(crate) fn from_flag(text: &str) -> Result<Self, Failure> {
        found(text, Origin::Flag(LISTEN.flag)).parse()
    }

    /// Whether only this machine can reach it.
    pub(crate) fn is_loopback(&self) -> bool {
        match &self.0 {
            Listen::Localhost { .. } => true,
            Listen::Addresses(addresses) => addresses.iter().all(|address| address.ip().is_loopback()),
        }
    }
}

impl FromStr for ListenAddress {
    type Err = InvalidListenAddress;

    fn from_str(text: &str) -> Result<Self, InvalidListenAddress> {
        let port = text.strip_prefix("localhost:").unwrap_or(text);
        if let Ok(port) = port.parse() {
            return Ok(Self(Listen::Localhost { port }));
        }
        let addresses = text.split(',').map(|address| address.trim().parse::<SocketAddr>());
        let addresses = addresses.collect::<Result<Vec<_>, _>>().map_err(|_| InvalidListenAddress)?;
        Ok(Self(Listen::Addresses(addresses)))
    }
}

/// A text that is no address to listen on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "it is written PORT, localhost:PORT or ADDRESS:PORT, such as 8080, 0.0.0.0:8080 or [::]:8080; port 0 takes a free one"
)]
pub(crate) struct InvalidListenAddress;
