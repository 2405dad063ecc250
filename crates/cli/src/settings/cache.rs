//! The settings of the token cache.

use super::profile::ClientLayers;
use super::section::{
    CACHE, CACHE_CA_FILE, CACHE_DIR, CACHE_KEYS, CACHE_NAME_KEY, CACHE_PASSWORD, CACHE_USER,
};
use super::{Found, Origin, Secrets, base_directory, found};
use crate::args::{CacheArgs, CachePlaceArgs};
use crate::exit_code::ExitCode;
use crate::failure::Failure;
use jeton::credentials::SecretPlace;
use jeton::http::TlsRoots;
use jeton::store::{InvalidStoreKey, KeyRing, RedisStore, StoreKey};
use std::path::PathBuf;
use std::str::FromStr;

/// Whether tokens are kept, and where. No key is read yet.
#[derive(Debug)]
pub(crate) struct CacheSettings {
    pub(crate) kept: Kept,
    pub(crate) place: CachePlace,
}

/// Where tokens are kept.
#[derive(Debug)]
pub(crate) enum Kept {
    /// In files of this user.
    InFiles,
    /// In Redis, with all who have its keys.
    InRedis(Box<RedisSettings>),
    /// Nowhere.
    Nowhere,
}

/// How Redis is reached. Nothing is read yet.
#[derive(Debug)]
pub(crate) struct RedisSettings {
    pub(crate) url: Found<String>,
    user: Option<String>,
    password: Option<Found<SecretPlace>>,
    ca_file: Option<Found<String>>,
}

/// A text that names no place to keep tokens in. It is not told again: a password may be in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
enum InvalidKept {
    #[error("it is file, off, or the url of a redis: redis://HOST:PORT, rediss://HOST:PORT or unix:///PATH")]
    Form,
    #[error(
        "a password is not written in a url: say where it is by --cache-password, JETON_CACHE_PASSWORD or cache_password"
    )]
    Password,
}

/// What `cache` is set to.
enum Wanted {
    Files,
    Nothing,
    Redis,
}

impl FromStr for Wanted {
    type Err = InvalidKept;

    fn from_str(text: &str) -> Result<Self, InvalidKept> {
        let scheme = text.split_once("://").map(|(scheme, _)| scheme);
        match (text, scheme) {
            ("file", _) => Ok(Self::Files),
            ("off", _) => Ok(Self::Nothing),
            (_, Some("redis" | "rediss" | "unix" | "redis+unix")) => {
                let url = url::Url::parse(text).map_err(|_| InvalidKept::Form)?;
                let tells = url.password().is_some();
                if tells { Err(InvalidKept::Password) } else { Ok(Self::Redis) }
            }
            _ => Err(InvalidKept::Form),
        }
    }
}

/// Where the files are, and their keys.
#[derive(Debug)]
pub(crate) struct CachePlace {
    /// `None` when none is set, and this user has no place for caches.
    pub(crate) dir: Option<PathBuf>,
    pub(crate) keys: CacheKeys,
}

/// Where the keys of the cache are.
#[derive(Debug)]
pub(crate) enum CacheKeys {
    /// In a file that is made on first use; `None` when this user has no place for it.
    Made(Option<PathBuf>),
    /// In secrets that are named.
    Named(Box<NamedKeys>),
}

/// Keys in secrets that are named.
#[derive(Debug)]
pub(crate) struct NamedKeys {
    active: Found<SecretPlace>,
    older: Vec<Found<SecretPlace>>,
    names: Option<Found<SecretPlace>>,
}

