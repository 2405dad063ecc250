//! Several managers that share a store, as processes do: how often the server is asked, and what a store that fails costs.

use crate::secrecy::Log;
use crate::support::fleet::{Fleet, Trouble, ring};
use crate::support::{Behaviour, Endpoint, SECRET, VirtualClock, key, millis, refusal, secs};
use jeton::store::{StoreFaultKind, StoreKey};
use jeton::{RefreshAhead, TokenError, TokenErrorKind, TokenManager};
use std::sync::Arc;
use std::time::Duration;
use tokio::time::{Instant, sleep};

async fn callers(managers: &[TokenManager], each: usize) -> Vec<Result<String, TokenError>> {
    let tasks: Vec<_> = managers
        .iter()
        .flat_map(|manager| (0..each).map(|_| manager.clone()))
        .map(|manager| {
            tokio::spawn(async move { manager.token(&key()).await.map(|t| t.access_token().to_owned()) })
        })
        .collect();
    let mut outcomes = Vec::new();
    for task in tasks {
        outcomes.push(task.await.unwrap());
    }
    outcomes
}

fn all_have(outcomes: &[Result<String, TokenError>], token: &str) {
    for outcome in outcomes {
        assert_eq!(outcome.as_deref().unwrap(), token);
    }
}

#[tokio::test(start_paused = true)]
async fn r2_3_a_cold_fleet_asks_once_and_once_more_at_expiry() {
    let fleet = Fleet::granting(3600);
    let managers: Vec<_> =
        (0..8).map(|_| fleet.builder().refresh_ahead(RefreshAhead::OnDemand).build().unwrap()).collect();
    all_have(&callers(&managers, 50).await, "token-1");
    assert_eq!(fleet.endpoint.requests(), 1);
    sleep(secs(3601)).await;
    all_have(&callers(&managers, 50).await, "token-2");
    assert_eq!(fleet.endpoint.requests(), 2);
}

#[tokio::test(start_paused = true)]
async fn r2_3_one_process_renews_for_all_and_nobody_waits() {
    let fleet = Fleet::granting(300);
    let managers = fleet.managers(8);
    all_have(&callers(&managers, 1).await, "token-1");
    for second in 1..=3000 {
        sleep(secs(1)).await;
        for manager in &managers {
            let asked = Instant::now();
            manager.token(&key()).await.unwrap();
            assert_eq!(asked.elapsed(), secs(0), "second {second}");
        }
    }
    // A token of 300 s is renewed at 0.6 to 0.8 of its life, by whoever draws the least: 1 + 3000 / 180 at most.
    let requests = fleet.endpoint.requests();
    assert!((13..=17).contains(&requests), "{requests} requests");
}

#[tokio::test(start_paused = true)]
async fn a_process_that_comes_later_takes_what_is_there_and_its_life_is_not_lengthened() {
    let fleet = Fleet::granting(3600);
    let first = fleet.manager().token(&key()).await.unwrap();
    // Also a token from before this machine's boot.
    for (pause, boot) in [(600, true), (900, true), (300, false)] {
        sleep(secs(pause)).await;
        let clock: Arc<dyn jeton::Clock> =
            if boot { Arc::clone(&fleet.clock) as _ } else { VirtualClock::booted_after(&fleet.clock) };
        let later = fleet.builder_on(&fleet.endpoint, clock).build().unwrap();
        let adopted = later.token(&key()).await.unwrap();
        // The time that the answer was on its way is the token's, to be on the safe side.
        assert_eq!(adopted.id(), first.id());
        let earlier = first.expires_at().saturating_since(adopted.expires_at());
        assert!(adopted.expires_at() <= first.expires_at() && earlier <= millis(2), "{earlier:?}");
        let now = jeton::Clock::moment(&*fleet.clock);
        assert!(adopted.left(now) <= first.left(now));
    }
    assert_eq!(fleet.endpoint.requests(), 1);
}

#[tokio::test(start_paused = true)]
async fn r3_1_a_token_that_all_reject_is_replaced_once_for_all() {
    let fleet = Fleet::granting(3600);
    let managers = fleet.managers(8);
    callers(&managers, 1).await;
    for round in 2..5 {
        for manager in &managers {
            let token = manager.token(&key()).await.unwrap();
            manager.reject(&key(), &token);
        }
        all_have(&callers(&managers, 10).await, &format!("token-{round}"));
        assert_eq!(fleet.endpoint.requests(), round);
        // A token that was fetched for a rejection has to prove itself for a while.
        sleep(secs(1000)).await;
    }
}

