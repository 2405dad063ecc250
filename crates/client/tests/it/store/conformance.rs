//! The suite that every store is held to, held to account itself: a store that is wrong in one thing is found out by
//! the rule of that thing.

mod wrong;

use jeton::store::conformance::{self, Rule, Stage};
use jeton::store::{MemoryStore, SharedStore, StoreFuture};
use std::sync::Arc;
use std::time::{Duration, Instant};
use wrong::WrongStage;

/// A store in memory.
struct InMemory(MemoryStore);

impl Stage for InMemory {
    fn open(&self) -> StoreFuture<'_, Arc<dyn SharedStore>> {
        let store: Arc<dyn SharedStore> = Arc::new(self.0.clone());
        Box::pin(async move { Ok(store) })
    }

    fn subscriptions(&self) -> StoreFuture<'_, Option<usize>> {
        Box::pin(async { Ok(Some(self.0.subscriptions())) })
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_store_in_memory_keeps_the_contract() {
    let begun = Instant::now();
    assert_eq!(conformance::check(&InMemory(MemoryStore::new())).await, Ok(()));
    assert!(begun.elapsed() < Duration::from_secs(5), "{:?}", begun.elapsed());
}

#[tokio::test]
async fn it_does_so_on_one_thread_too() {
    assert_eq!(conformance::check(&InMemory(MemoryStore::new())).await, Ok(()));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_store_that_is_wrong_in_one_thing_is_found_out_by_the_rule_of_that_thing() {
    let mut tasks = tokio::task::JoinSet::new();
    for rule in Rule::ALL {
        tasks.spawn(async move { (rule, conformance::check_rule(&WrongStage::new(rule), rule).await) });
    }
    let mut missed = Vec::new();
    while let Some(joined) = tasks.join_next().await {
        match joined.unwrap() {
            (rule, Err(breach)) => {
                assert_eq!(breach.rule(), rule);
                assert!(!breach.what().starts_with("a fault"), "{breach}");
            }
            (rule, Ok(())) => missed.push(rule),
        }
    }
    assert!(missed.is_empty(), "not found out: {missed:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_rule_is_kept_by_the_right_store_where_the_wrong_one_breaks_it() {
    // The wrapper without its fault: what the rules find is the fault, not the wrapper.
    for rule in Rule::ALL {
        assert_eq!(conformance::check_rule(&WrongStage::without_fault(), rule).await, Ok(()));
    }
}

#[tokio::test]
async fn breaches_are_told_line_by_line() {
    let breaches = conformance::check(&WrongStage::new(Rule::KindIsOneWord)).await.unwrap_err();
    let rules: Vec<Rule> = breaches.iter().map(conformance::Breach::rule).collect();
    assert_eq!(rules, [Rule::KindIsOneWord]);
    assert_eq!(breaches.to_string(), "KindIsOneWord: it is called \"Two Words\"");
}
