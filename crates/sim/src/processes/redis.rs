//! A redis-server of the coordinator's own, and a client for what is done to it.

use super::Broken;
use super::leash;
use rustix::process::{Pid, Signal, kill_process};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::process::{Child, Command};
use tokio::time::{Instant, sleep, timeout};

/// The database count; each lane of a trial has one of its own.
pub const DATABASES: usize = 64;
const PATIENCE: Duration = Duration::from_secs(20);
const MOST_REPLY_BYTES: usize = 64 * 1024 * 1024;
const DEEPEST_REPLY: u32 = 8;

/// A server on a loopback port. It ends when this is dropped.
#[derive(Debug)]
pub struct RedisServer {
    program: PathBuf,
    directory: PathBuf,
    port: u16,
    child: Child,
    /// The password that clients are let in with.
    password: Option<String>,
}

impl RedisServer {
    /// Starts one; `program` is the one that this is part of, `directory` where its dump goes.
    pub async fn start(program: &Path, directory: &Path, password: Option<&str>) -> Result<Self, Broken> {
        let port = free_port().await?;
        let child = spawn(program, directory, port, password, &[])?;
        let (program, directory) = (program.to_owned(), directory.to_owned());
        let server = Self { program, directory, port, child, password: password.map(str::to_owned) };
        server.answers().await?;
        Ok(server)
    }

    /// Its URL for clients, with this database.
    pub fn url(&self, database: usize) -> String {
        let login = self.password.as_ref().map(|password| format!(":{password}@")).unwrap_or_default();
        format!("redis://{login}127.0.0.1:{}/{database}", self.port)
    }

    /// Sends it a signal.
    pub fn signal(&self, signal: Signal) {
        if let Some(pid) = self.child.id().and_then(|id| i32::try_from(id).ok()).and_then(Pid::from_raw) {
            let _sent = kill_process(pid, signal);
        }
    }

    /// Kills it, and waits for its end.
    pub async fn kill(&mut self) -> Result<(), Broken> {
        self.signal(Signal::KILL);
        self.child.wait().await.map(drop).map_err(Broken::system("waiting for redis-server"))
    }

    /// Starts it again at the same port, with what it had saved, and does not wait until it answers.
    pub fn start_again(&mut self, options: &[&str]) -> Result<(), Broken> {
        let password = self.password.as_deref();
        self.child = spawn(&self.program, &self.directory, self.port, password, options)?;
        Ok(())
    }

    /// Waits until it answers.
    pub async fn answers(&self) -> Result<(), Broken> {
        let until = Instant::now() + PATIENCE;
        loop {
            if let Ok(mut client) = self.client().await
                && let Ok(Reply::Text(_)) = client.ask(&["PING"]).await
            {
                return Ok(());
            }
            if Instant::now() > until {
                return Err(Broken::Late { what: "an answer of redis-server".to_owned(), limit: PATIENCE });
            }
            sleep(Duration::from_millis(20)).await;
        }
    }

    /// A client that is let in.
    pub async fn client(&self) -> Result<Client, Broken> {
        self.client_as(self.password.as_deref()).await
    }

    /// A client with another password.
    pub async fn client_with(&self, password: &str) -> Result<Client, Broken> {
        self.client_as(Some(password)).await
    }

    /// Sets the password that clients know, where `other` was set in its place.
    pub async fn let_in_again(&self, other: &str) -> Result<(), Broken> {
        let password = self.password.as_deref().unwrap_or_default();
        self.client_with(other).await?.must(&["CONFIG", "SET", "requirepass", password]).await.map(drop)
    }

    async fn client_as(&self, password: Option<&str>) -> Result<Client, Broken> {
        let address = ("127.0.0.1", self.port);
        let stream =
            TcpStream::connect(address).await.map_err(Broken::system("connecting to redis-server"))?;
        let mut client = Client { stream: BufReader::new(stream) };
        if let Some(password) = password {
            client.ask(&["AUTH", password]).await?;
        }
        Ok(client)
    }

    /// One command.
    pub async fn ask(&self, words: &[&str]) -> Result<Reply, Broken> {
        self.client().await?.ask(words).await
    }

    /// Everything that it holds, as its own dump file and as it serializes each key.
    pub async fn dump(&self) -> Result<Vec<(String, Vec<u8>)>, Broken> {
        let mut client = self.client().await?;
        client.must(&["SAVE"]).await?;
        let file = self.directory.join("dump.rdb");
        let bytes = std::fs::read(&file).map_err(Broken::system("reading dump.rdb"))?;
        let mut found = vec![("dump.rdb".to_owned(), bytes)];
        for database in 0..DATABASES {
            client.must(&["SELECT", &database.to_string()]).await?;
            for key in client.keys().await? {
                let Reply::Bytes(Some(dumped)) = client.ask_bytes(&[b"DUMP", &key]).await? else { continue };
                found.push((format!("key {database}/{}", String::from_utf8_lossy(&key)), dumped));
                found.push((format!("name {database}"), key));
            }
        }
        Ok(found)
    }
}

impl Drop for RedisServer {
    fn drop(&mut self) {
        // Also one that is held still.
        self.signal(Signal::KILL);
    }
}