#[tokio::test(start_paused = true)]
async fn t27_a_rejected_token_is_given_to_nobody_by_the_store() {
    let fleet = Fleet::granting(3600);
    let first = fleet.manager();
    let token = first.token(&key()).await.unwrap();
    first.reject(&key(), &token);
    fleet.endpoint.set_latency(secs(2));
    let renewing = tokio::spawn(async move { first.token(&key()).await.unwrap().access_token().to_owned() });
    sleep(millis(100)).await;
    // It comes while the rejected token is being replaced, and knows nothing of the rejection.
    let second = fleet.manager().token(&key()).await.unwrap();
    assert_eq!((second.access_token(), renewing.await.unwrap().as_str()), ("token-2", "token-2"));
    assert_eq!(fleet.endpoint.requests(), 2);
}

#[tokio::test(start_paused = true)]
async fn r2_3_a_holder_that_is_killed_costs_its_lease_and_one_request() {
    for killed_after in [0, 1, 2, 5, 19, 500, 1900] {
        let fleet = Fleet::granting(3600);
        fleet.endpoint.set_latency(secs(2));
        let victim = fleet.manager();
        let task = tokio::spawn(async move { victim.token(&key()).await });
        sleep(millis(killed_after)).await;
        // As a process that is killed: nothing is given back.
        fleet.store.set(Trouble::Hangs);
        task.abort();
        let _aborted = task.await;
        sleep(millis(1)).await;
        fleet.store.set(Trouble::None);
        fleet.endpoint.set_latency(millis(20));
        let begun = Instant::now();
        all_have(&callers(&fleet.managers(4), 10).await, &format!("token-{}", fleet.endpoint.requests()));
        assert!(begun.elapsed() <= secs(4), "killed after {killed_after} ms: {:?}", begun.elapsed());
        assert!(fleet.endpoint.requests() <= 2, "killed after {killed_after} ms");
    }
}

#[tokio::test(start_paused = true)]
async fn a_process_that_closes_or_forgets_while_it_holds_the_lease_gives_it_back() {
    let fleet = Fleet::granting(3600);
    fleet.endpoint.set(Behaviour::Hang);
    for forgets in [true, false] {
        let holder = fleet.manager();
        let waiting = {
            let holder = holder.clone();
            tokio::spawn(async move { holder.token(&key()).await })
        };
        sleep(millis(100)).await;
        if forgets {
            waiting.abort();
            drop(holder);
        } else {
            holder.close(millis(10)).await;
        }
        let _ended = waiting.await;
        fleet.endpoint.set(Behaviour::Grant { expires_in: 1 });
        sleep(millis(10)).await;
        let begun = Instant::now();
        fleet.manager().token(&key()).await.unwrap();
        assert!(begun.elapsed() < millis(100), "{forgets}: {:?}", begun.elapsed());
        sleep(secs(2)).await;
        fleet.endpoint.set(Behaviour::Hang);
    }
}

#[tokio::test(start_paused = true)]
async fn r2_4_a_store_that_does_not_work_costs_no_call_and_each_process_asks_once() {
    let troubles = [
        Trouble::Fails(StoreFaultKind::Unreachable),
        Trouble::Fails(StoreFaultKind::Denied),
        Trouble::Fails(StoreFaultKind::Malformed),
        Trouble::ReadOnly,
        Trouble::Hangs,
        Trouble::LosesAnswers,
    ];
    for trouble in troubles {
        let fleet = Fleet::granting(3600);
        fleet.store.set(trouble);
        let managers = fleet.managers(3);
        let begun = Instant::now();
        let outcomes = callers(&managers, 50).await;
        assert!(outcomes.iter().all(Result::is_ok), "{trouble:?}");
        assert_eq!(fleet.endpoint.requests(), 3, "{trouble:?}: in each process, one for all");
        assert!(begun.elapsed() <= millis(600), "{trouble:?}: one time-out at most, {:?}", begun.elapsed());
        // Rejected again and again while the store is down: nobody waits for it any more.
        if trouble == Trouble::Hangs {
            for _ in 0..3 {
                let token = managers[0].token(&key()).await.unwrap();
                managers[0].reject(&key(), &token);
                sleep(secs(1)).await;
                let begun = Instant::now();
                managers[0].token(&key()).await.unwrap();
                assert!(begun.elapsed() <= millis(25), "{:?}", begun.elapsed());
            }
        }
    }
}