impl ClientLayers<'_> {
    /// The settings of the cache of a command that asks for tokens.
    pub(crate) fn cache(&self, args: &CacheArgs) -> Result<CacheSettings, Failure> {
        let off = args.no_cache.then_some("off");
        let kept = self.kept(off.or(args.cache.as_deref()), args)?;
        let place = self.cache_place(&args.place)?;
        if let (Kept::InRedis(redis), CacheKeys::Made(_)) = (&kept, &place.keys) {
            return Err(redis.url.origin.fault(&"a cache in redis wants keys, which others have too").hint(
                "name one by --cache-key, JETON_CACHE_KEYS or cache_keys; `openssl rand -hex 32` makes one",
            ));
        }
        Ok(CacheSettings { kept, place })
    }

    fn kept(&self, flag: Option<&str>, args: &CacheArgs) -> Result<Kept, Failure> {
        let Some(kept) = self.text(&CACHE, flag)? else { return Ok(Kept::InFiles) };
        match kept.parse()? {
            Wanted::Files => Ok(Kept::InFiles),
            Wanted::Nothing => Ok(Kept::Nowhere),
            Wanted::Redis => {
                let args = &args.redis;
                let user = self.text(&CACHE_USER, args.user.as_deref())?;
                let password = self.text(&CACHE_PASSWORD, args.password.as_deref())?;
                Ok(Kept::InRedis(Box::new(RedisSettings {
                    url: kept,
                    user: user.map(|user| user.value),
                    password: password.as_ref().map(place).transpose()?,
                    ca_file: self.text(&CACHE_CA_FILE, args.ca_file.as_deref())?,
                })))
            }
        }
    }

    /// Where the cache of this user is, for the commands that look into it.
    pub(crate) fn cache_to_look_into(&self, args: &CachePlaceArgs) -> Result<CachePlace, Failure> {
        match self.kept(None, &CacheArgs::default())? {
            Kept::InFiles | Kept::Nowhere => self.cache_place(args),
            Kept::InRedis(redis) => Err(redis
                .url
                .origin
                .fault(&"what is kept in redis cannot be listed or cleared here")
                .hint("it goes with the tokens; to look into the cache in files, set JETON_CACHE=file")),
        }
    }

    fn cache_place(&self, args: &CachePlaceArgs) -> Result<CachePlace, Failure> {
        let dir = match self.text(&CACHE_DIR, args.dir.as_deref())? {
            Some(found) => Some(found.path()),
            None => base_directory(&self.layers.environment, "XDG_CACHE_HOME", ".cache")?
                .map(|dir| dir.join("jeton")),
        };
        Ok(CachePlace { dir, keys: self.cache_keys(args)? })
    }

    fn cache_keys(&self, args: &CachePlaceArgs) -> Result<CacheKeys, Failure> {
        let keys = self.list(&CACHE_KEYS, &args.keys, &[' '])?;
        let names = self.text(&CACHE_NAME_KEY, args.name_key.as_deref())?;
        let Some(Found { value: texts, origin }) = keys.filter(|keys| !keys.value.is_empty()) else {
            if let Some(names) = names {
                return Err(names.origin.fault(&"it goes with cache keys, of which none is set"));
            }
            let state = base_directory(&self.layers.environment, "XDG_STATE_HOME", ".local/state")?;
            return Ok(CacheKeys::Made(state.map(|dir| dir.join("jeton/cache.key"))));
        };
        let sources = texts.into_iter().map(|text| place(&found(text, origin.clone())));
        let mut sources = sources.collect::<Result<Vec<_>, _>>()?.into_iter();
        let Some(active) = sources.next() else { return Ok(CacheKeys::Made(None)) };
        let names = names.as_ref().map(place).transpose()?;
        Ok(CacheKeys::Named(Box::new(NamedKeys { active, older: sources.collect(), names })))
    }
}

/// The place that is named.
fn place(text: &Found<String>) -> Result<Found<SecretPlace>, Failure> {
    Ok(Found { value: text.parse()?, origin: text.origin.clone() })
}

impl CacheSettings {
    /// Where the secrets are that are read for it.
    pub(crate) fn secret_places(&self) -> Vec<&SecretPlace> {
        match &self.kept {
            Kept::InFiles => self.place.secret_places(),
            Kept::InRedis(redis) => {
                let password = redis.password.iter().map(|place| &place.value);
                password.chain(self.place.secret_places()).collect()
            }
            Kept::Nowhere => Vec::new(),
        }
    }
}

impl CachePlace {
    /// Where the secrets are that are read for it.
    pub(crate) fn secret_places(&self) -> Vec<&SecretPlace> {
        let CacheKeys::Named(keys) = &self.keys else { return Vec::new() };
        keys.older.iter().chain(&keys.names).chain([&keys.active]).map(|place| &place.value).collect()
    }
}

impl RedisSettings {
    /// The store, which trusts `roots` unless it has authorities of its own. Asks nobody.
    pub(crate) async fn store(&self, roots: &TlsRoots, secrets: &Secrets) -> Result<RedisStore, Failure> {
        let roots = match &self.ca_file {
            None => roots.clone(),
            Some(found) => {
                let path = found.path();
                let pem = std::fs::read(&path);
                TlsRoots::Only(
                    pem.map_err(|error| found.origin.fault(&format!("{}: {error}", path.display())))?,
                )
            }
        };
        let mut builder = RedisStore::at(&self.url.value).tls_roots(roots);
        if let Some(user) = &self.user {
            builder = builder.user(user);
        }
        if let Some(password) = &self.password {
            builder = builder.password(secrets.read(password).await?);
        }
        builder.build().map_err(|error| self.url.origin.fault(&error))
    }
}

impl NamedKeys {
    /// Reads the keys.
    pub(crate) async fn read(&self, secrets: &Secrets) -> Result<KeyRing, Failure> {
        let (active, origin) = (read(&self.active, secrets).await?, &self.active.origin);
        let mut ring = KeyRing::new(&active).map_err(|error| unfit(origin, error))?;
        for place in &self.older {
            let older = read(place, secrets).await?;
            ring = ring.with_older(&older).map_err(|error| unfit(&place.origin, error))?;
        }
        match &self.names {
            Some(place) => {
                let names = read(place, secrets).await?;
                ring.with_name_key(&names).map_err(|error| unfit(&place.origin, error))
            }
            None => Ok(ring),
        }
    }
}

async fn read(place: &Found<SecretPlace>, secrets: &Secrets) -> Result<StoreKey, Failure> {
    let text = secrets.read(place).await?;
    StoreKey::parse(&text).map_err(|error| {
        let message = format!("{}: {}: {error}", place.origin, place.value);
        Failure::new(ExitCode::Configuration, message)
    })
}

fn unfit(origin: &Origin, error: InvalidStoreKey) -> Failure {
    origin.fault(&error)
}
