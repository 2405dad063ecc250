//! The settings of a client, each told once: its key in the settings file, its variable, its flag, and what it says.

use super::Name;
use jeton::credentials::{InvalidPlace, SecretPlace};
use serde::Deserialize;
use std::collections::BTreeMap;
use std::ops::Range;
use toml::Spanned;
use toml::de::{DeValue, ValueDeserializer};

/// A setting of a client, as the settings file, the environment and the command line name it.
#[derive(Debug)]
pub(super) struct Setting<T> {
    pub(super) name: Name,
    pub(super) says: Says,
    /// Its value in a section.
    pub(super) held: fn(&ClientSection) -> Option<&Spanned<T>>,
}

/// What a setting says, which decides whether a variable wins over a profile.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Says {
    /// Which client asks which server, and with what it proves that. Of a profile it comes from flags and the settings file alone.
    WhoAsks,
    /// What is asked for, and how.
    WhatIsAsked,
}

/// What is known of every setting, whatever its values are.
pub(super) struct Known {
    pub(super) name: Name,
    pub(super) says: Says,
    /// Its value in a section, where that is a text.
    pub(super) text: fn(&ClientSection) -> Option<&str>,
    /// Whether its value in a section, where there is one, names this variable as the place of a secret.
    pub(super) names: fn(&ClientSection, &str) -> Option<bool>,
}

/// Where a secret is. A secret itself is refused with the place at which it stands, whatever the file is read for.
#[derive(Clone, Debug, Deserialize)]
#[serde(try_from = "String")]
pub(super) struct PlaceOfSecret(pub(super) SecretPlace);

impl TryFrom<String> for PlaceOfSecret {
    type Error = InvalidPlace;

    fn try_from(text: String) -> Result<Self, InvalidPlace> {
        text.parse().map(Self)
    }
}

/// The kinds of values.
pub(super) trait Value {
    /// The value as a variable would have it, where that is one text.
    fn text(&self) -> Option<&str> {
        None
    }

    fn names(&self, _variable: &str) -> bool {
        false
    }
}

impl Value for String {
    fn text(&self) -> Option<&str> {
        Some(self)
    }
}

impl Value for PlaceOfSecret {
    fn names(&self, variable: &str) -> bool {
        self.0.variables().into_iter().any(|named| named == variable)
    }
}

impl Value for bool {
    fn text(&self) -> Option<&str> {
        Some(if *self { "true" } else { "false" })
    }
}

impl Value for Vec<String> {}

impl Value for BTreeMap<String, String> {}

/// One line for each setting: the key in the settings file with its type, the variable, the flag, and what it says.
macro_rules! client_settings {
    ($($setting:ident: $key:ident $value:ty, $variable:literal, $flag:literal, $says:ident;)+) => {
        $(pub(super) const $setting: Setting<$value> = Setting {
            name: Name { file: stringify!($key), environment: $variable, flag: $flag },
            says: Says::$says,
            held: |section| section.$key.as_ref(),
        };)+

        /// The keys of a client: at the top of the settings file, and in each table `[client.NAME]`.
        #[derive(Debug, Default)]
        pub(super) struct ClientSection {
            $($key: Option<Spanned<$value>>,)+
        }

        impl ClientSection {
            /// Takes the value of a key.
            pub(super) fn take(&mut self, key: &str, value: Spanned<DeValue<'_>>) -> Result<(), NotTaken> {
                let (span, value) = (value.span(), ValueDeserializer::from(value));
                let wrong = |error| NotTaken::Value { error, span };
                match key {
                    $(stringify!($key) => self.$key = Some(Spanned::deserialize(value).map_err(wrong)?),)+
                    _ => return Err(NotTaken::Unknown),
                }
                Ok(())
            }
        }

        /// All settings of a client.
        pub(super) const KNOWN: &[Known] = &[$(Known {
            name: $setting.name,
            says: $setting.says,
            text: |section| section.$key.as_ref().and_then(|value| value.get_ref().text()),
            names: |section, variable| section.$key.as_ref().map(|value| value.get_ref().names(variable)),
        },)+];

        /// The variables of the environment that settings of a client are read from.
        pub(crate) const CLIENT_VARIABLES: &[&str] =
            &[super::profile::PROFILE.environment, $($variable,)+];
    };
}

