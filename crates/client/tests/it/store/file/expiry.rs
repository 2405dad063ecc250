//! Many processes whose token ends at the same instant: one takes the lease, and the others have its token soon after.

use super::process::{Process, is_child, say};
use super::{home, name, put};
use jeton::store::{Change, FileStore, SharedStore, Swap};
use std::path::Path;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};
use tokio::time::{sleep, timeout};

const ROUNDS: u64 = 12;
const ROUND: Duration = Duration::from_millis(250);
/// How long what stands for a token request takes.
const MINTING: Duration = Duration::from_millis(20);

#[allow(clippy::disallowed_methods, reason = "processes have no other clock to meet by")]
fn wall_clock() -> Duration {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap()
}

fn round_in(body: &[u8]) -> u64 {
    u64::from_be_bytes(*body.first_chunk().unwrap())
}

/// What the winner writes: the round, the instant, and about as much as a token.
fn token(round: u64) -> Vec<u8> {
    let at = u64::try_from(wall_clock().as_micros()).unwrap();
    [&round.to_be_bytes()[..], &at.to_be_bytes(), &[7; 2000]].concat()
}

async fn meet(directory: &Path) {
    let store = FileStore::open(directory.join("cache")).unwrap();
    say("ready");
    let begin = loop {
        match std::fs::read_to_string(directory.join("begin")) {
            Ok(millis) if millis.ends_with('\n') => {
                break Duration::from_millis(millis.trim().parse().unwrap());
            }
            Ok(_) | Err(_) => sleep(Duration::from_millis(5)).await,
        }
    };
    for round in 1..=ROUNDS {
        let at = begin + ROUND * u32::try_from(round).unwrap();
        sleep(at.saturating_sub(wall_clock())).await;
        let there = store.load(&name(7)).await.unwrap().record;
        let last = there.as_ref().and_then(|there| there.body.as_ref()).map_or(0, |body| round_in(body));
        // A busy machine may be rounds late.
        if last >= round {
            say(&format!("late {round}"));
            continue;
        }
        let lease =
            Change { lease: Some(Duration::from_secs(5)), body: jeton::store::BodyChange::Keep, ..put("") };
        let (fence, mut subscription) = (lease.version, store.subscribe(&name(7)).await.unwrap());
        let is_leased = there.as_ref().is_some_and(|there| there.lease_left.is_some());
        let expected = there.map(|there| there.version);
        // Whoever comes after the lease was taken does not try for it.
        let took = !is_leased
            && match store.compare_and_swap(&name(7), expected, lease).await {
                Ok(Swap::Written { .. }) => true,
                Ok(Swap::Conflict(_)) => false,
                Err(fault) => {
                    say(&format!("fault {fault}"));
                    false
                }
            };
        if took {
            sleep(MINTING).await;
            let written = store.compare_and_swap(&name(7), Some(fence), put(token(round))).await;
            assert!(matches!(written, Ok(Swap::Written { .. })), "{written:?}");
            say(&format!("won {round}"));
            continue;
        }
        let patience = Instant::now() + Duration::from_secs(2);
        loop {
            let body = store.load(&name(7)).await.unwrap().record.and_then(|record| record.body);
            if let Some(body) = body.filter(|body| round_in(body) >= round) {
                let minted = u64::from_be_bytes(*body[8..].first_chunk().unwrap());
                let passed = u64::try_from(wall_clock().as_micros()).unwrap().saturating_sub(minted);
                break say(&format!("told {passed}"));
            }
            assert!(Instant::now() < patience, "round {round} brought nothing");
            let _told = timeout(Duration::from_millis(500), subscription.changed()).await;
        }
    }
}

/// Has so many processes meet, and gives how long after the token was there each of the others had it, in microseconds.
fn meeting(processes: usize, test: &str) -> Vec<u64> {
    let home = home();
    let mut all: Vec<Process> = (0..processes).map(|_| Process::start(test, home.path())).collect();
    for process in &mut all {
        assert_eq!(process.hears().as_deref(), Some("ready"));
    }
    let begin = wall_clock() + Duration::from_millis(50);
    std::fs::write(home.path().join("begin"), format!("{}\n", begin.as_millis())).unwrap();
    let said: Vec<String> = all.into_iter().flat_map(Process::ends_well).collect();
    let of = |what: &str| -> Vec<&str> { said.iter().filter_map(|line| line.strip_prefix(what)).collect() };
    assert_eq!(of("fault "), [""; 0]);
    let mut won: Vec<u64> = of("won ").iter().map(|round| round.parse().unwrap()).collect();
    won.sort_unstable();
    assert!(won.iter().copied().eq(1..=ROUNDS), "one for each round: {won:?}");
    let mut told: Vec<u64> = of("told ").iter().map(|micros| micros.parse().unwrap()).collect();
    told.sort_unstable();
    assert_eq!(told.len() + won.len() + of("late ").len(), processes * usize::try_from(ROUNDS).unwrap());
    told
}

fn run(processes: usize, test: &str) -> Vec<u64> {
    if let Some(directory) = is_child() {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(meet(&directory));
        return Vec::new();
    }
    let told = meeting(processes, test);
    assert!(!told.is_empty());
    told
}

#[test]
fn r2_1_eight_processes_take_one_lease_a_round_and_hand_over_at_once() {
    let test = "store::file::expiry::r2_1_eight_processes_take_one_lease_a_round_and_hand_over_at_once";
    let told = run(8, test);
    let at = |percent: usize| told.get(told.len() * percent / 100).copied().unwrap_or_default();
    println!("handed over in {} µs in the middle, {} µs at p99", at(50), at(99));
    // For a busy machine; on a quiet one it is a few milliseconds.
    assert!(told.get(told.len() / 2).is_none_or(|micros| *micros < 100_000), "{told:?}");
}

#[test]
fn r2_1_forty_processes_take_one_lease_a_round() {
    run(40, "store::file::expiry::r2_1_forty_processes_take_one_lease_a_round");
}
