//! What a store in Redis is built from.

use super::address::{self, Address, Channel, Located, Login};
use super::cluster::Cluster;
use super::dialler::Dialler;
use super::followers::Followers;
use super::link::{Link, Place, Route};
use super::sentinel::Sentinels;
use super::{RedisStore, Topology};
use crate::http::tls::{certificates, trusting};
use crate::http::{InvalidTls, TlsRoots};
use ::redis::ProtocolVersion;
use jeton_proto::secret::Secret;
use rustls::pki_types::PrivateKeyDer;
use rustls::pki_types::pem::PemObject;
use std::fmt;
use std::sync::Arc;
use tokio_rustls::TlsConnector;

const DEFAULT_PREFIX: &str = "jeton:";
const MAX_PREFIX_BYTES: usize = 256;
const MAX_ADDRESSES: usize = 64;

/// Builds a [`RedisStore`]. Made by [`RedisStore::at`], [`RedisStore::through_sentinels`] and
/// [`RedisStore::in_cluster`].
#[must_use = "nothing is there before `build`"]
pub struct RedisStoreBuilder {
    addresses: Vec<Secret<String>>,
    arrangement: Arrangement,
    login: Login,
    sentinel_login: Login,
    database: Option<i64>,
    roots: TlsRoots,
    identity: Option<(Vec<u8>, Secret<Vec<u8>>)>,
    prefix: String,
}

pub(super) enum Arrangement {
    One,
    Sentinel { master_name: String },
    Cluster,
}

impl RedisStoreBuilder {
    pub(super) fn new(addresses: Vec<Secret<String>>, arrangement: Arrangement) -> Self {
        Self {
            addresses,
            arrangement,
            login: Login::default(),
            sentinel_login: Login::default(),
            database: None,
            roots: TlsRoots::default(),
            identity: None,
            prefix: DEFAULT_PREFIX.to_owned(),
        }
    }

    /// The ACL user to log in as, before one that a URL names. Default: the server's `default` user.
    pub fn user(mut self, user: impl Into<String>) -> Self {
        self.login.user = Some(user.into());
        self
    }

    /// The password to log in with, before one in a URL. Default: no login.
    pub fn password(mut self, password: Secret<String>) -> Self {
        self.login.password = Some(password);
        self
    }

    /// The ACL user to log in to the sentinels as, before one that their URLs name.
    pub fn sentinel_user(mut self, user: impl Into<String>) -> Self {
        self.sentinel_login.user = Some(user.into());
        self
    }

    /// The password of the sentinels, before one in their URLs. Default: no login.
    pub fn sentinel_password(mut self, password: Secret<String>) -> Self {
        self.sentinel_login.password = Some(password);
        self
    }

    /// The number of the database, before one in a URL. Default: 0; a cluster has no other.
    pub fn database(mut self, database: u32) -> Self {
        self.database = Some(i64::from(database));
        self
    }

    /// Which certificate authorities are trusted, for `rediss://`. Default: those of the platform.
    pub fn tls_roots(mut self, roots: TlsRoots) -> Self {
        self.roots = roots;
        self
    }

    /// The certificate chain and its private key, both PEM, to show to servers that ask for one. Default: none.
    pub fn client_certificate(mut self, chain_pem: impl Into<Vec<u8>>, key_pem: Secret<Vec<u8>>) -> Self {
        self.identity = Some((chain_pem.into(), key_pem));
        self
    }

    /// What the name of every key and channel begins with; at most 256 bytes. Default: `jeton:`.
    ///
    /// Processes share tokens only if they agree on it. An ACL user needs it as a pattern, see [`RedisStore`].
    pub fn prefix(mut self, prefix: impl Into<String>) -> Self {
        self.prefix = prefix.into();
        self
    }

