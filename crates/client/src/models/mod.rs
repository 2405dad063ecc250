//! What the callers of one key share, under loom: three threads, and every order in which they may meet.
//!
//! `cargo xtask loom` runs these models; docs/decisions/0013-loom.md says why loom, and what is not modelled. Beside each
//! invariant stands a variant of the code that breaks it, which the model must find out.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "a model that fails panics, and one that holds tells how often"
)]

mod breaker;
mod cache_swap;
mod flight;

use crate::error::{TokenError, TokenErrorKind};
use crate::http::ExchangeError;
use jeton_proto::lifecycle::CachedToken;
use jeton_proto::secret::Secret;
use jeton_proto::time::{Moment, Timestamp};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

/// The threads of a model: two that it starts, and the one that starts them.
const THREADS: usize = 3;
/// How often a thread may be at a point where others can come in between, in one order: far more than there is.
const MAX_BRANCHES: usize = 10_000;

const START: Moment = Moment::new(Timestamp::from_unix_seconds(1_700_000_000), None);
const LIFE: Duration = Duration::from_secs(3600);

/// What happened in how many orders: a model that never comes to what it is about proves nothing.
#[derive(Clone, Default)]
struct Seen(Arc<Mutex<BTreeMap<&'static str, u64>>>);

impl Seen {
    fn note(&self, what: &'static str) {
        *self.0.lock().unwrap().entry(what).or_default() += 1;
    }
}

/// Runs `model` once for every order in which its threads may meet: without a bound on preemptions, orders or time,
/// whatever loom's variables in the environment say. Each of the `situations` has to come up.
fn explore(name: &str, situations: &[&'static str], model: impl Fn(&Seen) + Send + Sync + 'static) {
    let mut builder = loom::model::Builder::new();
    builder.max_threads = THREADS;
    builder.max_branches = MAX_BRANCHES;
    (builder.preemption_bound, builder.max_permutations, builder.max_duration) = (None, None, None);
    builder.checkpoint_file = None;
    let seen = Seen::default();
    let (begun, noting) = (Instant::now(), seen.clone());
    builder.check(move || {
        noting.note("orders");
        model(&noting);
    });
    let seen = seen.0.lock().unwrap();
    println!("model {name}: {seen:?} in {:.2} s", begun.elapsed().as_secs_f64());
    for situation in situations {
        assert!(seen.contains_key(situation), "{name}: it never came to this: {situation}");
    }
}

/// Two threads, and the one that asks, do these things at once.
fn together<A: 'static, B: 'static, C>(
    first: impl FnOnce() -> A + 'static,
    second: impl FnOnce() -> B + 'static,
    third: impl FnOnce() -> C,
) -> (A, B, C) {
    let (first, second) = (loom::thread::spawn(first), loom::thread::spawn(second));
    let third = third();
    (first.join().unwrap(), second.join().unwrap(), third)
}

fn after(span: Duration) -> Moment {
    START.saturating_add(span)
}

fn token(name: &str, obtained: Moment) -> Arc<CachedToken> {
    Arc::new(CachedToken::new(Secret::from(name), None, obtained, LIFE).unwrap())
}

fn timed_out() -> TokenError {
    let fault = ExchangeError::TimedOut;
    TokenError::new(TokenErrorKind::Unreachable { server: "issuer.example".to_owned(), fault })
}

/// What the models rest on: three threads of two steps meet in 6! / 2!³ orders.
#[test]
fn every_order_is_tried() {
    let orders = Arc::new(Mutex::new(std::collections::BTreeSet::new()));
    let tried = Arc::clone(&orders);
    explore("every order", &[], move |_| {
        let steps = Arc::new(crate::sync::Mutex::new(Vec::new()));
        let thread = |name: char| {
            let steps = Arc::clone(&steps);
            move || (0..2).for_each(|_| crate::sync::lock(&steps).push(name))
        };
        together(thread('a'), thread('b'), thread('c'));
        tried.lock().unwrap().insert(crate::sync::lock(&steps).clone());
    });
    assert_eq!(orders.lock().unwrap().len(), 90);
}
