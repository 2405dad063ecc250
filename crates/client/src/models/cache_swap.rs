//! The state of a slot while several threads change it: no change is lost, and the hot path never finds a token that the
//! slot does not serve any more.

use super::{START, Seen, explore, timed_out, together, token};
use crate::clock::Timeline;
use crate::slot_cell::{SlotCell, State};
use crate::sync::{Replacing, Swap};
use jeton_proto::backoff::{BackoffPolicy, Failure, FailureClass};
use jeton_proto::gate::CredentialGeneration;
use jeton_proto::lifecycle::{CachedToken, MintReason, RefreshPolicy};
use jeton_proto::time::{Moment, Timestamp};
use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};

/// Within the first window of every token here; the later ones are asked for now.
const NOW: Moment = Moment::new(Timestamp::from_unix_seconds(1_700_000_100), None);

fn grant(cell: &SlotCell, token: &Arc<CachedToken>, reason: MintReason) -> Option<Arc<CachedToken>> {
    cell.granted(token, reason, &RefreshPolicy::default(), 0.5, NOW)
}

fn fail(cell: &SlotCell, class: FailureClass, with: CredentialGeneration) {
    let failure = Failure { class, retry_after: None };
    cell.failed(&timed_out(), failure, with, &BackoffPolicy::default(), 1.0, NOW);
}

fn fail_for_a_while(cell: &SlotCell) {
    fail(cell, FailureClass::Transient, CredentialGeneration::default());
}

/// A slot whose token was given out.
fn cell_with(token: &Arc<CachedToken>, replacing: Replacing) -> Arc<SlotCell> {
    let cell = SlotCell::that_replaces(replacing, Timeline::Wall);
    grant(&cell, token, MintReason::Needed).unwrap();
    cell.mark_used(&cell.load());
    Arc::new(cell)
}

/// Looks as the hot path does. Whatever it finds there is the token of the slot, and no API refused it.
fn look(cell: &SlotCell) -> Arc<State> {
    let state = cell.load();
    if let Some(fresh) = &state.fresh {
        let (served, ..) = state.slot.first_window().expect_served();
        assert!(Arc::ptr_eq(&fresh.token, served), "the hot path finds a token that the slot does not hold");
        assert!(state.used, "the hot path finds a token that was never given out");
    }
    state
}

trait ExpectServed<T> {
    fn expect_served(self) -> T;
}

impl<T> ExpectServed<T> for Option<T> {
    fn expect_served(self) -> T {
        self.unwrap_or_else(|| panic!("the hot path finds a token that the slot does not serve"))
    }
}

fn is_fresh(state: &State, token: &CachedToken) -> bool {
    state.fresh.as_ref().is_some_and(|fresh| fresh.token.id() == token.id())
}

/// Three changes of three kinds to a token that waits for its first API to take it.
fn three_changes(replacing: Replacing) {
    let cell = cell_with(&token("rejected", START), replacing);
    cell.rejected(token("rejected", START).id(), NOW);
    let held = token("on probation", NOW);
    grant(&cell, &held, MintReason::Forced).unwrap();
    let (accepting, failing, id) = (Arc::clone(&cell), Arc::clone(&cell), held.id());
    together(
        move || accepting.accepted(id),
        move || fail_for_a_while(&failing),
        || cell.mark_used(&look(&cell)),
    );
    let state = look(&cell);
    assert!(!state.slot.awaits_acceptance(id), "that it was accepted is lost");
    assert!(state.slot.has_failed() && state.last_error.is_some(), "the failure is lost");
    assert!(state.used && is_fresh(&state, &held), "that it was given out is lost");
}

#[test]
fn no_change_is_lost() {
    explore("three changes", &[], |_| three_changes(Replacing::Comparing));
}

#[test]
#[should_panic(expected = "is lost")]
fn a_swap_that_does_not_compare_is_found_out() {
    explore("three changes, blindly", &[], |_| three_changes(Replacing::Blindly));
}

/// Refusals of a token that may come after its successor did.
fn late_rejection(replacing: Replacing, seen: &Seen) {
    let (old, new) = (token("old", START), token("new", NOW));
    let cell = cell_with(&old, replacing);
    let (rejecting, granting, refused, granted) =
        (Arc::clone(&cell), Arc::clone(&cell), Arc::clone(&old), Arc::clone(&new));
    let (was_late, ..) = together(
        move || {
            rejecting.rejected(refused.id(), NOW);
            let state = look(&rejecting);
            assert!(!is_fresh(&state, &refused), "a token is served after its rejection");
            state.slot.token().is_some_and(|token| token.id() != refused.id())
        },
        move || {
            let given = grant(&granting, &granted, MintReason::Needed);
            assert_eq!(given.map(|token| token.id()), Some(granted.id()), "the newer token was not taken in");
            assert!(!look(&granting).slot.has_failed(), "a failure from before the grant is remembered");
        },
        || {
            let state = look(&cell);
            cell.mark_used(&state);
        },
    );
    seen.note(if was_late { "the rejection was late" } else { "the rejection came first" });
    let state = look(&cell);
    let served = state.slot.backup(NOW).map(|token| token.id());
    assert_eq!(served, Some(new.id()), "the newer token was removed");
    assert!(!is_fresh(&state, &old), "the hot path finds the older token");
    seen.note(if is_fresh(&state, &new) { "fresh" } else { "not given out yet" });
}