    /// Makes the store. Nothing is sent before its first use, and a server that is not there is no error here.
    ///
    /// # Errors
    /// [`InvalidRedisSettings`], which quotes neither URL nor secret.
    pub fn build(self) -> Result<RedisStore, InvalidRedisSettings> {
        if self.prefix.len() > MAX_PREFIX_BYTES {
            return Err(InvalidRedisSettings::Prefix);
        }
        let default_port = match self.arrangement {
            Arrangement::Sentinel { .. } => Some(address::SENTINEL_PORT),
            Arrangement::One | Arrangement::Cluster => None,
        };
        let located: Vec<Located> = self
            .addresses
            .iter()
            .map(|text| address::located(text.expose(), default_port))
            .collect::<Result<_, _>>()?;
        let from_urls = agreed(&located)?;
        let tls = match from_urls.channel {
            Channel::Plain => None,
            Channel::Tls => Some(connector(&self.roots, self.identity.as_ref())?),
        };
        let addresses: Vec<Address> = located.into_iter().map(|located| located.address).collect();
        let database = self.database.or(from_urls.database).unwrap_or(0);
        let followers = Arc::<Followers>::default();
        let dialler = |login: Login, database, protocol| {
            if login.user.is_some() && login.password.is_none() {
                return Err(InvalidRedisSettings::UserWithoutPassword);
            }
            Ok(Dialler { tls: tls.clone(), login, database, protocol })
        };
        let topology = match self.arrangement {
            Arrangement::One => {
                let address = addresses.into_iter().next().ok_or(InvalidRedisSettings::NoAddress)?;
                let dialler = dialler(self.login.or(from_urls.login), database, ProtocolVersion::RESP3)?;
                let place = Place::Fixed(address);
                Topology::One(Link::new(Route {
                    dialler: Arc::new(dialler),
                    place,
                    followers: Arc::clone(&followers),
                }))
            }
            Arrangement::Sentinel { master_name } => {
                // Sentinels before 6.2 speak nothing newer.
                let of_sentinels =
                    dialler(self.sentinel_login.or(from_urls.login), 0, ProtocolVersion::RESP2)?;
                let dialler = dialler(self.login, database, ProtocolVersion::RESP3)?;
                let place = Place::Master(Sentinels::new(addresses, master_name, of_sentinels));
                Topology::One(Link::new(Route {
                    dialler: Arc::new(dialler),
                    place,
                    followers: Arc::clone(&followers),
                }))
            }
            Arrangement::Cluster if database != 0 => return Err(InvalidRedisSettings::ClusterDatabase),
            Arrangement::Cluster => {
                let dialler = dialler(self.login.or(from_urls.login), 0, ProtocolVersion::RESP3)?;
                Topology::Cluster(Cluster::new(addresses, Arc::new(dialler), Arc::clone(&followers)))
            }
        };
        Ok(RedisStore::with(topology, followers, self.prefix.into_bytes()))
    }
}

struct Agreed {
    channel: Channel,
    login: Login,
    database: Option<i64>,
}

/// What several URLs tell about all of their servers: they have to agree, or leave it to the others.
fn agreed(located: &[Located]) -> Result<Agreed, InvalidRedisSettings> {
    let Some((first, others)) = located.split_first() else {
        return Err(InvalidRedisSettings::NoAddress);
    };
    if located.len() > MAX_ADDRESSES {
        return Err(InvalidRedisSettings::TooManyAddresses);
    }
    let mut agreed = Agreed { channel: first.channel, login: first.login.clone(), database: first.database };
    for other in others {
        let logins_differ = other.login != Login::default() && other.login != agreed.login;
        if logins_differ && agreed.login != Login::default() {
            return Err(InvalidRedisSettings::Disagreement("user or password"));
        }
        if other.channel != agreed.channel {
            return Err(InvalidRedisSettings::Disagreement("the scheme"));
        }
        if agreed.database.is_some() && other.database.is_some() && agreed.database != other.database {
            return Err(InvalidRedisSettings::Disagreement("the database"));
        }
        if logins_differ {
            agreed.login = other.login.clone();
        }
        agreed.database = agreed.database.or(other.database);
    }
    Ok(agreed)
}

fn connector(
    roots: &TlsRoots,
    identity: Option<&(Vec<u8>, Secret<Vec<u8>>)>,
) -> Result<TlsConnector, InvalidRedisSettings> {
    let config = trusting(roots)?;
    let config = match identity {
        None => config.with_no_client_auth(),
        Some((chain_pem, key_pem)) => {
            let key = PrivateKeyDer::from_pem_slice(key_pem.expose())
                .map_err(|_| InvalidRedisSettings::ClientCertificate)?;
            config
                .with_client_auth_cert(certificates(chain_pem)?, key)
                .map_err(|_| InvalidRedisSettings::ClientCertificate)?
        }
    };
    Ok(TlsConnector::from(Arc::new(config)))
}

impl fmt::Debug for RedisStoreBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RedisStoreBuilder").field("prefix", &self.prefix).finish_non_exhaustive()
    }
}

/// Why a store in Redis could not be built. Neither URL nor secret is in it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum InvalidRedisSettings {
    /// There is no URL.
    #[error("there is no address; name at least one server")]
    NoAddress,
    /// There are more than 64 URLs.
    #[error("there are more than 64 addresses; a few are enough to find the others by")]
    TooManyAddresses,
    /// A URL cannot be read.
    #[error("an address cannot be read; write it as redis://host:6379 or unix:///run/redis.sock")]
    Url,
    /// A URL has another scheme.
    #[error("an address has another scheme than redis, rediss, unix or redis+unix")]
    Scheme,
    /// A URL has parameters that are not known.
    #[error("an address has parameters behind `?` or `#`; only unix:// takes one, db=NUMBER")]
    Parameter,
    /// The database in a URL is not a number.
    #[error("the database in an address is no number")]
    Database,
    /// A cluster with a database.
    #[error("a cluster has the database 0 and no other")]
    ClusterDatabase,
    /// URLs do not agree on what is for all servers.
    #[error("the addresses do not agree on {0}")]
    Disagreement(&'static str),
    /// A user who has no password.
    #[error("there is a user but no password")]
    UserWithoutPassword,
    /// The prefix is too long.
    #[error("the prefix is longer than 256 bytes")]
    Prefix,
    /// The client's certificate or its key cannot be used.
    #[error(
        "the client certificate or its private key cannot be used; both have to be PEM and belong together"
    )]
    ClientCertificate,
    /// TLS cannot be set up.
    #[error(transparent)]
    Tls(#[from] InvalidTls),
}
