//! Which secret of a Vault is meant, and how one gets at it: what stands behind `vault:`, or is put together in code.

use super::super::place::SecretPlace;
use std::fmt;
use std::path::PathBuf;

/// A field of a secret in a key-value engine of `HashiCorp` Vault or `OpenBao`, and how one logs in there.
///
/// As text it is `MOUNT/PATH[#FIELD][?OPTION=VALUE&…]`, behind `vault:` or `bao:` in settings; the options are described in
/// `docs/credentials.md`. In `Debug`, `Display` and faults are names alone: a token or an id is never in it, only where that is.
///
/// ```
/// use jeton::credentials::{SecretPlace, VaultPlace};
///
/// let place: VaultPlace = "secret/billing/oauth#client_secret?auth=approle&role_id=env:ROLE&secret_id=file:/run/secret-id".parse()?;
/// assert_eq!(place.to_string(), "the field client_secret of the Vault secret secret/billing/oauth");
///
/// let role = SecretPlace::Environment("ROLE".to_owned());
/// let same = VaultPlace::new("secret", "billing/oauth")?
///     .field("client_secret")
///     .app_role(role, Some("file:/run/secret-id".parse()?));
/// assert_eq!(place, same);
/// # Ok::<(), jeton::credentials::InvalidPlace>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VaultPlace {
    pub(super) mount: String,
    pub(super) path: String,
    pub(super) field: Option<String>,
    pub(super) address: Option<String>,
    pub(super) namespace: Option<String>,
    pub(super) ca_file: Option<PathBuf>,
    pub(super) engine: KvVersion,
    pub(super) login: Login,
}

/// Where every tool of Vault looks for its token, in this order.
pub(super) const TOKEN_VARIABLES: [&str; 2] = ["BAO_TOKEN", "VAULT_TOKEN"];

/// Which of the two key-value engines is mounted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum KvVersion {
    /// Version 1: a secret has one version, and nothing is known of the one before it.
    One,
    /// Version 2: a secret has versions, each with its time.
    #[default]
    Two,
}

/// How a token for Vault is come by. The places are boxed, since a place may be one in a Vault itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Login {
    /// There is one: where it is said, else in the environment or the home directory.
    Token {
        token: Option<Box<SecretPlace>>,
    },
    AppRole {
        mount: String,
        role_id: Box<SecretPlace>,
        secret_id: Option<Box<SecretPlace>>,
    },
    Kubernetes {
        mount: String,
        role: String,
        jwt: Box<SecretPlace>,
    },
}

impl Login {
    pub(super) const APP_ROLE: &str = "approle";
    pub(super) const KUBERNETES: &str = "kubernetes";
    const JWT_FILE: &str = "/var/run/secrets/kubernetes.io/serviceaccount/token";

    /// The token that Kubernetes puts into each pod.
    pub(super) fn jwt_of_the_pod() -> SecretPlace {
        SecretPlace::File(PathBuf::from(Self::JWT_FILE))
    }
}

impl VaultPlace {
    /// The default of the field: RFC 6749's name for what a client proves itself with.
    pub(super) const FIELD: &str = "client_secret";

    /// The address of the server. Default: `BAO_ADDR`, else `VAULT_ADDR` of the environment.
    #[must_use]
    pub fn address(mut self, url: impl Into<String>) -> Self {
        self.address = Some(url.into());
        self
    }

    /// The field of the secret. Default: `client_secret`, else the only one there is.
    #[must_use]
    pub fn field(mut self, name: impl Into<String>) -> Self {
        self.field = Some(name.into());
        self
    }

    /// The namespace. Default: `BAO_NAMESPACE`, else `VAULT_NAMESPACE` of the environment, else none.
    #[must_use]
    pub fn namespace(mut self, name: impl Into<String>) -> Self {
        self.namespace = Some(name.into());
        self
    }

    /// A file with the certificate authorities that the server is trusted by, in PEM. Default: `BAO_CACERT`, else
    /// `VAULT_CACERT` of the environment, else those of the [`Surroundings`](super::super::Surroundings).
    #[must_use]
    pub fn ca_file(mut self, path: impl Into<PathBuf>) -> Self {
        self.ca_file = Some(path.into());
        self
    }

    /// Which engine is mounted. Default [`KvVersion::Two`].
    #[must_use]
    pub fn engine(mut self, version: KvVersion) -> Self {
        self.engine = version;
        self
    }

    /// Uses a token that is there already. Without this or another login, the one in `BAO_TOKEN`, `VAULT_TOKEN` or the file
    /// `.vault-token` of the home directory.
    #[must_use]
    pub fn token(mut self, token: SecretPlace) -> Self {
        self.login = Login::Token { token: Some(Box::new(token)) };
        self
    }

    /// Logs in by `AppRole`, mounted at `approle`; without a secret id where the role wants none.
    #[must_use]
    pub fn app_role(mut self, role_id: SecretPlace, secret_id: Option<SecretPlace>) -> Self {
        let (mount, secret_id) = (Login::APP_ROLE.to_owned(), secret_id.map(Box::new));
        self.login = Login::AppRole { mount, role_id: Box::new(role_id), secret_id };
        self
    }

    /// Logs in as the Kubernetes service account of this pod, by the method mounted at `kubernetes`.
    #[must_use]
    pub fn kubernetes(mut self, role: impl Into<String>) -> Self {
        let mount = Login::KUBERNETES.to_owned();
        self.login = Login::Kubernetes { mount, role: role.into(), jwt: Box::new(Login::jwt_of_the_pod()) };
        self
    }
}

impl VaultPlace {
    /// The places that the login reads.
    pub(in super::super) fn places(&self) -> impl Iterator<Item = &SecretPlace> {
        let (first, second) = match &self.login {
            Login::Token { token } => (token.as_ref(), None),
            Login::AppRole { role_id, secret_id, .. } => (Some(role_id), secret_id.as_ref()),
            Login::Kubernetes { jwt, .. } => (Some(jwt), None),
        };
        first.into_iter().chain(second).map(|place| &**place)
    }

    /// The variables of the environment that hold what it logs in with.
    pub(in super::super) fn variables(&self) -> Vec<&str> {
        match &self.login {
            Login::Token { token: None } => TOKEN_VARIABLES.to_vec(),
            Login::Token { token: Some(_) } | Login::AppRole { .. } | Login::Kubernetes { .. } => {
                self.places().flat_map(SecretPlace::variables).collect()
            }
        }
    }
}

impl fmt::Display for VaultPlace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(field) = &self.field {
            write!(f, "the field {field} of ")?;
        }
        write!(f, "the Vault secret {}/{}", self.mount, self.path)
    }
}
