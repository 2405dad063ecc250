//! A client that was refused: one request tries again when that is forgotten.

use crate::support::{Behaviour, Endpoint, VirtualClock, builder_with_clock, refusal, secs};
use jeton::{RefreshAhead, TokenKey};
use std::sync::Arc;
use tokio::time::{Instant, sleep};

fn keys(count: usize) -> Vec<TokenKey> {
    (0..count).map(|number| TokenKey::scope(&format!("scope:{number}")).unwrap()).collect()
}

#[tokio::test(start_paused = true)]
async fn t24_refusals_that_were_on_their_way_together_count_as_one() {
    let endpoint = Endpoint::new(refusal(401, "invalid_client"));
    let manager = builder_with_clock(&endpoint, VirtualClock::with_boot_clock())
        .refresh_ahead(RefreshAhead::OnDemand)
        .build()
        .unwrap();
    let tasks: Vec<_> = keys(20)
        .into_iter()
        .map(|key| {
            let manager = manager.clone();
            tokio::spawn(async move { manager.token(&key).await.unwrap_err() })
        })
        .collect();
    for task in tasks {
        let after = task.await.unwrap().retry_after().unwrap();
        assert!(after <= secs(30), "remembered for {after:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn t24_when_a_refusal_is_forgotten_one_request_tries_again_and_not_one_for_each_key() {
    let endpoint = Endpoint::granting(60);
    let manager = builder_with_clock(&endpoint, VirtualClock::with_boot_clock()).build().unwrap();
    let keys = keys(50);
    let manager = Arc::new(manager);
    for key in &keys {
        manager.token(key).await.unwrap();
    }
    endpoint.set(refusal(401, "invalid_client"));
    sleep(secs(61)).await;
    let before = endpoint.requests();
    let begun = Instant::now();
    while begun.elapsed() < secs(600) {
        let tasks: Vec<_> = keys
            .iter()
            .map(|key| {
                let (manager, key) = (Arc::clone(&manager), key.clone());
                tokio::spawn(async move { manager.token(&key).await.map(|_| ()) })
            })
            .collect();
        for task in tasks {
            let error = task.await.unwrap().unwrap_err();
            assert!(error.to_string().contains("invalid_client"), "{error}");
        }
        sleep(secs(1)).await;
    }
    let trials = endpoint.requests() - before;
    assert!((1..=12).contains(&trials), "{trials} refused requests in ten minutes");
    endpoint.set(Behaviour::Grant { expires_in: 3600 });
    sleep(secs(331)).await;
    for key in &keys {
        assert!(manager.handle(key).unwrap().get_with(|_| ()).is_some() || manager.token(key).await.is_ok());
    }
}
