//! The flights of a slot: callers decide, join or begin one, and it lands, under the lock of the runway.
//!
//! The slot and the runway are the real ones; [`driver`] stands in for what drives them.

mod driver;

use super::{START, Seen, explore, together, token};
use driver::{End, Fault, Landing, Outcome, Shared, TAKE_OFF, now};
use jeton_proto::lifecycle::{CachedToken, MintReason};
use std::sync::Arc;

const JOINED: [&str; 3] = ["nobody joined", "one joined", "two joined"];

/// Three callers of an empty slot.
fn one_request(fault: Fault, seen: &Seen) {
    let slot = Shared::new(fault);
    let (a, b, c) = (slot.caller(End::Token), slot.caller(End::Token), slot.caller(End::Token));
    let tokens: [_; 3] = together(
        move || a.token_having_decided(),
        move || b.token_having_decided(),
        || c.token_having_decided(),
    )
    .into();
    let events = slot.events();
    assert_eq!((events.begun, events.taken_in), (1, 1), "the server was asked twice");
    let held = slot.cell.load().slot.token().map(|token| token.id());
    assert!(held.is_some() && tokens.iter().all(|token| token.as_ref().map(|token| token.id()) == held));
    seen.note(JOINED.get(usize::try_from(events.joined).unwrap()).unwrap());
}

#[test]
fn callers_who_need_a_token_share_one_request() {
    explore("one request", &JOINED, |seen| one_request(Fault::None, seen));
}

#[test]
#[should_panic(expected = "the server was asked twice")]
fn one_who_does_not_decide_again_is_found_out() {
    explore("one request, decided once", &[], |seen| one_request(Fault::DecidesOnce, seen));
}

#[test]
#[should_panic(expected = "a superseded flight was taken in")]
fn a_place_that_is_free_before_the_token_is_there_is_found_out() {
    explore("one request, cleared too soon", &[], |seen| one_request(Fault::ClearsBeforeGranting, seen));
}

/// A flight fails: everybody is told, and nobody asks again at once.
#[test]
fn t8_callers_share_one_failure() {
    explore("one failure", &JOINED, |seen| {
        let slot = Shared::new(Fault::None);
        let (a, b, c) = (slot.caller(End::Failure), slot.caller(End::Failure), slot.caller(End::Failure));
        let tokens: [_; 3] = together(
            move || a.token_having_decided(),
            move || b.token_having_decided(),
            || c.token_having_decided(),
        )
        .into();
        let events = slot.events();
        assert!(tokens.iter().all(Option::is_none) && slot.cell.load().slot.has_failed());
        assert_eq!(events.begun, 1, "the server was asked twice");
        seen.note(JOINED.get(usize::try_from(events.joined).unwrap()).unwrap());
    });
}

/// Two callers were given a token and renew it early, while a third was refused it by an API.
fn forced(fault: Fault, early: impl Fn(&Arc<CachedToken>) -> End, seen: &Seen) {
    let old = token("old", START);
    let slot = Shared::with(&old, fault);
    let (refreshing, forcing, other) =
        (slot.caller(early(&old)), slot.caller(End::Token), slot.caller(End::Token));
    let refused = old.id();
    let ((), new, ()) = together(
        move || refreshing.refresh(),
        move || {
            forcing.slot.cell.rejected(refused, now());
            forcing.token_having_decided().map(|token| token.id())
        },
        || other.refresh(),
    );
    assert!(new.is_some_and(|new| new != refused), "the refused token was given out again");
    let events = slot.events();
    let state = slot.cell.load();
    let served = state.slot.backup(now()).map(|token| token.id());
    assert!(served.is_some_and(|served| served != refused), "the refused token is served");
    seen.note(if events.begun > events.taken_in { "superseded" } else { "one after the other" });
    seen.note(if events.joined > 0 { "joined" } else { "not joined" });
}

/// Of the early flights one would bring the refused token again, the other a new one.
#[test]
fn t9_a_forced_flight_takes_the_place_of_an_early_one() {
    let situations = ["superseded", "one after the other", "joined", "not joined"];
    explore("forced", &situations, |seen| {
        forced(Fault::None, |old| End::SameToken(Arc::clone(old)), seen);
    });
}

#[test]
#[should_panic(expected = "a forced one joined an unforced one")]
fn t9_a_forced_one_that_joins_an_early_one_is_found_out() {
    explore("forced, joining anything", &[], |seen| forced(Fault::JoinsAnything, |_| End::Token, seen));
}

#[test]
#[should_panic(expected = "a superseded flight was taken in")]
fn t11_a_superseded_flight_that_lands_anyway_is_found_out() {
    explore("forced, landing anyway", &[], |seen| forced(Fault::LandsAnyway, |_| End::Token, seen));
}

/// A flight that lands after its place may have been given to another.
fn overdue(fault: Fault, seen: &Seen) {
    let (slot, ticket) = (Shared::new(fault), Landing::of(MintReason::Needed));
    let late = slot.begin(&mut slot.runway.hold(), &ticket, TAKE_OFF);
    let (a, b) = (slot.late_caller(), slot.late_caller());
    let (a, b, ()) =
        together(move || a.token_having_decided(), move || b.token_having_decided(), || late.fly(End::Token));
    let events = slot.events();
    let held = slot.cell.load().slot.token().map(|token| token.id());
    assert!(held.is_some() && [a, b].iter().all(|token| token.as_ref().map(|token| token.id()) == held));
    assert_eq!(events.taken_in, 1, "two flights were taken in");
    let in_time = matches!(ticket.wait(), Outcome::Granted(_));
    assert_eq!(events.begun, if in_time { 1 } else { 2 }, "the server was asked for nothing");
    seen.note(if in_time { "it landed in time" } else { "superseded" });
}

#[test]
fn t11_a_flight_that_lands_late_overwrites_nothing() {
    explore("overdue", &["it landed in time", "superseded"], |seen| overdue(Fault::None, seen));
}

#[test]
#[should_panic(expected = "a superseded flight was taken in")]
fn t11_a_late_flight_that_lands_anyway_is_found_out() {
    explore("overdue, landing anyway", &[], |seen| overdue(Fault::LandsAnyway, seen));
}

/// A flight that never lands.
fn lost(fault: Fault, seen: &Seen) {
    let (slot, ticket) = (Shared::new(fault), Landing::of(MintReason::Needed));
    let lost = slot.begin(&mut slot.runway.hold(), &ticket, TAKE_OFF);
    let (a, b) = (slot.caller(End::Token), slot.caller(End::Token));
    let (a, b, ()) =
        together(move || a.token_having_decided(), move || b.token_having_decided(), || lost.fly(End::Lost));
    let events = slot.events();
    let held = slot.cell.load().slot.token().map(|token| token.id());
    assert!(held.is_some() && [a, b].iter().all(|token| token.as_ref().map(|token| token.id()) == held));
    assert_eq!((events.begun, events.taken_in), (2, 1), "the server was asked twice");
    seen.note(if events.joined > 1 { "some joined twice" } else { "at most one joined" });
}

#[test]
fn t12_whoever_waits_for_a_flight_that_is_lost_has_a_token_from_the_next() {
    explore("lost", &["some joined twice", "at most one joined"], |seen| lost(Fault::None, seen));
}

#[test]
#[should_panic(expected = "a caller came to no end")]
fn t12_a_lost_flight_that_keeps_its_place_is_found_out() {
    explore("lost, in its place", &[], |seen| lost(Fault::LeavesItsPlaceTaken, seen));
}