#[test]
fn t11_a_late_rejection_never_removes_the_newer_token() {
    let situations = ["the rejection was late", "the rejection came first", "fresh", "not given out yet"];
    explore("late rejection", &situations, |seen| late_rejection(Replacing::Comparing, seen));
}

#[test]
#[should_panic(expected = "the newer token was removed")]
fn t11_a_rejection_that_does_not_compare_is_found_out() {
    explore("late rejection, blindly", &[], |seen| late_rejection(Replacing::Blindly, seen));
}

/// A request that was under way before the rejection brings the rejected token again.
fn rejected_token_again(replacing: Replacing, seen: &Seen) {
    let old = token("old", START);
    let cell = cell_with(&old, replacing);
    let (rejecting, granting, id, again) = (Arc::clone(&cell), Arc::clone(&cell), old.id(), Arc::clone(&old));
    let ((), given, ()) = together(
        move || {
            rejecting.rejected(id, NOW);
            assert!(look(&rejecting).fresh.is_none(), "a token is served after its rejection");
        },
        move || grant(&granting, &again, MintReason::Early),
        || cell.mark_used(&look(&cell)),
    );
    seen.note(if given.is_some() { "granted, then rejected" } else { "rejected, then granted" });
    let state = look(&cell);
    assert!(state.fresh.is_none() && state.slot.backup(NOW).is_none(), "the rejection was undone");
}

#[test]
fn t9_a_request_from_before_the_rejection_does_not_undo_it() {
    let situations = ["granted, then rejected", "rejected, then granted"];
    explore("rejected token again", &situations, |seen| rejected_token_again(Replacing::Comparing, seen));
}

#[test]
#[should_panic(expected = "the rejection was undone")]
fn t9_a_grant_that_does_not_compare_is_found_out() {
    explore("rejected token again, blindly", &[], |seen| rejected_token_again(Replacing::Blindly, seen));
}

/// A token is granted and given out while one that was given out before is noted as used, and a request fails.
#[test]
fn only_a_token_that_was_given_out_counts_as_used() {
    explore("given out", &["used", "unused"], |seen| {
        let (old, new) = (token("old", START), token("new", NOW));
        let cell = Arc::new(SlotCell::new(Timeline::Wall));
        grant(&cell, &old, MintReason::Needed).unwrap();
        let (granting, failing, granted) = (Arc::clone(&cell), Arc::clone(&cell), Arc::clone(&new));
        let (_, (), given) = together(
            move || grant(&granting, &granted, MintReason::Early),
            move || fail_for_a_while(&failing),
            || {
                let state = look(&cell);
                let given = state.slot.backup(NOW).map(|token| token.id());
                cell.mark_used(&state);
                given
            },
        );
        let state = look(&cell);
        assert_eq!(state.slot.token().map(|token| token.id()), Some(new.id()), "the newer token was removed");
        assert_eq!(state.used, given == Some(new.id()), "a token counts as used that nobody was given");
        assert_eq!(state.last_error.is_some(), state.slot.has_failed(), "an error outlives its failure");
        seen.note(if state.used { "used" } else { "unused" });
    });
}

/// A credential is replaced while the new one is refused too.
#[test]
fn a_failure_of_the_new_credential_is_not_forgotten_with_that_of_the_old_one() {
    explore("credential replaced", &[], |_| {
        let (old, new) = (CredentialGeneration::default(), CredentialGeneration::default().next());
        let cell = Arc::new(SlotCell::new(Timeline::Wall));
        fail(&cell, FailureClass::Terminal, old);
        let (failing, other) = (Arc::clone(&cell), Arc::clone(&cell));
        together(
            move || fail(&failing, FailureClass::Terminal, new),
            move || other.catch_up_with(new),
            || cell.catch_up_with(new),
        );
        assert!(
            look(&cell).slot.backing_off(NOW).is_some(),
            "the failure of the new credential is forgotten"
        );
    });
}

/// What the models here rest on: whoever looks once at a value that two others change finds any state of it.
#[test]
fn a_swap_is_seen_in_every_state() {
    let states = Arc::new(Mutex::new(BTreeSet::new()));
    let found = Arc::clone(&states);
    explore("every state", &[], move |_| {
        let swap = Arc::new(Swap::new(String::new()));
        let adding = |name: char| {
            let swap = Arc::clone(&swap);
            move || swap.update(|value| format!("{value}{name}"))
        };
        let (.., state) = together(adding('a'), adding('b'), || swap.load());
        found.lock().unwrap().insert(state.to_string());
    });
    let states: Vec<_> = states.lock().unwrap().iter().cloned().collect();
    assert_eq!(states, ["", "a", "ab", "b", "ba"]);
}
