use super::*;
use jeton_proto::jose::assertion_verification::VerifiedBy;
use std::pin::Pin;
use std::sync::Barrier;
use std::sync::atomic::{AtomicUsize, Ordering};

const NOW: Timestamp = Timestamp::from_unix_seconds(1_800_000_000);

fn later(seconds: u64) -> Timestamp {
    NOW.saturating_add(Duration::from_secs(seconds))
}

fn assertion(jwt_id: &str, made_at: Timestamp) -> VerifiedAssertion {
    VerifiedAssertion {
        jwt_id: jwt_id.to_owned(),
        issued_at: Some(made_at),
        expires_at: made_at.saturating_add(Duration::from_secs(60)),
        by: VerifiedBy::PublicKey,
    }
}

fn open(dir: &Path) -> SpentAssertions {
    SpentAssertions::open(dir, None, NOW)
}

async fn spend(spent: &SpentAssertions, jwt_id: &str, now: Timestamp) -> Spending {
    spent.spend("client", &assertion(jwt_id, now), now).await
}

#[tokio::test]
async fn t38_an_assertion_is_good_once_while_it_lives_and_for_its_client_alone() {
    let dir = tempfile::tempdir().unwrap();
    let spent = open(dir.path());
    let used = assertion("a", NOW);
    assert_eq!(spent.spend("client", &used, NOW).await, Spending::First);
    for seconds in [0, 1, 31, 62, 89] {
        assert_eq!(spent.spend("client", &used, later(seconds)).await, Spending::Again, "{seconds}");
    }
    assert_eq!(spent.spend("other", &used, NOW).await, Spending::First);
    assert_eq!(spent.spend("clien", &assertion("ta", NOW), NOW).await, Spending::First);
    assert_eq!(spend(&spent, "b", NOW).await, Spending::First);
}

#[test]
fn t38_of_twenty_racers_exactly_one_is_first() {
    let dir = tempfile::tempdir().unwrap();
    let spent = open(dir.path());
    for round in 0..100 {
        let assertion = assertion(&round.to_string(), NOW);
        let (firsts, barrier) = (AtomicUsize::new(0), Barrier::new(20));
        std::thread::scope(|scope| {
            for _ in 0..20 {
                scope.spawn(|| {
                    barrier.wait();
                    let key = SpentKey::new("client", &assertion.jwt_id);
                    if spent.spend_here(key, assertion.usable_until(), NOW) == Spending::First {
                        firsts.fetch_add(1, Ordering::Relaxed);
                    }
                });
            }
        });
        assert_eq!(firsts.into_inner(), 1, "{round}");
    }
}

#[tokio::test]
async fn t38_after_a_restart_nothing_is_good_again() {
    let dir = tempfile::tempdir().unwrap();
    assert_eq!(spend(&open(dir.path()), "a", NOW).await, Spending::First);
    let spent = SpentAssertions::open(dir.path(), None, later(5));
    assert_eq!(spent.spend("client", &assertion("a", NOW), later(5)).await, Spending::Again);
    assert_eq!(spent.spend("client", &assertion("b", NOW), later(5)).await, Spending::First);
    drop(spent);
    // Without its journal it does not know, and says so.
    for entry in std::fs::read_dir(dir.path()).unwrap() {
        std::fs::remove_file(entry.unwrap().path()).unwrap();
    }
    let spent = SpentAssertions::open(dir.path(), None, later(10));
    for jwt_id in ["a", "c"] {
        let spending = spent.spend("client", &assertion(jwt_id, NOW), later(10)).await;
        assert!(matches!(spending, Spending::Unknown { why: Doubt::BeforeStart, .. }), "{spending:?}");
    }
    assert_eq!(spend(&spent, "c", later(10)).await, Spending::First);
}