client_settings! {
    TOKEN_URL: token_url String, "JETON_TOKEN_URL", "--token-url", WhoAsks;
    ISSUER: issuer String, "JETON_ISSUER", "--issuer", WhoAsks;
    CLIENT_ID: client_id String, "JETON_CLIENT_ID", "--client-id", WhoAsks;
    // The one variable that holds a secret itself; key and flag name a source.
    CLIENT_SECRET: client_secret PlaceOfSecret, "JETON_CLIENT_SECRET", "--client-secret", WhoAsks;
    CLIENT_SECRET_FILE: client_secret_file String, "JETON_CLIENT_SECRET_FILE", "--client-secret", WhoAsks;
    CLIENT_SECRET_PREVIOUS: client_secret_previous PlaceOfSecret, "JETON_CLIENT_SECRET_PREVIOUS", "--client-secret-previous", WhoAsks;
    PRIVATE_KEY: private_key PlaceOfSecret, "JETON_PRIVATE_KEY", "--private-key", WhoAsks;
    CLIENT_ASSERTION: client_assertion PlaceOfSecret, "JETON_CLIENT_ASSERTION", "--client-assertion", WhoAsks;
    CLIENT_CERTIFICATE: client_certificate PlaceOfSecret, "JETON_CLIENT_CERTIFICATE", "--client-certificate", WhoAsks;
    CLIENT_CERTIFICATE_KEY: client_certificate_key PlaceOfSecret, "JETON_CLIENT_CERTIFICATE_KEY", "--client-certificate-key", WhoAsks;
    AUTH_METHOD: auth_method String, "JETON_AUTH_METHOD", "--auth-method", WhoAsks;
    BASIC_ENCODING: basic_encoding String, "JETON_BASIC_ENCODING", "--basic-encoding", WhoAsks;
    KEY_ID: key_id String, "JETON_KEY_ID", "--key-id", WhoAsks;
    ASSERTION_ALGORITHM: assertion_algorithm String, "JETON_ASSERTION_ALGORITHM", "--assertion-algorithm", WhoAsks;
    ASSERTION_AUDIENCE: assertion_audience String, "JETON_ASSERTION_AUDIENCE", "--assertion-audience", WhoAsks;
    ASSERTION_LIFETIME: assertion_lifetime String, "JETON_ASSERTION_LIFETIME", "--assertion-lifetime", WhatIsAsked;
    X5T_S256: x5t_s256 bool, "JETON_X5T_S256", "--x5t-s256", WhoAsks;
    CREDENTIAL_PERIOD: credential_period String, "JETON_CREDENTIAL_PERIOD", "--credential-period", WhatIsAsked;
    ROTATION_DUE_AFTER: rotation_due_after String, "JETON_ROTATION_DUE_AFTER", "--rotation-due-after", WhatIsAsked;
    SCOPES: scopes Vec<String>, "JETON_SCOPES", "--scope", WhatIsAsked;
    AUDIENCE: audience String, "JETON_AUDIENCE", "--audience", WhatIsAsked;
    RESOURCE: resource Vec<String>, "JETON_RESOURCE", "--resource", WhatIsAsked;
    ENDPOINT_PARAMS: endpoint_params BTreeMap<String, String>, "JETON_ENDPOINT_PARAMS", "--endpoint-param", WhatIsAsked;
    CA_FILE: ca_file String, "JETON_CA_FILE", "--ca-file", WhatIsAsked;
    PLAIN_HTTP_HOSTS: plain_http_hosts Vec<String>, "JETON_PLAIN_HTTP_HOSTS", "--plain-http-host", WhatIsAsked;
    CACHE: cache String, "JETON_CACHE", "--cache", WhatIsAsked;
    CACHE_DIR: cache_dir String, "JETON_CACHE_DIR", "--cache-dir", WhatIsAsked;
    CACHE_KEYS: cache_keys Vec<String>, "JETON_CACHE_KEYS", "--cache-key", WhatIsAsked;
    CACHE_NAME_KEY: cache_name_key String, "JETON_CACHE_NAME_KEY", "--cache-name-key", WhatIsAsked;
    CACHE_USER: cache_user String, "JETON_CACHE_USER", "--cache-user", WhatIsAsked;
    CACHE_PASSWORD: cache_password String, "JETON_CACHE_PASSWORD", "--cache-password", WhatIsAsked;
    CACHE_CA_FILE: cache_ca_file String, "JETON_CACHE_CA_FILE", "--cache-ca-file", WhatIsAsked;
}

impl ClientSection {
    /// Forgets what would be opened while the settings are read.
    pub(super) fn open_nothing(&mut self) {
        self.ca_file = None;
    }
}

/// Why the value of a key was not taken.
#[derive(Debug)]
pub(super) enum NotTaken {
    /// There is no such key.
    Unknown,
    /// The value that stands there is of another type, or is none.
    Value { error: toml::de::Error, span: Range<usize> },
}
