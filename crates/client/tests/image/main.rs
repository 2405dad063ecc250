//! What is left in the memory of a process when everything that knew the secret is dropped: nothing that is ours (trap T34).
//!
//! Each test runs a process that uses a secret and a token, drops all of it and searches its own memory for their parts. The servers are
//! in the parent. The child is given what to look for in a masked form and never unmasks it, so that it does not find itself.
//!
//! Here requests go by an exchange that leaves nothing. What hyper and rustls leave is in `wiped.rs`, the same with an allocator that
//! wipes.

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

#[test]
fn the_child() {
    child::play_if_told();
}

#[test]
fn t34_what_is_kept_is_found() {
    for (part, what) in [
        (Part::KeepsTheSecret, "secret"),
        (Part::KeepsTheHeader, "secret in base64"),
        (Part::KeepsTheToken, "token"),
    ] {
        let hits = run(part, Way::OwnExchange);
        assert!(hits.iter().any(|hit| hit.contains(what)), "{what}: {hits:?}");
    }
}

#[test]
fn t34_nothing_of_ours_is_left_when_all_is_dropped() {
    for part in [Part::Basic, Part::Post, Part::Refused, Part::FileStore] {
        let hits = run(part, Way::OwnExchange);
        assert!(hits.is_empty(), "{part:?}:\n{}", hits.join("\n"));
    }
}
