//! One probe at a time, however slow it is.

use crate::support::{Behaviour, Endpoint, VirtualClock, builder_with_clock, millis, secs};
use jeton::{BreakerPolicy, TokenKey};
use tokio::time::{Instant, sleep};

fn keys(count: usize) -> Vec<TokenKey> {
    (0..count).map(|number| TokenKey::scope(&format!("scope:{number}")).unwrap()).collect()
}

#[tokio::test(start_paused = true)]
async fn t25_a_probe_that_takes_longer_than_the_longest_window_is_still_the_only_one() {
    let endpoint = Endpoint::granting(3600);
    let breaker = BreakerPolicy::new(1, secs(1), secs(1)).unwrap();
    let clock = VirtualClock::with_boot_clock();
    let manager = builder_with_clock(&endpoint, clock).breaker_policy(breaker).build().unwrap();
    endpoint.set(Behaviour::Hang);
    let keys = keys(10);
    manager.token(&keys[0]).await.unwrap_err();
    let begun = Instant::now();
    while begun.elapsed() < secs(120) {
        for key in &keys {
            let _refused = manager.token_within(key, millis(0)).await;
        }
        sleep(millis(200)).await;
    }
    let asked_at = endpoint.asked_at.lock().unwrap().clone();
    for pair in asked_at.windows(2) {
        assert!(pair[1] - pair[0] >= secs(10), "two probes at once: {:?}", pair[1] - pair[0]);
    }
    // It is up again, and slow.
    endpoint.set(Behaviour::Grant { expires_in: 3600 });
    endpoint.set_latency(secs(4));
    let healed = Instant::now();
    while manager.handle(&keys[0]).unwrap().get_with(|_| ()).is_none() {
        assert!(healed.elapsed() < secs(60), "the breaker never closes");
        for key in &keys {
            let _refused = manager.token_within(key, millis(0)).await;
        }
        sleep(millis(200)).await;
    }
}
