//! The keeper where runtimes come and go: exactly one, or the next to be seen to.

use crate::attack::{on_system_clock, poll_once, runtime};
use crate::support::{Behaviour, Endpoint, VirtualClock, builder_with_clock, key, millis, secs};
use jeton::BackoffPolicy;
use tokio::runtime::Builder;
use tokio::time::sleep;

#[test]
fn t12_a_refused_caller_without_a_runtime_does_not_cost_the_keeper() {
    let endpoint = Endpoint::new(Behaviour::Break);
    endpoint.set_latency(millis(1));
    let policy = BackoffPolicy::new(millis(300), millis(300), secs(1)).unwrap();
    let first = runtime();
    let handle = first.block_on(async {
        let manager = on_system_clock(&endpoint).backoff_policy(policy).build().unwrap();
        let handle = manager.handle(&key()).unwrap();
        handle.token().await.unwrap_err();
        handle
    });
    drop(first);
    assert!(poll_once(handle.token()).is_ready(), "refused at once");
    endpoint.set(Behaviour::Grant { expires_in: 3600 });
    runtime().block_on(async {
        // Asking in vain is what sets the keeper to work.
        let _refused = handle.token_within(millis(0)).await;
        for _ in 0..100 {
            if handle.get_with(|_| ()).is_some() {
                return;
            }
            sleep(millis(20)).await;
        }
        panic!("nobody looked again");
    });
}

/// How many tasks the runtime at hand has.
fn tasks() -> usize {
    tokio::runtime::Handle::current().metrics().num_alive_tasks()
}

#[test]
fn t12_a_keeper_on_a_runtime_that_nobody_drives_is_replaced_and_ends_when_somebody_does() {
    let endpoint = Endpoint::granting(60);
    let (idle, driven) = (runtime_of_virtual_time(), runtime_of_virtual_time());
    let clock = idle.block_on(async { VirtualClock::with_boot_clock() });
    let handle = idle.block_on(async {
        let handle = builder_with_clock(&endpoint, clock).build().unwrap().handle(&key()).unwrap();
        handle.token().await.unwrap();
        sleep(millis(20)).await;
        assert_eq!(tasks(), 1, "the keeper");
        handle
    });
    driven.block_on(async {
        sleep(secs(120)).await;
        handle.token().await.unwrap();
        sleep(millis(20)).await;
        assert_eq!(tasks(), 1, "another one");
        for _ in 0..100 {
            let asked = endpoint.requests();
            for _ in 0..100 {
                sleep(millis(500)).await;
            }
            assert_eq!(endpoint.requests(), asked + 1);
            assert!(handle.get_with(|_| ()).is_some(), "renewed by the keeper alone");
        }
    });
    idle.block_on(async {
        sleep(secs(31)).await;
        assert_eq!(tasks(), 0, "the first notices that its place was taken");
    });
    driven.block_on(async { assert_eq!(tasks(), 1) });
}

fn runtime_of_virtual_time() -> tokio::runtime::Runtime {
    Builder::new_current_thread().enable_all().start_paused(true).build().unwrap()
}
