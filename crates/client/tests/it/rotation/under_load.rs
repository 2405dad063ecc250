//! A secret file that is replaced a thousand times while tokens are asked for, and the old secret revoked shortly after.

use crate::support::socket::{Server, text};
use crate::support::{basic, millis};
use jeton::credentials::FileSource;
use jeton::{QuotaPolicy, TokenKey, TokenManager};
use std::collections::HashMap;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};
use tokio::sync::watch;
use tokio::time::sleep;

const ROTATIONS: u32 = 1000;
const CALLERS: u64 = 8;
/// For how long an old secret is taken after the next one is in the file: longer than a request takes on a loaded machine, since no
/// client can use a secret that is revoked before its request arrives.
const OVERLAP: Duration = Duration::from_millis(150);
/// The time from one rotation to the next.
const PERIOD: Duration = Duration::from_millis(10);
/// What the documentation says: from the next token request on. A request that was being made when the file changed may take this long
/// to arrive on a loaded machine.
const STATED: Duration = Duration::from_secs(2);

/// The secrets that are taken, and since when an old one is not to be seen any more.
#[derive(Default)]
struct Books {
    /// With the time from which they are not taken any more.
    taken: Vec<(String, Option<Instant>)>,
    replaced_at: HashMap<String, Instant>,
    latest_use: Duration,
    refused: u64,
}

impl Books {
    /// The secret `old` was replaced, and is taken for a little longer.
    fn replaced(&mut self, old: String) {
        let now = Instant::now();
        let revoked = self.taken.iter_mut().filter(|(taken, _)| *taken == old);
        revoked.for_each(|(_, until)| *until = Some(now + OVERLAP));
        self.replaced_at.insert(old, now);
    }

    /// Whether a request with this `Authorization` is granted.
    fn judge(&mut self, authorization: &str) -> bool {
        if let Some(replaced_at) = self.replaced_at.get(authorization) {
            self.latest_use = self.latest_use.max(replaced_at.elapsed());
        }
        let now = Instant::now();
        self.taken.retain(|(_, until)| until.is_none_or(|until| now < until));
        let taken = self.taken.iter().any(|(taken, _)| taken == authorization);
        self.refused += u64::from(!taken);
        taken
    }
}

fn replace(path: &Path, secret: &str) {
    let next = path.with_extension("next");
    std::fs::write(&next, secret).unwrap();
    std::fs::rename(next, path).unwrap();
}

async fn rotate(path: &Path, books: &Mutex<Books>, rotations: watch::Sender<u32>) {
    for number in 1..=ROTATIONS {
        let (old, new) = (basic(&format!("secret-{}", number - 1)), format!("secret-{number}"));
        books.lock().unwrap().taken.push((basic(&new), None));
        replace(path, &new);
        books.lock().unwrap().replaced(old);
        rotations.send(number).unwrap();
        sleep(PERIOD).await;
    }
}

/// Asks for a new scope after each rotation that it sees, so that each call is a token request, and so that the calls last for as long
/// as the rotations on a machine of any speed.
async fn call(
    manager: TokenManager,
    caller: u64,
    mut rotations: watch::Receiver<u32>,
    calls: Arc<AtomicU64>,
) {
    while rotations.changed().await.is_ok() {
        sleep(millis(caller)).await;
        let number = *rotations.borrow_and_update();
        let key = TokenKey::scope(&format!("scope-{caller}-{number}")).unwrap();
        manager.token(&key).await.unwrap();
        calls.fetch_add(1, Ordering::Relaxed);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn r4_3_a_thousand_rotations_of_a_file_under_load_fail_no_call() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("client-secret");
    replace(&path, "secret-0");
    let books = Arc::new(Mutex::new(Books { taken: vec![(basic("secret-0"), None)], ..Books::default() }));
    let judge = Arc::clone(&books);
    let server = Server::start(move |count, request, _| {
        let authorization = request.headers()["authorization"].to_str().unwrap();
        if judge.lock().unwrap().judge(authorization) {
            text(
                200,
                format!(r#"{{"access_token":"token-{count}","token_type":"Bearer","expires_in":3600}}"#),
            )
        } else {
            text(401, r#"{"error":"invalid_client"}"#)
        }
    })
    .await;
    let manager = TokenManager::builder(server.url("/token"), "billing")
        .client_secret_source(Arc::new(FileSource::new(&path)))
        .request_quota(QuotaPolicy::new(100_000, millis(1)).unwrap())
        .build()
        .unwrap();
    let (rotations, seen) = watch::channel(0);
    let calls = Arc::new(AtomicU64::new(0));
    let callers: Vec<_> = (0..CALLERS)
        .map(|caller| tokio::spawn(call(manager.clone(), caller, seen.clone(), Arc::clone(&calls))))
        .collect();
    rotate(&path, &books, rotations).await;
    for caller in callers {
        caller.await.expect("no call fails");
    }
    let (calls, books) = (calls.load(Ordering::Relaxed), books.lock().unwrap());
    println!(
        "{calls} calls, {} refused requests, the latest old secret {:?} late",
        books.refused, books.latest_use
    );
    assert!(calls > u64::from(ROTATIONS), "{calls} calls");
    assert!(
        books.latest_use <= STATED,
        "an old secret was used {:?} after it was replaced",
        books.latest_use
    );
}