#[tokio::test(start_paused = true)]
async fn r2_4_a_store_that_comes_back_is_used_again_within_seconds() {
    for trouble in [Trouble::Fails(StoreFaultKind::Unreachable), Trouble::Hangs, Trouble::ReadOnly] {
        let fleet = Fleet::granting(600);
        let managers = fleet.managers(4);
        fleet.store.set(trouble);
        callers(&managers, 5).await;
        sleep(secs(60)).await;
        let before = fleet.endpoint.requests();
        fleet.store.set(Trouble::None);
        sleep(secs(3)).await;
        for manager in &managers {
            let token = manager.token(&key()).await.unwrap();
            manager.reject(&key(), &token);
        }
        let outcomes = callers(&managers, 5).await;
        let tokens: std::collections::HashSet<_> = outcomes.into_iter().map(Result::unwrap).collect();
        // Each process rejects a token of its own, so each may ask once; but they end with one that is shared.
        assert!(fleet.endpoint.requests() - before <= 4, "{trouble:?}");
        let late = fleet.manager().token(&key()).await.unwrap();
        assert!(
            tokens.contains(late.access_token()),
            "{trouble:?}: what a new process gets is one of theirs"
        );
    }
}

#[tokio::test(start_paused = true)]
async fn r2_4_who_only_adopts_finds_out_too_that_the_store_can_be_written_again() {
    for trouble in [Trouble::ReadOnly, Trouble::Fails(StoreFaultKind::Denied)] {
        let log = Log::default();
        let subscriber = tracing_subscriber::fmt().with_writer(log.clone()).finish();
        let _default = tracing::subscriber::set_default(subscriber);
        let fleet = Fleet::granting(3600);
        let managers = fleet.managers(4);
        fleet.store.set(trouble);
        callers(&managers, 1).await;
        let said = |words: &str| log.text().matches(words).count();
        assert_eq!(said("the shared store does not work"), 4, "{trouble:?}");
        sleep(secs(60)).await;
        assert_eq!(said("works again"), 0, "{trouble:?}");
        // Their tokens are good for most of an hour: nobody needs the store.
        fleet.store.set(Trouble::None);
        sleep(millis(2100)).await;
        assert_eq!(said("works again"), 4, "{trouble:?}");
        let asked = fleet.store.asked();
        sleep(secs(60)).await;
        assert_eq!(fleet.store.asked(), asked, "{trouble:?}: a store that is well is not probed");
    }
}

#[tokio::test(start_paused = true)]
async fn a_store_that_tells_nothing_is_looked_at() {
    let fleet = Fleet::granting(3600);
    fleet.store.set(Trouble::Silent);
    let begun = Instant::now();
    all_have(&callers(&fleet.managers(4), 5).await, "token-1");
    assert!(begun.elapsed() <= millis(600), "{:?}", begun.elapsed());
}

#[tokio::test(start_paused = true)]
async fn who_follows_has_the_token_as_soon_as_it_is_published() {
    let fleet = Fleet::granting(3600);
    fleet.endpoint.set_latency(secs(4));
    let begun = Instant::now();
    all_have(&callers(&fleet.managers(8), 5).await, "token-1");
    assert!(begun.elapsed() <= secs(4) + millis(10), "{:?}", begun.elapsed());
    assert_eq!(fleet.endpoint.requests(), 1, "a lease of 3 s was prolonged for a request of 4 s");
}

#[tokio::test(start_paused = true)]
async fn while_the_server_is_down_here_a_token_of_another_process_serves() {
    let fleet = Fleet::granting(600);
    let cut_off = Endpoint::new(Behaviour::Break);
    let clock = Arc::clone(&fleet.clock) as Arc<dyn jeton::Clock>;
    let lonely = fleet.builder_on(&cut_off, clock).build().unwrap();
    for _ in 0..10 {
        assert!(lonely.token(&key()).await.is_err());
        sleep(millis(700)).await;
    }
    fleet.manager().token(&key()).await.unwrap();
    sleep(millis(600)).await;
    let token = lonely.token(&key()).await.unwrap();
    assert_eq!(token.access_token(), "token-1", "though its own way to the server is closed");
}

#[tokio::test(start_paused = true)]
async fn r3_4_what_the_server_asks_one_process_for_holds_for_all() {
    let fleet = Fleet::granting(600);
    fleet.endpoint.set(Behaviour::Answer {
        status: 429,
        headers: vec![("retry-after", "120".to_owned())],
        body: String::new(),
    });
    let managers = fleet.managers(8);
    for outcome in callers(&managers, 5).await {
        let error = outcome.unwrap_err();
        assert!(
            error.retry_after().is_some_and(|pause| pause >= secs(119) && pause <= secs(181)),
            "{error:?}"
        );
    }
    assert_eq!(fleet.endpoint.requests(), 1);
    fleet.endpoint.set(Behaviour::Grant { expires_in: 600 });
    // Each spreads the pause by up to a half, so that they do not come back together.
    sleep(secs(181)).await;
    all_have(&callers(&managers, 5).await, "token-2");
    assert_eq!(fleet.endpoint.requests(), 2);
}