async fn free_port() -> Result<u16, Broken> {
    let listener = TcpListener::bind("127.0.0.1:0").await.map_err(Broken::system("looking for a port"))?;
    listener.local_addr().map(|address| address.port()).map_err(Broken::system("looking for a port"))
}

fn spawn(
    program: &Path,
    directory: &Path,
    port: u16,
    password: Option<&str>,
    options: &[&str],
) -> Result<Child, Broken> {
    let mut command = Command::new(program);
    command.args([leash::COMMAND, "redis-server", "--bind", "127.0.0.1", "--save", "", "--appendonly", "no"]);
    command.args([
        "--port",
        &port.to_string(),
        "--databases",
        &DATABASES.to_string(),
        "--loglevel",
        "warning",
    ]);
    command.arg("--dir").arg(directory);
    if let Some(password) = password {
        command.args(["--requirepass", password]);
    }
    let child = command
        .args(options)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::inherit())
        .kill_on_drop(true)
        .spawn();
    child.map_err(Broken::system("starting redis-server"))
}

/// What it replied.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reply {
    /// A simple string.
    Text(String),
    /// An error.
    Error(String),
    /// A number.
    Number(i64),
    /// A string of bytes, or nothing.
    Bytes(Option<Vec<u8>>),
    /// Several.
    List(Vec<Self>),
}

/// One connection that speaks RESP2.
#[derive(Debug)]
pub struct Client {
    stream: BufReader<TcpStream>,
}

impl Client {
    /// Asks, and tells what it replied.
    pub async fn ask(&mut self, words: &[&str]) -> Result<Reply, Broken> {
        let words: Vec<&[u8]> = words.iter().map(|word| word.as_bytes()).collect();
        self.ask_bytes(&words).await
    }

    /// Asks, and takes no error for an answer.
    pub async fn must(&mut self, words: &[&str]) -> Result<Reply, Broken> {
        match self.ask(words).await? {
            Reply::Error(error) => {
                Err(Broken::Nonsense(format!("redis-server: {}: {error}", words.join(" "))))
            }
            reply => Ok(reply),
        }
    }

    /// The names of all keys of the database.
    pub async fn keys(&mut self) -> Result<Vec<Vec<u8>>, Broken> {
        let (mut found, mut cursor) = (Vec::new(), "0".to_owned());
        loop {
            let Reply::List(page) = self.ask(&["SCAN", &cursor, "COUNT", "500"]).await? else {
                return Err(Broken::Nonsense("SCAN gave no page".to_owned()));
            };
            for part in page {
                match part {
                    Reply::Bytes(Some(next)) => cursor = String::from_utf8_lossy(&next).into_owned(),
                    Reply::List(keys) => found.extend(keys.into_iter().filter_map(|key| match key {
                        Reply::Bytes(key) => key,
                        Reply::Text(_) | Reply::Error(_) | Reply::Number(_) | Reply::List(_) => None,
                    })),
                    Reply::Text(_) | Reply::Error(_) | Reply::Number(_) | Reply::Bytes(None) => {}
                }
            }
            if cursor == "0" {
                return Ok(found);
            }
        }
    }

    async fn ask_bytes(&mut self, words: &[&[u8]]) -> Result<Reply, Broken> {
        let mut request = format!("*{}\r\n", words.len()).into_bytes();
        for word in words {
            request.extend_from_slice(format!("${}\r\n", word.len()).as_bytes());
            request.extend_from_slice(word);
            request.extend_from_slice(b"\r\n");
        }
        self.stream.write_all(&request).await.map_err(Broken::system("asking redis-server"))?;
        let late = |_| Broken::Late { what: "an answer of redis-server".to_owned(), limit: PATIENCE };
        timeout(PATIENCE, self.reply(DEEPEST_REPLY)).await.map_err(late)?
    }

    async fn reply(&mut self, depth: u32) -> Result<Reply, Broken> {
        let strange = || Broken::Nonsense("redis-server gave what is no reply".to_owned());
        let reading = Broken::system("reading from redis-server");
        let mut line = String::new();
        self.stream.read_line(&mut line).await.map_err(reading)?;
        let mut letters = line.trim_end().chars();
        let (kind, rest) = (letters.next().ok_or_else(strange)?, letters.as_str());
        let number = || rest.parse::<i64>().map_err(|_| strange());
        match kind {
            '+' => Ok(Reply::Text(rest.to_owned())),
            '-' => Ok(Reply::Error(rest.to_owned())),
            ':' => Ok(Reply::Number(number()?)),
            '$' => match usize::try_from(number()?) {
                Err(_negative) => Ok(Reply::Bytes(None)),
                Ok(length) if length > MOST_REPLY_BYTES => Err(strange()),
                Ok(length) => {
                    let mut bytes = vec![0; length + 2];
                    let read = self.stream.read_exact(&mut bytes).await;
                    read.map_err(Broken::system("reading from redis-server"))?;
                    bytes.truncate(length);
                    Ok(Reply::Bytes(Some(bytes)))
                }
            },
            '*' if depth > 0 => {
                let mut parts = Vec::new();
                for _ in 0..number()? {
                    parts.push(Box::pin(self.reply(depth - 1)).await?);
                }
                Ok(Reply::List(parts))
            }
            _ => Err(strange()),
        }
    }
}
