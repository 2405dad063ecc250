//! The store that the workers of a trial share, as the coordinator has it.

use super::Broken;
use super::line::Store;
use super::redis::RedisServer;
use jeton::store::{FileStore, Record, RecordName, RedisStore, SharedStore};
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use tempfile::TempDir;

/// Which kind of store a trial has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// None.
    None,
    /// Files in a directory.
    File,
    /// A redis-server.
    Redis,
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::None => "no store",
            Self::File => "file store",
            Self::Redis => "redis",
        })
    }
}

/// The store of a trial. Its lanes are apart from each other.
#[derive(Debug)]
pub struct Depot {
    home: TempDir,
    /// The server, where the kind is Redis.
    pub redis: Option<RedisServer>,
    kind: Kind,
}

impl Depot {
    /// A new and empty one.
    pub async fn open(program: &Path, kind: Kind) -> Result<Self, Broken> {
        let home = tempfile::tempdir_in(place()).map_err(Broken::system("making a directory"))?;
        let redis = match kind {
            Kind::None | Kind::File => None,
            Kind::Redis => Some(RedisServer::start(program, home.path(), Some("trial")).await?),
        };
        Ok(Self { home, redis, kind })
    }

    /// Of which kind it is.
    pub fn kind(&self) -> Kind {
        self.kind
    }

    /// The directory of everything that the store keeps in files.
    pub fn home(&self) -> &Path {
        self.home.path()
    }

    /// The server.
    pub fn server(&mut self) -> Result<&mut RedisServer, Broken> {
        self.redis.as_mut().ok_or_else(|| Broken::Nonsense("this trial has no redis-server".to_owned()))
    }

    fn directory(&self, lane: usize) -> PathBuf {
        self.home.path().join(format!("lane-{lane}"))
    }

    /// What a worker of this lane is told.
    pub fn store(&self, lane: usize) -> Store {
        match (&self.redis, self.kind) {
            (Some(server), Kind::Redis) => Store::Redis(server.url(lane)),
            (_, Kind::File) => Store::File(self.directory(lane).to_string_lossy().into_owned()),
            (_, Kind::None | Kind::Redis) => Store::None,
        }
    }

    /// Takes away everything that a lane has in the store.
    pub async fn flush(&self, lane: usize) -> Result<(), Broken> {
        if let Some(server) = &self.redis {
            let mut client = server.client().await?;
            client.must(&["SELECT", &lane.to_string()]).await?;
            client.must(&["FLUSHDB"]).await?;
        }
        for (path, name) in files(&self.directory(lane))? {
            if record_name(&name).is_some() {
                std::fs::remove_file(path).map_err(Broken::system("removing a record"))?;
            }
        }
        Ok(())
    }

    /// What a lane has in the store, as the store itself tells.
    pub async fn records(&self, lane: usize) -> Result<Vec<Record>, Broken> {
        let told = |error: &dyn fmt::Display| Broken::Nonsense(error.to_string());
        let (store, names): (Arc<dyn SharedStore>, Vec<RecordName>) = match (&self.redis, self.kind) {
            (Some(server), _) => {
                let mut client = server.client().await?;
                client.must(&["SELECT", &lane.to_string()]).await?;
                let keys = client.keys().await?;
                let store = RedisStore::at(server.url(lane)).build().map_err(|error| told(&error))?;
                let names = keys.iter().filter_map(|key| record_name(&String::from_utf8_lossy(key)));
                (Arc::new(store), names.collect())
            }
            (None, Kind::File) => {
                let store = FileStore::open(self.directory(lane)).map_err(|error| told(&error))?;
                let files = files(&self.directory(lane))?;
                (Arc::new(store), files.iter().filter_map(|(_, name)| record_name(name)).collect())
            }
            (None, Kind::None | Kind::Redis) => return Ok(Vec::new()),
        };
        let mut records = Vec::new();
        for name in names {
            let reading = store.load(&name).await.map_err(|error| told(&error))?;
            records.extend(reading.record);
        }
        Ok(records)
    }

    /// Everything that is there, to be searched.
    pub async fn dump(&self) -> Result<Vec<(String, Vec<u8>)>, Broken> {
        let mut found = match &self.redis {
            Some(server) => server.dump().await?,
            None => Vec::new(),
        };
        for (path, _) in files(self.home.path())? {
            found.extend(read_all(&path)?);
        }
        Ok(found)
    }
}

/// In memory, unless `TMPDIR` names another place: on a disk that a compiler writes to, an `fsync` takes longer now and then
/// than a store may take to answer, and the trials would judge the disk.
fn place() -> PathBuf {
    let memory = PathBuf::from("/dev/shm");
    let named = std::env::var_os("TMPDIR").map(PathBuf::from);
    named.unwrap_or_else(|| if memory.is_dir() { memory } else { std::env::temp_dir() })
}

/// All files under `path`, with their names.
pub fn read_all(path: &Path) -> Result<Vec<(String, Vec<u8>)>, Broken> {
    if !path.is_dir() {
        let bytes = std::fs::read(path).map_err(Broken::system("reading a file of the store"))?;
        return Ok(vec![(path.to_string_lossy().into_owned(), bytes)]);
    }
    let mut found = Vec::new();
    for (path, _) in files(path)? {
        found.extend(read_all(&path)?);
    }
    Ok(found)
}

fn files(directory: &Path) -> Result<Vec<(PathBuf, String)>, Broken> {
    if !directory.exists() {
        return Ok(Vec::new());
    }
    let entries = std::fs::read_dir(directory).map_err(Broken::system("reading the store's directory"))?;
    Ok(entries
        .flatten()
        .map(|entry| (entry.path(), entry.file_name().to_string_lossy().into_owned()))
        .collect())
}

/// The record that a file or key of this name holds, whatever stands before it.
fn record_name(text: &str) -> Option<RecordName> {
    let digits = text.get(text.len().checked_sub(64)?..)?;
    let is_name = digits.chars().all(|digit| digit.is_ascii_hexdigit());
    let mut bytes = [0; 32];
    for (index, byte) in bytes.iter_mut().enumerate() {
        *byte = u8::from_str_radix(digits.get(index * 2..index * 2 + 2)?, 16).ok()?;
    }
    is_name.then(|| RecordName::from_bytes(bytes))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::processes::secrets;

    #[test]
    fn a_record_is_known_by_its_64_digits() {
        let digits = secrets::hex(&[0xc2; 32]);
        assert_eq!(record_name(&digits).unwrap().to_string(), digits);
        assert_eq!(record_name(&format!("jeton:{digits}")).unwrap().to_string(), digits);
        assert_eq!(record_name("lock-6"), None);
        assert_eq!(record_name(&"x".repeat(64)), None);
    }
}
