//! A store in Redis or Valkey, for a fleet.

mod address;
mod cluster;
mod connection;
mod dialler;
mod fault;
mod followers;
mod link;
mod record;
mod sentinel;
mod settings;
mod slot;

pub use settings::{InvalidRedisSettings, RedisStoreBuilder};

use super::{Change, Reading, RecordName, SharedStore, StoreFault, StoreFuture, Subscription, Swap, Version};
use ::redis::{Cmd, Value};
use aws_lc_rs::digest;
use cluster::Cluster;
use connection::Connection;
use followers::Followers;
use jeton_proto::secret::Secret;
use link::Link;
use record::Naming;
use settings::Arrangement;
use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Weak};
use std::time::Duration;

/// A store in Redis 6.0 or newer, or in Valkey: one server, whichever is the master of its sentinels, or a cluster.
///
/// ```no_run
/// use jeton::store::RedisStore;
///
/// # fn example() -> Result<(), Box<dyn std::error::Error>> {
/// # let password = jeton::Secret::from("");
/// let store = RedisStore::at("rediss://cache.example.com").user("jeton").password(password).build()?;
/// # Ok(())
/// # }
/// ```
///
/// A record is one key, the prefix with the record's name behind it, and the channel on which its followers are told has
/// the same name. So a record is in one slot of a cluster, and this is all that its ACL user needs:
///
/// ```text
/// ACL SETUSER jeton on >PASSWORD resetkeys resetchannels ~jeton:* &jeton:* -@all
///     +hello +ping +select +role +time +getrange +set +del +pexpireat +evalsha +eval +publish +subscribe +unsubscribe
///     +asking +cluster|slots
/// ```
///
/// Reading a record is one round trip, and so is changing it, with telling its followers. A record goes with the `PEXPIREAT`
/// of its end; whatever else is found in its place, of another type, size or shape, counts as no record and is overwritten
/// by the next change. The clock is the server's `TIME`.
///
/// One connection is shared by all tasks (in a cluster: one for each node that is needed). It is made on first use, and
/// again in the background when it breaks, after at most a second; in the meantime everything fails at once. When a server
/// says that it is no master any more, sentinels or cluster are asked who is. In a cluster each
/// publication is a message to every node, a few in the life of a token.
///
/// Cheap to clone; all clones are one store.
#[derive(Clone)]
pub struct RedisStore {
    inner: Arc<Inner>,
}

struct Inner {
    topology: Topology,
    followers: Arc<Followers>,
    prefix: Vec<u8>,
    swap_digest: String,
    is_tended: AtomicBool,
}

enum Topology {
    One(Link),
    Cluster(Arc<Cluster>),
}

impl RedisStore {
    /// In one server, at `redis://`, `rediss://` (TLS), `unix://` or `redis+unix://`.
    ///
    /// `rediss://user:password@host:6379/0` tells user, password and database as well; `unix:///run/redis.sock?db=0` the
    /// database.
    pub fn at(url: impl Into<String>) -> RedisStoreBuilder {
        RedisStoreBuilder::new(vec![Secret::new(url.into())], Arrangement::One)
    }

    /// In whichever server is the master `master_name` of these sentinels, which are asked again whenever the connection
    /// was lost. User, password and database in their URLs are the sentinels' own; `rediss://` is for both.
    pub fn through_sentinels<U: Into<String>>(
        urls: impl IntoIterator<Item = U>,
        master_name: impl Into<String>,
    ) -> RedisStoreBuilder {
        let arrangement = Arrangement::Sentinel { master_name: master_name.into() };
        RedisStoreBuilder::new(urls.into_iter().map(|url| Secret::new(url.into())).collect(), arrangement)
    }

    /// In a cluster that these nodes are part of. What one of their URLs tells but the address is for all nodes.
    pub fn in_cluster<U: Into<String>>(urls: impl IntoIterator<Item = U>) -> RedisStoreBuilder {
        RedisStoreBuilder::new(
            urls.into_iter().map(|url| Secret::new(url.into())).collect(),
            Arrangement::Cluster,
        )
    }

    fn with(topology: Topology, followers: Arc<Followers>, prefix: Vec<u8>) -> Self {
        let digest = digest::digest(&digest::SHA1_FOR_LEGACY_USE_ONLY, record::SWAP_SCRIPT.as_bytes());
        let swap_digest =
            digest.as_ref().iter().fold(String::new(), |text, byte| format!("{text}{byte:02x}"));
        let is_tended = AtomicBool::new(false);
        Self { inner: Arc::new(Inner { topology, followers, prefix, swap_digest, is_tended }) }
    }

    async fn follow(&self, name: &RecordName) -> Result<Subscription, StoreFault> {
        let channel = self.inner.key(name);
        let (mut changes, following) = self.inner.followers.join(&channel);
        self.tend();
        let connection = self.inner.topology.connection(&channel).await?;
        self.inner.followers.settle(&channel, &connection).await?;
        // What is told is told of what comes after this.
        changes.mark_unchanged();
        Ok(Subscription::new(changes, following))
    }

    /// Sees to it that subscriptions are left, and made again on new connections.
    fn tend(&self) {
        if !self.inner.is_tended.swap(true, Ordering::AcqRel) {
            tokio::spawn(tend(Tending(Arc::downgrade(&self.inner)), Arc::clone(&self.inner.followers)));
        }
    }
}

