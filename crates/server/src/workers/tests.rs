use super::*;
use std::sync::mpsc::{Receiver, channel};

/// Longer than anything here takes on a slow machine.
const PATIENCE: Duration = Duration::from_secs(20);

fn next<T>(told: &Receiver<T>) -> T {
    told.recv_timeout(PATIENCE).unwrap()
}

#[test]
fn who_panics_is_counted_and_called_again_and_the_server_is_not_ready_meanwhile() {
    let workers = Workers::default();
    let (tell, told) = channel();
    let of_thread = workers.clone();
    let thread = workers.start(Worker::Keys, move |run| {
        tell.send((run, of_thread.are_well())).unwrap();
        assert_eq!(run, Run::AfterPanic, "on purpose");
    });
    assert_eq!(thread.unwrap().name(), Some("jeton-keys"));
    assert_eq!(next(&told), (Run::First, true));
    let panicked = Instant::now();
    while workers.are_well() {
        assert!(panicked.elapsed() < PATIENCE && told.try_recv().is_err(), "it was ready all the time");
        thread::yield_now();
    }
    assert_eq!(next(&told), (Run::AfterPanic, true));
    assert_eq!(workers.await_end(|_| true, PATIENCE), []);
    assert!(workers.are_well());
    assert_eq!(workers.panics(), Worker::ALL.map(|worker| u64::from(worker == Worker::Keys)));
}

#[test]
fn a_server_is_ready_without_what_no_token_depends_on() {
    let workers = Workers::default();
    let (tell, told) = channel();
    workers
        .start(Worker::Uses, move |run| {
            assert_eq!(run, Run::AfterPanic, "on purpose");
            tell.send(()).unwrap();
        })
        .unwrap();
    while told.try_recv().is_err() {
        assert!(workers.are_well());
        thread::yield_now();
    }
    assert_eq!(workers.await_end(|_| true, PATIENCE), []);
}

#[test]
fn the_end_waits_for_no_pause_and_for_nobody_longer_than_it_may() {
    let workers = Workers::default();
    let (tell, told) = channel();
    let (end_pausing, pausing) = channel::<()>();
    workers
        .start(Worker::Revocations, move |_| {
            tell.send(()).unwrap();
            panic!("on purpose");
        })
        .unwrap();
    workers.start(Worker::Audit, move |_| while pausing.recv().is_ok() {}).unwrap();
    // The second pause, of a second, has begun, or is about to.
    next(&told);
    next(&told);
    let begun = Instant::now();
    workers.begin_end();
    let left = workers.await_end(|worker| worker != Worker::Audit, PATIENCE);
    assert!(left.is_empty() && begun.elapsed() < Duration::from_millis(900), "{left:?}");
    assert!(told.try_iter().count() <= 1, "it was called for its end alone");
    assert_eq!(workers.await_end(|_| true, Duration::from_millis(10)), [Worker::Audit]);
    drop(end_pausing);
    assert_eq!(workers.await_end(|_| true, PATIENCE), []);
}

#[tokio::test]
async fn a_step_of_a_task_that_panics_is_counted() {
    let workers = Workers::default();
    assert_eq!(workers.catch(Worker::Export, async { 7 }).await, Some(7));
    assert_eq!(workers.catch(Worker::Export, async { panic!("on purpose") }).await, None::<()>);
    assert_eq!(workers.panics().iter().sum::<u64>(), 1);
    assert!(workers.are_well());
}

#[test]
fn every_worker_has_its_own_place_and_name() {
    for (at, worker) in Worker::ALL.into_iter().enumerate() {
        assert_eq!(worker as usize, at);
        assert_eq!(Worker::ALL.iter().filter(|other| other.name() == worker.name()).count(), 1);
    }
}
