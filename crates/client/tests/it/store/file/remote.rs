//! The contract, with every handle in a process of its own.

use super::home;
use super::process::{Process, is_child, say};
use bytes::Bytes;
use jeton::store::conformance::{self, Stage};
use jeton::store::{BodyChange, Change, FileStore, Reading, Record, RecordName, SharedStore, StoreFault};
use jeton::store::{StoreFaultKind, StoreFuture, Subscription, Swap, Version};
use serde::{Deserialize, Serialize};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::watch;

#[derive(Serialize, Deserialize)]
enum Asked {
    Load([u8; 32]),
    Swap { name: [u8; 32], expected: Option<[u8; 16]>, change: Told },
    Subscribe([u8; 32]),
    Count,
}

#[derive(Serialize, Deserialize)]
struct Told {
    version: [u8; 16],
    lease: Option<Duration>,
    note: Vec<u8>,
    keep_for: Duration,
    body: ToldBody,
}

#[derive(Serialize, Deserialize)]
enum ToldBody {
    Keep,
    Drop,
    Put(Vec<u8>, Duration),
}

#[derive(Serialize, Deserialize)]
struct Kept {
    version: [u8; 16],
    lease_left: Option<Duration>,
    note: Vec<u8>,
    body: Option<Vec<u8>>,
}

#[derive(Serialize, Deserialize)]
enum Answer {
    Fault(String),
    Read(Option<Kept>, u64),
    Written(u64),
    Count(usize),
}

async fn send(stream: &mut UnixStream, message: &impl Serialize) {
    let bytes = serde_json::to_vec(message).unwrap();
    stream.write_all(&u32::try_from(bytes.len()).unwrap().to_be_bytes()).await.unwrap();
    stream.write_all(&bytes).await.unwrap();
}

async fn receive<T: for<'a> Deserialize<'a>>(stream: &mut UnixStream) -> T {
    let mut length = [0; 4];
    stream.read_exact(&mut length).await.unwrap();
    let mut bytes = vec![0; u32::from_be_bytes(length) as usize];
    stream.read_exact(&mut bytes).await.unwrap();
    serde_json::from_slice(&bytes).unwrap()
}

fn read(reading: Reading) -> Answer {
    let record = reading.record.map(|record| Kept {
        version: *record.version.bytes(),
        lease_left: record.lease_left,
        note: record.note.to_vec(),
        body: record.body.map(|body| body.to_vec()),
    });
    Answer::Read(record, reading.now)
}

fn reading(answer: Answer) -> Result<Reading, StoreFault> {
    match answer {
        Answer::Read(record, now) => {
            let record = record.map(|kept| Record {
                version: Version::from_random(kept.version),
                lease_left: kept.lease_left,
                note: kept.note.into(),
                body: kept.body.map(Bytes::from),
            });
            Ok(Reading { now, record })
        }
        Answer::Fault(detail) => Err(StoreFault::new(StoreFaultKind::Unreachable, detail)),
        Answer::Written(_) | Answer::Count(_) => panic!("the answer to another question"),
    }
}

/// Answers one question; a subscription lasts as long as its connection.
async fn serve(store: FileStore, mut stream: UnixStream) {
    let fault = |fault: StoreFault| Answer::Fault(fault.to_string());
    let answer = match receive(&mut stream).await {
        Asked::Load(name) => store.load(&RecordName::from_bytes(name)).await.map_or_else(fault, read),
        Asked::Swap { name, expected, change } => {
            let body = match change.body {
                ToldBody::Keep => BodyChange::Keep,
                ToldBody::Drop => BodyChange::Drop,
                ToldBody::Put(body, life) => BodyChange::Put { body: body.into(), life },
            };
            let version = Version::from_random(change.version);
            let (note, lease, keep_for) = (change.note.into(), change.lease, change.keep_for);
            let change = Change { version, lease, note, keep_for, body };
            let name = RecordName::from_bytes(name);
            match store.compare_and_swap(&name, expected.map(Version::from_random), change).await {
                Ok(Swap::Written { now }) => Answer::Written(now),
                Ok(Swap::Conflict(reading)) => read(reading),
                Err(told) => fault(told),
            }
        }
        Asked::Subscribe(name) => {
            let mut subscription = store.subscribe(&RecordName::from_bytes(name)).await.unwrap();
            send(&mut stream, &Answer::Count(0)).await;
            let mut end = [0; 1];
            loop {
                tokio::select! {
                    _ = stream.read(&mut end) => return,
                    () = subscription.changed() => {}
                }
                if stream.write_all(b"!").await.is_err() {
                    return;
                }
            }
        }
        Asked::Count => Answer::Count(store.subscriptions()),
    };
    send(&mut stream, &answer).await;
}

