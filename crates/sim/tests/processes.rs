//! Real processes at the size that a run of all tests has room for; `sim processes --full` is the same at full size.

#![allow(clippy::unwrap_used, reason = "a test that fails panics")]

use rustix::process::{Pid, Signal, kill_process};
use sim::processes::depot::Kind;
use sim::processes::disk;
use sim::processes::findings::Findings;
use sim::processes::kills::{self, Fate};
use sim::processes::outages::{self, Trouble};
use sim::processes::rounds;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

fn program() -> &'static Path {
    Path::new(env!("CARGO_BIN_EXE_sim"))
}

/// Everything on this thread: the children end with it.
fn play<T>(trial: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(trial)
}

fn holds(findings: &Findings) {
    assert!(findings.is_clean(), "{findings}");
}

fn cold_and_at_expiry(kind: Kind) {
    let size = rounds::Size { processes: 8, tasks: 50, rounds: 3, expiry_every: 2 };
    holds(&play(rounds::rounds(program(), kind, size)).unwrap());
}

#[test]
fn r2_3_eight_processes_of_fifty_tasks_ask_once_cold_and_once_at_expiry_by_files() {
    cold_and_at_expiry(Kind::File);
}

#[test]
fn r2_3_eight_processes_of_fifty_tasks_ask_once_cold_and_once_at_expiry_by_redis() {
    cold_and_at_expiry(Kind::Redis);
}

#[test]
fn without_a_store_the_same_processes_ask_each_for_itself_and_the_trial_says_so() {
    let size = rounds::Size { processes: 3, tasks: 5, rounds: 2, expiry_every: 9 };
    let findings = play(rounds::rounds(program(), Kind::None, size)).unwrap();
    let faults = findings.faults().join("\n");
    assert!(faults.contains("round 0 (Start): 3 token requests"), "{findings}");
    assert!(faults.contains("round 1 (Loss): 3 token requests"), "{findings}");
}

fn many_rounds(kind: Kind) {
    let size = rounds::Size { processes: 20, tasks: 25, rounds: 6, expiry_every: 5 };
    holds(&play(rounds::rounds(program(), kind, size)).unwrap());
}

#[test]
fn r2_3_twenty_processes_of_twenty_five_tasks_ask_once_in_each_round_by_files() {
    many_rounds(Kind::File);
}

#[test]
fn r2_3_twenty_processes_of_twenty_five_tasks_ask_once_in_each_round_by_redis() {
    many_rounds(Kind::Redis);
}

/// How fast a quiet machine is, is measured by the command; here followers that are not told would wait for half a second.
#[test]
fn r2_3_followers_are_told_and_do_not_wait_until_they_look_again() {
    for kind in [Kind::File, Kind::Redis] {
        let (findings, spread) = play(rounds::hand_over(program(), kind, 12)).unwrap();
        holds(&findings);
        assert!(spread.count() >= 70 && spread.permille(500) < Duration::from_millis(200), "{findings}");
    }
}

fn holders(kind: Kind, fate: Fate, rounds: usize) {
    let size = kills::Size { lanes: 3, rounds, seed: 1 };
    holds(&play(kills::play(program(), kind, fate, size)).unwrap());
}

#[test]
fn t27_a_holder_that_is_killed_costs_one_more_request_and_its_lease_by_files() {
    holders(Kind::File, Fate::Killed, 24);
}

#[test]
fn t27_a_holder_that_is_killed_costs_one_more_request_and_its_lease_by_redis() {
    holders(Kind::Redis, Fate::Killed, 24);
}

#[test]
fn t27_a_holder_that_was_held_still_overwrites_nothing_by_files() {
    holders(Kind::File, Fate::HeldStill, 12);
}

#[test]
fn t27_a_holder_that_was_held_still_overwrites_nothing_by_redis() {
    holders(Kind::Redis, Fate::HeldStill, 12);
}

