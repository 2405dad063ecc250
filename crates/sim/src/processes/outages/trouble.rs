//! What is done to a store.

use crate::processes::Broken;
use crate::processes::depot::{Depot, Kind};
use crate::processes::redis::{RedisServer, Reply};
use rustix::process::Signal;
use std::fmt;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;
use tokio::task::JoinHandle;
use tokio::time::sleep;

const OTHER_PASSWORD: &str = "another";
const FILLER_KEYS: &str = "for i = 1, 3000 do redis.call('SET', 'filler:' .. i, 'x') end";
/// How often the server loses everything while it is being flushed.
const FLUSH_EVERY: Duration = Duration::from_millis(100);
const DISK_OPTIONS: &str = "size=256k";

/// A trouble.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trouble {
    /// redis-server is held still with SIGSTOP: connections stay, and nothing is answered.
    HeldStill,
    /// It is killed, and started again at the end.
    Killed,
    /// It is killed and at once started again.
    Restarted,
    /// It loses everything, several times a second.
    Flushed,
    /// It becomes a replica, which cannot be written.
    ReadOnly,
    /// It has no memory left.
    OutOfMemory,
    /// It is started again and loads for long.
    Loading,
    /// Its password is another, and whoever is connected is thrown out.
    PasswordChanged,
    /// A script does not end.
    Busy,
    /// The file system of the file store is full.
    DiskFull,
}

/// What has to be remembered until the end.
#[derive(Debug)]
pub(super) enum Ending {
    Nothing,
    Flushing(JoinHandle<()>),
    Scripting(JoinHandle<Result<Reply, Broken>>),
    Filler(PathBuf),
}

impl Trouble {
    /// All that happen to a redis-server.
    pub const OF_REDIS: [Self; 9] = [
        Self::HeldStill,
        Self::Killed,
        Self::Restarted,
        Self::Flushed,
        Self::ReadOnly,
        Self::OutOfMemory,
        Self::Loading,
        Self::PasswordChanged,
        Self::Busy,
    ];

    /// What kind of store it happens to.
    pub fn kind(self) -> Kind {
        match self {
            Self::DiskFull => Kind::File,
            Self::HeldStill
            | Self::Killed
            | Self::Restarted
            | Self::Flushed
            | Self::ReadOnly
            | Self::OutOfMemory
            | Self::Loading
            | Self::PasswordChanged
            | Self::Busy => Kind::Redis,
        }
    }

    /// Whether it is a fault of the store, which the log has to tell.
    pub(super) fn is_told(self) -> bool {
        match self {
            // A store that lost everything is as good as before, and one that comes back at once may not have been missed.
            Self::Flushed | Self::Restarted => false,
            Self::HeldStill
            | Self::Killed
            | Self::ReadOnly
            | Self::OutOfMemory
            | Self::Loading
            | Self::PasswordChanged
            | Self::Busy
            | Self::DiskFull => true,
        }
    }

    pub(super) async fn prepare(self, depot: &mut Depot) -> Result<Option<Mounted>, Broken> {
        match self {
            Self::DiskFull => Mounted::at(depot.home()).map(Some),
            Self::Busy => {
                depot.server()?.client().await?.must(&["CONFIG", "SET", "lua-time-limit", "50"]).await?;
                Ok(None)
            }
            Self::HeldStill
            | Self::Killed
            | Self::Restarted
            | Self::Flushed
            | Self::ReadOnly
            | Self::OutOfMemory
            | Self::Loading
            | Self::PasswordChanged => Ok(None),
        }
    }

    pub(super) async fn begin(self, depot: &mut Depot) -> Result<Ending, Broken> {
        if self == Self::DiskFull {
            return fill(depot.home()).map(Ending::Filler);
        }
        let server = depot.server()?;
        match self {
            Self::DiskFull => {}
            Self::HeldStill => server.signal(Signal::STOP),
            Self::Killed => server.kill().await?,
            Self::Restarted => {
                server.kill().await?;
                server.start_again(&[])?;
            }
            Self::Flushed => return flush(server).await.map(Ending::Flushing),
            Self::ReadOnly => configure(server, &["REPLICAOF", "127.0.0.1", "1"]).await?,
            Self::OutOfMemory => configure(server, &["CONFIG", "SET", "maxmemory", "1"]).await?,
            Self::Loading => {
                configure(server, &["EVAL", FILLER_KEYS, "0"]).await?;
                configure(server, &["SAVE"]).await?;
                server.kill().await?;
                // A millisecond for each key, and an answer every so often.
                let slowly = ["--key-load-delay", "1000", "--loading-process-events-interval-bytes", "1024"];
                server.start_again(&slowly)?;
            }
            Self::PasswordChanged => {
                configure(server, &["CONFIG", "SET", "requirepass", OTHER_PASSWORD]).await?;
                throw_out(server).await?;
            }
            Self::Busy => {
                let mut client = server.client().await?;
                let endless = async move { client.ask(&["EVAL", "while true do end", "0"]).await };
                return Ok(Ending::Scripting(tokio::spawn(endless)));
            }
        }
        Ok(Ending::Nothing)
    }