#[tokio::test]
async fn a_server_that_was_started_with_its_clock_ahead_takes_assertions_after_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    let ahead = later(365 * 86_400);
    assert_eq!(spend(&SpentAssertions::open(dir.path(), None, ahead), "a", ahead).await, Spending::First);
    for restart in [0, 100] {
        let now = later(restart);
        let spent = SpentAssertions::open(dir.path(), None, now);
        let spending = spent.spend("client", &assertion("b", now), now).await;
        let doubted = matches!(spending, Spending::Unknown { why: Doubt::BeforeStart, .. });
        assert_eq!(doubted, restart == 0, "what was used before is not known: {spending:?}");
        let soon = later(restart + 31);
        assert_eq!(spend(&spent, &format!("c{restart}"), soon).await, Spending::First);
    }
}

#[tokio::test]
async fn what_cannot_be_used_any_longer_is_forgotten_and_what_can_is_not() {
    let dir = tempfile::tempdir().unwrap();
    let spent = open(dir.path());
    for round in 0..100 {
        for number in 0..50 {
            let jwt_id = format!("{round}-{number}");
            assert_eq!(spend(&spent, &jwt_id, later(round * 30)).await, Spending::First);
        }
    }
    let remembered: usize = spent.shards.iter().map(|shard| shard.lock().unwrap().usable_until.len()).sum();
    assert!(remembered <= 50 * 6, "{remembered}");
    assert!(spent.live(later(99 * 30)).len() >= 50 * 3);
}

#[tokio::test]
async fn a_full_memory_pushes_nothing_out() {
    let dir = tempfile::tempdir().unwrap();
    let spent = SpentAssertions { most_in_shard: 4, ..open(dir.path()) };
    let mut first = Vec::new();
    let mut refused = 0;
    for number in 0..400 {
        let jwt_id = number.to_string();
        match spend(&spent, &jwt_id, NOW).await {
            Spending::First => first.push(jwt_id),
            Spending::Unknown { why: Doubt::Full, .. } => refused += 1,
            other => panic!("{other:?}"),
        }
    }
    assert_eq!((first.len(), refused), (4 * SHARDS, 400 - 4 * SHARDS));
    for jwt_id in &first {
        assert_eq!(spend(&spent, jwt_id, later(2)).await, Spending::Again);
    }
    assert_eq!(spend(&spent, "later", later(100)).await, Spending::First, "there is room again");
}

#[tokio::test]
async fn a_clock_that_is_set_back_makes_nothing_good_again() {
    let dir = tempfile::tempdir().unwrap();
    let spent = open(dir.path());
    assert_eq!(spend(&spent, "a", NOW).await, Spending::First);
    for number in 0..100 {
        spend(&spent, &number.to_string(), later(3600)).await;
    }
    let spending = spent.spend("client", &assertion("a", NOW), later(10)).await;
    assert!(matches!(spending, Spending::Unknown { why: Doubt::ClockSetBack, .. }), "{spending:?}");
    assert_eq!(
        spend(&spent, "new", later(3590)).await,
        Spending::First,
        "a correction by seconds stops nothing"
    );
}

#[derive(Debug)]
struct Elsewhere(SharedSpend);

impl SharedSpending for Elsewhere {
    fn spend<'a>(
        &'a self,
        _key: SpentKey,
        _usable_until: Timestamp,
    ) -> Pin<Box<dyn Future<Output = SharedSpend> + Send + 'a>> {
        let answer = self.0;
        Box::pin(async move { answer })
    }

    fn unavailable(&self) -> u64 {
        0
    }
}

#[tokio::test]
async fn t38_what_the_instances_share_has_the_last_word() {
    for (shared, first) in
        [(SharedSpend::First, true), (SharedSpend::Again, false), (SharedSpend::Unknown, false)]
    {
        let dir = tempfile::tempdir().unwrap();
        let spent = SpentAssertions::open(dir.path(), Some(Arc::new(Elsewhere(shared))), NOW);
        assert_eq!(spend(&spent, "a", NOW).await == Spending::First, first, "{shared:?}");
        assert_eq!(spend(&spent, "a", NOW).await, Spending::Again, "here it is known");
    }
}
