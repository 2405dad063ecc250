//! A process of a fleet: it asks for tokens for a while, and tells which it had. Start it several times, all of them
//! live on one token:
//!
//! ```text
//! jeton sandbox --exec 'for i in 1 2 3 4; do cargo run -q -p jeton --features redis --example fleet -- /tmp/tokens & done; wait'
//! ```
//!
//! The argument is a directory, or the URL of a Redis, for which `JETON_CACHE_KEY` has the store key
//! (`openssl rand -hex 32`). `FLEET_TASKS` (default 25) tasks ask for `FLEET_SECONDS` (default 3).

use jeton::store::{FileStore, KeyRing, RedisStore, SharedStore, StoreKey};
use jeton::{Secret, TokenKey, TokenManager};
use std::collections::BTreeSet;
use std::env::{args, var};
use std::error::Error;
use std::io::Write as _;
use std::path::Path;
use std::process;
use std::sync::Arc;
use std::time::{Duration, Instant};

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let place = args().nth(1).ok_or("name a directory, or the url of a redis")?;
    let (store, keys) = store(&place)?;
    let manager = TokenManager::builder(var("JETON_TOKEN_URL")?, var("JETON_CLIENT_ID")?)
        .client_secret(Secret::new(var("JETON_CLIENT_SECRET")?))
        .shared_store(store, keys)
        .build()?;
    let number = |name: &str, default: u64| var(name).map_or(Ok(default), |text| text.parse());
    let (tasks, seconds) = (number("FLEET_TASKS", 25)?, number("FLEET_SECONDS", 3)?);

    let handle = manager.handle(&TokenKey::default_scope())?;
    let end = Instant::now() + Duration::from_secs(seconds);
    let tasks: Vec<_> = (0..tasks)
        .map(|_| {
            let handle = handle.clone();
            tokio::spawn(async move {
                let (mut calls, mut failed, mut tokens) = (0_u64, 0_u64, BTreeSet::new());
                while Instant::now() < end {
                    if let Ok(token) = handle.token().await {
                        tokens.insert(token.id().to_string());
                    } else {
                        failed += 1;
                    }
                    calls += 1;
                    tokio::time::sleep(Duration::from_millis(10)).await;
                }
                (calls, failed, tokens)
            })
        })
        .collect();
    let (mut calls, mut failed, mut tokens) = (0, 0, BTreeSet::new());
    for task in tasks {
        let (called, refused, had) = task.await?;
        calls += called;
        failed += refused;
        tokens.extend(had);
    }
    // The fingerprints, which are of no use to whoever reads them.
    let tokens = tokens.into_iter().collect::<Vec<_>>().join(" ");
    let id = process::id();
    writeln!(std::io::stdout(), "process {id}: {calls} calls, {failed} failed, tokens: {tokens}")?;
    // Whatever is under way is finished, and a lease given back.
    manager.close(Duration::from_secs(1)).await;
    Ok(())
}

fn store(place: &str) -> Result<(Arc<dyn SharedStore>, KeyRing), Box<dyn Error>> {
    if place.contains("://") {
        let key = StoreKey::parse(&Secret::new(var("JETON_CACHE_KEY")?))?;
        return Ok((Arc::new(RedisStore::at(place).build()?), KeyRing::new(&key)?));
    }
    let keys = KeyRing::from_key_file(Path::new(place).with_extension("key"))?;
    Ok((Arc::new(FileStore::open(place)?), keys))
}