async fn serve_all(directory: PathBuf) {
    let store = FileStore::open(directory.join("cache")).unwrap();
    let socket = directory.join(format!("socket-{}", std::process::id()));
    let listener = UnixListener::bind(&socket).unwrap();
    say(socket.to_str().unwrap());
    loop {
        let (stream, _) = listener.accept().await.unwrap();
        tokio::spawn(serve(store.clone(), stream));
    }
}

/// A store in another process.
struct Remote {
    socket: PathBuf,
    _process: Mutex<Process>,
}

async fn ask(socket: &Path, asked: &Asked) -> (Answer, UnixStream) {
    let mut stream = UnixStream::connect(socket).await.unwrap();
    send(&mut stream, asked).await;
    (receive(&mut stream).await, stream)
}

impl SharedStore for Remote {
    fn load<'a>(&'a self, name: &'a RecordName) -> StoreFuture<'a, Reading> {
        Box::pin(async move { reading(ask(&self.socket, &Asked::Load(*name.bytes())).await.0) })
    }

    fn compare_and_swap<'a>(
        &'a self,
        name: &'a RecordName,
        expected: Option<Version>,
        change: Change,
    ) -> StoreFuture<'a, Swap> {
        let body = match change.body {
            BodyChange::Keep => ToldBody::Keep,
            BodyChange::Drop => ToldBody::Drop,
            BodyChange::Put { body, life } => ToldBody::Put(body.to_vec(), life),
        };
        let (version, note) = (*change.version.bytes(), change.note.to_vec());
        let change = Told { version, lease: change.lease, note, keep_for: change.keep_for, body };
        let expected = expected.map(|version| *version.bytes());
        Box::pin(async move {
            match ask(&self.socket, &Asked::Swap { name: *name.bytes(), expected, change }).await.0 {
                Answer::Written(now) => Ok(Swap::Written { now }),
                other => reading(other).map(Swap::Conflict),
            }
        })
    }

    fn subscribe<'a>(&'a self, name: &'a RecordName) -> StoreFuture<'a, Subscription> {
        Box::pin(async move {
            let (_, mut stream) = ask(&self.socket, &Asked::Subscribe(*name.bytes())).await;
            let (sender, receiver) = watch::channel(());
            let task = tokio::spawn(async move {
                while stream.read_u8().await.is_ok() {
                    sender.send_replace(());
                }
            });
            Ok(Subscription::new(receiver, EndsWith(task)))
        })
    }

    fn kind(&self) -> &'static str {
        "remote"
    }
}

struct EndsWith(tokio::task::JoinHandle<()>);

impl Drop for EndsWith {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// Starts a process for every handle.
struct Processes {
    directory: PathBuf,
    sockets: Mutex<Vec<PathBuf>>,
}

const TEST: &str = "store::file::remote::the_contract_is_kept_between_processes";

impl Stage for Processes {
    fn open(&self) -> StoreFuture<'_, Arc<dyn SharedStore>> {
        Box::pin(async {
            let mut process = Process::start(TEST, &self.directory);
            let socket = PathBuf::from(process.hears().unwrap());
            self.sockets.lock().unwrap().push(socket.clone());
            Ok(Arc::new(Remote { socket, _process: Mutex::new(process) }) as Arc<dyn SharedStore>)
        })
    }

    fn subscriptions(&self) -> StoreFuture<'_, Option<usize>> {
        let sockets = self.sockets.lock().unwrap().clone();
        Box::pin(async move {
            let mut count = 0;
            for socket in sockets {
                match ask(&socket, &Asked::Count).await.0 {
                    Answer::Count(kept) => count += kept,
                    Answer::Fault(_) | Answer::Read(..) | Answer::Written(_) => panic!("no count"),
                }
            }
            Ok(Some(count))
        })
    }
}

#[test]
fn the_contract_is_kept_between_processes() {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    if let Some(directory) = is_child() {
        runtime.block_on(serve_all(directory));
        return;
    }
    let home = home();
    let stage = Processes { directory: home.path().to_path_buf(), sockets: Mutex::default() };
    assert_eq!(runtime.block_on(conformance::check(&stage)), Ok(()));
}
