//! The memory of a process that has the allocator of the program `jeton`: nothing is left, of what other crates did neither (trap T34).
//! How it is looked for is told in `main.rs`.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test that fails panics"
)]
#![cfg(target_os = "linux")]

mod canary;
mod child;
mod exchange;
mod parent;
mod search;
mod server;

use child::{Part, Way};
use parent::run;
use std::alloc::System;
use zeroizing_alloc::ZeroAlloc;

#[global_allocator]
static ALLOCATOR: ZeroAlloc<System> = ZeroAlloc(System);

#[test]
fn the_child() {
    child::play_if_told();
}

#[track_caller]
fn leaves_nothing(part: Part, way: Way) {
    let hits = run(part, way);
    assert!(hits.is_empty(), "{part:?} {way:?}:\n{}", hits.join("\n"));
}

#[test]
fn t34_what_is_kept_is_found() {
    assert!(!run(Part::KeepsTheSecret, Way::PlainHttp).is_empty());
}

#[test]
fn t34_plain_http_leaves_nothing() {
    leaves_nothing(Part::Basic, Way::PlainHttp);
    leaves_nothing(Part::Post, Way::PlainHttp);
    leaves_nothing(Part::Refused, Way::PlainHttp);
}

#[test]
fn t34_tls_leaves_nothing() {
    leaves_nothing(Part::Basic, Way::Tls);
    leaves_nothing(Part::Post, Way::Tls);
    leaves_nothing(Part::Refused, Way::Tls);
}

#[test]
fn t34_a_replay_after_a_401_leaves_nothing() {
    leaves_nothing(Part::Replay, Way::PlainHttp);
}

#[test]
fn t34_a_shared_store_leaves_nothing() {
    leaves_nothing(Part::FileStore, Way::PlainHttp);
}