#[tokio::test(start_paused = true)]
async fn one_process_with_a_wrong_secret_spoils_nothing_for_the_others() {
    let fleet = Fleet::granting(600);
    let refusing = Endpoint::new(refusal(401, "invalid_client"));
    let clock = Arc::clone(&fleet.clock) as Arc<dyn jeton::Clock>;
    let wrong = fleet.builder_on(&refusing, clock).build().unwrap();
    let error = wrong.token(&key()).await.unwrap_err();
    assert!(matches!(error.kind(), TokenErrorKind::Refused { .. }), "{error:?}");
    let begun = Instant::now();
    assert_eq!(fleet.manager().token(&key()).await.unwrap().access_token(), "token-1");
    assert!(begun.elapsed() < millis(100), "its lease was given back: {:?}", begun.elapsed());
}

#[tokio::test(start_paused = true)]
async fn r2_2_other_keys_are_another_fleet_and_neither_is_harmed() {
    let fleet = Fleet::granting(600);
    let names = StoreKey::from_bytes(&[9; 32]);
    let with = |byte: u8| {
        let keys = ring(byte).with_name_key(&names).unwrap();
        fleet.builder().shared_store(Arc::clone(&fleet.store) as _, keys).build().unwrap()
    };
    assert_eq!(with(1).token(&key()).await.unwrap().access_token(), "token-1");
    assert_eq!(with(2).token(&key()).await.unwrap().access_token(), "token-2");
    assert_eq!(with(2).token(&key()).await.unwrap().access_token(), "token-2");
    assert_eq!(fleet.store.names.lock().unwrap().iter().collect::<std::collections::HashSet<_>>().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn r4_5_what_the_store_is_given_tells_nothing() {
    let fleet = Fleet::granting(3600);
    fleet.endpoint.set(Behaviour::GrantSame { token: "canary-access-token", expires_in: "3600" });
    let token = fleet.manager().token(&key()).await.unwrap();
    assert_eq!(token.access_token(), "canary-access-token");
    let given = String::from_utf8(fleet.store.given.lock().unwrap().clone()).unwrap();
    assert!(given.len() > 200, "it was given something");
    for canary in ["canary", SECRET, "billing", "orders", "as.example"] {
        assert!(!given.contains(canary), "{canary}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_server_that_has_but_one_token_is_not_asked_by_each_process() {
    let fleet = Fleet::granting(3600);
    fleet.endpoint.set(Behaviour::GrantSame { token: "the-only-one", expires_in: "1000" });
    let managers = fleet.managers(8);
    callers(&managers, 1).await;
    // The server goes on counting its life down.
    for left in (0..1000).rev().step_by(50) {
        let expires_in: &'static str = Box::leak(left.to_string().into_boxed_str());
        fleet.endpoint.set(Behaviour::GrantSame { token: "the-only-one", expires_in });
        sleep(secs(50)).await;
        if left > 60 {
            callers(&managers, 1).await.into_iter().for_each(|outcome| assert!(outcome.is_ok()));
        }
    }
    let requests = fleet.endpoint.requests();
    assert!(requests <= 8, "{requests} requests");
}

#[tokio::test(start_paused = true)]
async fn the_hit_path_never_asks_the_store() {
    let fleet = Fleet::granting(3600);
    let handle = fleet.manager().handle(&key()).unwrap();
    handle.token().await.unwrap();
    sleep(secs(1)).await;
    let before = fleet.store.asked();
    for _ in 0..10_000 {
        assert!(handle.get_with(|_| ()).is_some());
        handle.token().await.unwrap();
    }
    assert_eq!(fleet.store.asked(), before);
}

#[tokio::test(start_paused = true)]
async fn t28_a_process_whose_clock_is_wrong_adopts_nothing_that_has_expired() {
    let fleet = Fleet::granting(600);
    fleet.manager().token(&key()).await.unwrap();
    sleep(secs(590)).await;
    let slow = VirtualClock::with_boot_clock();
    slow.step(-3_600_000);
    let late = fleet.builder_on(&fleet.endpoint, Arc::clone(&slow) as _).build().unwrap();
    let adopted = late.token(&key()).await.unwrap();
    let left = adopted.left(jeton::Clock::moment(&*slow));
    assert!(adopted.access_token() != "token-1" || left <= secs(10), "{left:?}");
    let _: Duration = left;
}