    pub(super) async fn end(self, depot: &mut Depot, ending: Ending) -> Result<(), Broken> {
        match ending {
            Ending::Nothing => {}
            Ending::Flushing(flushing) => flushing.abort(),
            Ending::Scripting(scripting) => {
                configure(depot.server()?, &["SCRIPT", "KILL"]).await?;
                let ended = scripting.await.map_err(|error| Broken::Nonsense(error.to_string()))?;
                ended?;
            }
            Ending::Filler(path) => {
                std::fs::remove_file(path).map_err(Broken::system("removing the filler"))?;
            }
        }
        match self {
            Self::HeldStill => depot.server()?.signal(Signal::CONT),
            Self::Killed => {
                depot.server()?.start_again(&[])?;
                depot.server()?.answers().await?;
            }
            Self::Restarted | Self::Loading => depot.server()?.answers().await?,
            Self::ReadOnly => configure(depot.server()?, &["REPLICAOF", "NO", "ONE"]).await?,
            Self::OutOfMemory => configure(depot.server()?, &["CONFIG", "SET", "maxmemory", "0"]).await?,
            Self::PasswordChanged => depot.server()?.let_in_again(OTHER_PASSWORD).await?,
            Self::Flushed | Self::Busy | Self::DiskFull => {}
        }
        Ok(())
    }
}

impl fmt::Display for Trouble {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::HeldStill => "redis-server held still with SIGSTOP",
            Self::Killed => "redis-server killed with SIGKILL",
            Self::Restarted => "redis-server killed and started again",
            Self::Flushed => "redis-server flushed ten times a second",
            Self::ReadOnly => "redis-server read-only, as a replica",
            Self::OutOfMemory => "redis-server out of memory",
            Self::Loading => "redis-server loading",
            Self::PasswordChanged => "redis-server with another password",
            Self::Busy => "redis-server busy with a script",
            Self::DiskFull => "file store on a full disk",
        })
    }
}

async fn configure(server: &RedisServer, words: &[&str]) -> Result<(), Broken> {
    server.client().await?.must(words).await.map(drop)
}

/// Everybody but whoever asks for it.
async fn throw_out(server: &RedisServer) -> Result<(), Broken> {
    let mut client = server.client_with(OTHER_PASSWORD).await?;
    for kind in ["pubsub", "normal"] {
        client.must(&["CLIENT", "KILL", "TYPE", kind, "SKIPME", "yes"]).await?;
    }
    Ok(())
}

async fn flush(server: &RedisServer) -> Result<JoinHandle<()>, Broken> {
    let mut client = server.client().await?;
    client.must(&["FLUSHALL"]).await?;
    Ok(tokio::spawn(async move {
        while client.must(&["FLUSHALL"]).await.is_ok() {
            sleep(FLUSH_EVERY).await;
        }
    }))
}

/// A small file system of its own, which is taken away when this is dropped.
#[derive(Debug)]
pub(super) struct Mounted {
    place: PathBuf,
}

impl Mounted {
    fn at(place: &Path) -> Result<Self, Broken> {
        let mounted =
            Command::new("mount").args(["-t", "tmpfs", "-o", DISK_OPTIONS, "tmpfs"]).arg(place).status();
        let mounted = mounted.map_err(Broken::system("mounting a small file system"))?;
        if !mounted.success() {
            return Err(Broken::Nonsense(
                "a small file system cannot be mounted: this wants root".to_owned(),
            ));
        }
        Ok(Self { place: place.to_owned() })
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        let _unmounted = Command::new("umount").arg(&self.place).status();
    }
}

/// Writes until nothing more fits.
fn fill(place: &Path) -> Result<PathBuf, Broken> {
    let path = place.join("filler");
    let mut file = std::fs::File::create(&path).map_err(Broken::system("making a filler"))?;
    while file.write_all(&[b'x'; 512]).is_ok() {}
    Ok(path)
}