fn taken_away(troubles: &[Trouble]) {
    let size = outages::Size { processes: 4, tasks: 6, away: Duration::from_secs(2) };
    let all = play(async {
        let mut playing = tokio::task::JoinSet::new();
        for trouble in troubles.iter().copied() {
            playing.spawn(async move { outages::play(program(), trouble, size).await });
        }
        playing.join_all().await
    });
    assert_eq!(all.len(), troubles.len());
    for findings in all {
        holds(&findings.unwrap());
    }
}

#[test]
fn t30_redis_that_does_not_answer_costs_no_call() {
    taken_away(&[
        Trouble::HeldStill,
        Trouble::Killed,
        Trouble::Restarted,
        Trouble::Busy,
        Trouble::PasswordChanged,
    ]);
}

#[test]
fn t30_redis_that_cannot_be_written_or_forgets_costs_no_call() {
    taken_away(&[Trouble::Flushed, Trouble::ReadOnly, Trouble::OutOfMemory, Trouble::Loading]);
}

#[test]
fn t31_processes_that_can_write_no_file_go_on_without() {
    holds(&play(disk::play(program())).unwrap());
}

/// A process, and when it began: another one may have its number by now.
#[derive(Clone, Copy)]
struct Known {
    id: u32,
    begun_ticks: u64,
}

/// State, parent and beginning of a process that is there.
fn told_of(id: u32) -> Option<(char, u32, u64)> {
    // The name of the program stands in parentheses; behind it the state, the parent, and 18 words later the beginning.
    let stat = std::fs::read_to_string(format!("/proc/{id}/stat")).ok()?;
    let mut words = stat.rsplit(") ").next()?.split(' ');
    let state = words.next()?.chars().next()?;
    Some((state, words.next()?.parse().ok()?, words.nth(17)?.parse().ok()?))
}

/// All processes with this one above them.
fn children_of(parent: u32) -> Vec<Known> {
    let names = std::fs::read_dir("/proc").unwrap().flatten().map(|entry| entry.file_name());
    let ids = names.filter_map(|name| name.to_str().and_then(|name| name.parse().ok()));
    let known = |id| told_of(id).map(|(state, above, begun_ticks)| (state, above, Known { id, begun_ticks }));
    let children = ids.filter_map(known).filter(|(state, above, _)| *state != 'Z' && *above == parent);
    children.map(|(_, _, known)| known).collect()
}

fn lives(known: Known) -> bool {
    told_of(known.id).is_some_and(|(state, _, begun_ticks)| state != 'Z' && begun_ticks == known.begun_ticks)
}

fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !holds() {
        assert!(begun.elapsed() < Duration::from_secs(30), "{what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// A process of the tests, ended whatever happens.
struct Ended(Child);

impl Drop for Ended {
    fn drop(&mut self) {
        let _killed = self.0.kill();
        let _waited = self.0.wait();
    }
}

#[test]
fn workers_and_redis_end_with_a_coordinator_that_is_killed() {
    // What a coordinator that is killed cannot take away itself.
    let scratch = tempfile::tempdir().unwrap();
    let coordinator = Command::new(program())
        .args(["processes", "--store", "redis", "rounds"])
        .env("TMPDIR", scratch.path())
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    let mut coordinator = Ended(coordinator);
    let parent = coordinator.0.id();
    // Sixteen workers and a redis-server.
    until("the processes did not start", || children_of(parent).len() == 17);
    let children = children_of(parent);
    // One that is held still cannot see its standard input close. The first: the last may not have said yet with whom it wants to end.
    let still = Pid::from_raw(i32::try_from(children.first().unwrap().id).unwrap()).unwrap();
    std::thread::sleep(Duration::from_millis(300));
    kill_process(still, Signal::STOP).unwrap();
    coordinator.0.kill().unwrap();
    coordinator.0.wait().unwrap();
    until("a process outlived its coordinator", || !children.iter().any(|known| lives(*known)));
}