impl Inner {
    /// As the name's `Display` has it; this is on the way of every read.
    fn key(&self, name: &RecordName) -> Vec<u8> {
        const DIGITS: &[u8; 16] = b"0123456789abcdef";
        let digit = |nibble: u8| DIGITS.get(usize::from(nibble)).copied().unwrap_or(b'0');
        let mut key = Vec::with_capacity(self.prefix.len() + 64);
        key.extend_from_slice(&self.prefix);
        for byte in name.bytes() {
            key.extend_from_slice(&[digit(byte >> 4), digit(byte & 15)]);
        }
        key
    }

    async fn load(&self, name: &RecordName) -> Result<Reading, StoreFault> {
        let key = self.key(name);
        let (connection, answers) = self.topology.ask(&key, || record::load(&key)).await?;
        self.judge(&connection, &answers, "WRONGTYPE")?;
        record::loaded(answers)
            .ok_or_else(|| fault::malformed(connection.server(), "its answer to a read cannot be understood"))
    }

    async fn swap(
        &self,
        name: &RecordName,
        expected: Option<Version>,
        change: &Change,
    ) -> Result<Swap, StoreFault> {
        record::fits(change)?;
        let key = self.key(name);
        let by_digest = || record::swap(Naming::Digest(&self.swap_digest), &key, expected, change);
        let (mut connection, mut answers) = self.topology.ask(&key, by_digest).await?;
        if answers.first().and_then(fault::error_in).is_some_and(|error| error.code() == "NOSCRIPT") {
            let by_text = || record::swap(Naming::Text, &key, expected, change);
            (connection, answers) = self.topology.ask(&key, by_text).await?;
        }
        self.judge(&connection, &answers, "")?;
        record::swapped(answers, change.version).ok_or_else(|| {
            fault::malformed(connection.server(), "its answer to a change cannot be understood")
        })
    }

    /// Errors are faults, but for the one that tells of a record.
    fn judge(&self, connection: &Connection, answers: &[Value], but_for: &str) -> Result<(), StoreFault> {
        let Some(error) = answers.iter().filter_map(fault::error_in).find(|error| error.code() != but_for)
        else {
            return Ok(());
        };
        let fault = fault::refused(connection.server(), error);
        match (&self.topology, fault::code(error)) {
            // A cluster finds the others by its map, which was asked for.
            (Topology::Cluster(_), "NOAUTH") | (Topology::One(_), "NOAUTH" | "READONLY" | "MASTERDOWN") => {
                connection.retire(fault.clone());
            }
            (Topology::Cluster(_) | Topology::One(_), _) => {}
        }
        Err(fault)
    }
}

impl Topology {
    async fn connection(&self, key: &[u8]) -> Result<Connection, StoreFault> {
        match self {
            Self::One(link) => link.connection().await,
            Self::Cluster(cluster) => cluster.connection(key).await,
        }
    }

    /// Asks the server that has `key`.
    async fn ask(
        &self,
        key: &[u8],
        commands: impl Fn() -> Vec<Cmd>,
    ) -> Result<(Connection, Vec<Value>), StoreFault> {
        match self {
            Self::One(link) => {
                let connection = link.connection().await?;
                let answers = connection.ask(commands()).await?;
                Ok((connection, answers))
            }
            Self::Cluster(cluster) => cluster.ask(key, commands).await,
        }
    }
}

impl SharedStore for RedisStore {
    fn load<'a>(&'a self, name: &'a RecordName) -> StoreFuture<'a, Reading> {
        Box::pin(self.inner.load(name))
    }

    fn compare_and_swap<'a>(
        &'a self,
        name: &'a RecordName,
        expected: Option<Version>,
        change: Change,
    ) -> StoreFuture<'a, Swap> {
        Box::pin(async move { self.inner.swap(name, expected, &change).await })
    }

    fn subscribe<'a>(&'a self, name: &'a RecordName) -> StoreFuture<'a, Subscription> {
        Box::pin(self.follow(name))
    }

    fn kind(&self) -> &'static str {
        "redis"
    }
}

/// How soon subscriptions are tried again that could not be made.
const TRY_AGAIN_AFTER: Duration = Duration::from_millis(250);

/// Settles subscriptions until the store is gone.
async fn tend(tending: Tending, followers: Arc<Followers>) {
    let mut is_settled = true;
    loop {
        if is_settled {
            followers.to_settle().await;
        } else {
            let _elapsed = tokio::time::timeout(TRY_AGAIN_AFTER, followers.to_settle()).await;
        }
        let Some(inner) = tending.0.upgrade() else {
            return;
        };
        is_settled = true;
        for channel in followers.followed() {
            let settled = match inner.topology.connection(&channel).await {
                Ok(connection) => followers.settle(&channel, &connection).await,
                Err(fault) => Err(fault),
            };
            is_settled &= settled.is_ok();
        }
        followers.leave().await;
    }
}

/// Allows the next one to tend, also when this one's runtime ended.
struct Tending(Weak<Inner>);

impl Drop for Tending {
    fn drop(&mut self) {
        if let Some(inner) = self.0.upgrade() {
            inner.is_tended.store(false, Ordering::Release);
        }
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        // Whoever tends looks up, and ends.
        self.followers.unsettled();
    }
}

impl fmt::Debug for RedisStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut shown = f.debug_struct("RedisStore");
        match &self.inner.topology {
            Topology::One(link) => shown.field("server", &link.place().to_string()),
            Topology::Cluster(cluster) => {
                shown.field("seeds", &cluster.seeds().iter().map(ToString::to_string).collect::<Vec<_>>())
            }
        };
        shown.field("prefix", &String::from_utf8_lossy(&self.inner.prefix)).finish_non_exhaustive()
    }
}
