use super::*;
use crate::secret::Secret;
use crate::time::Timestamp;

mod processes;

const LEASE: Duration = Duration::from_secs(5);
const PATIENCE: Duration = Duration::from_secs(8);
const LIFE: Duration = Duration::from_secs(300);

fn at(millis: u64) -> Moment {
    Moment::from(Timestamp::from_unix_millis(1_700_000_000_000 + millis))
}

fn token(number: u64, obtained: Moment) -> Arc<CachedToken> {
    let secret = Secret::new(format!("token-{number}"));
    Arc::new(CachedToken::new(secret, None, obtained, LIFE).unwrap())
}

fn version(number: u64) -> Version {
    let mut bytes = [0; 16];
    bytes[..8].copy_from_slice(&number.to_be_bytes());
    Version::from_random(bytes)
}

fn found(version: Version) -> Found {
    Found { version, token: None, rejected: None, lease_left: None, pause_left: None }
}

fn shared(number: u64, sequence: u64) -> Shared {
    Shared { token: token(number, at(0)), sequence: Sequence::new(sequence) }
}

fn begin(wish: Wish) -> Flight {
    Flight::begin(wish, PATIENCE, at(0)).0
}

#[test]
fn who_gets_the_lease_mints_and_publishes_under_its_fence() {
    let mut flight = begin(Wish::new(MintReason::Needed));
    let leased = Event::Leased { version: version(1), store_millis: 77 };
    assert!(matches!(flight.on(leased, at(0)), Action::Mint));
    assert_eq!(flight.fence(), Some(version(1)));
    flight.prolonged(version(2));
    let action = flight.on(Event::Minted(token(1, at(0))), at(5));
    let Action::Publish { expected, shared } = action else { panic!("{action:?}") };
    assert_eq!((expected, shared.sequence), (Some(version(2)), Sequence::new(77)));
    let action = flight.on(Event::Written(version(3)), at(6));
    let Action::Finish(End::Minted { published, .. }) = action else { panic!("{action:?}") };
    assert_eq!(published, Some((Sequence::new(77), version(3))));
}

#[test]
fn who_comes_second_follows_looks_and_adopts() {
    let mut flight = begin(Wish::new(MintReason::Needed));
    let theirs = Found { lease_left: Some(LEASE), ..found(version(1)) };
    let action = flight.on(Event::Conflict(Some(theirs)), at(0));
    assert!(matches!(action, Action::Follow { at_most } if at_most == LOOK_AGAIN_AFTER), "{action:?}");
    assert!(matches!(flight.on(Event::Woken, at(40)), Action::Load));
    let theirs = Found { token: Some(shared(1, 5)), ..found(version(2)) };
    let action = flight.on(Event::Loaded(Some(theirs)), at(41));
    assert!(
        matches!(action, Action::Finish(End::Adopted { version: v, .. }) if v == Some(version(2))),
        "{action:?}"
    );
}

#[test]
fn t27_a_store_that_fails_costs_nobody_a_token() {
    let mut asking = begin(Wish::new(MintReason::Needed));
    assert!(matches!(asking.on(Event::StoreFailed, at(0)), Action::Mint));
    assert!(matches!(
        asking.on(Event::Minted(token(1, at(0))), at(9)),
        Action::Publish { expected: None, .. }
    ));
    let action = asking.on(Event::StoreFailed, at(9));
    assert!(matches!(action, Action::Finish(End::Minted { published: None, .. })), "{action:?}");

    // A store that took the lease and not the token is to have the lease back.
    let mut full = begin(Wish::new(MintReason::Needed));
    let leased = Event::Leased { version: version(1), store_millis: 0 };
    assert!(matches!(full.on(leased, at(0)), Action::Mint));
    assert!(matches!(full.on(Event::Minted(token(1, at(0))), at(9)), Action::Publish { .. }));
    let action = full.on(Event::StoreFailed, at(9));
    let Action::Release { expected, pause: None } = action else { panic!("{action:?}") };
    assert_eq!(expected, version(1));
    let action = full.on(Event::Written(version(2)), at(9));
    assert!(matches!(action, Action::Finish(End::Minted { published: None, .. })), "{action:?}");

    let mut following = begin(Wish::new(MintReason::Needed));
    let theirs = Found { lease_left: Some(LEASE), ..found(version(1)) };
    assert!(matches!(following.on(Event::Conflict(Some(theirs)), at(0)), Action::Follow { .. }));
    assert!(matches!(following.on(Event::Woken, at(100)), Action::Load));
    assert!(matches!(following.on(Event::StoreFailed, at(200)), Action::Mint));
    assert_eq!(following.fence(), None);
}

#[test]
fn nobody_follows_beyond_its_patience() {
    let mut flight = begin(Wish::new(MintReason::Needed));
    let theirs = || Some(Found { lease_left: Some(Duration::MAX), ..found(version(1)) });
    let action = flight.on(Event::Conflict(theirs()), at(7_900));
    assert!(
        matches!(action, Action::Follow { at_most } if at_most == Duration::from_millis(100)),
        "{action:?}"
    );
    assert!(matches!(flight.on(Event::Woken, at(8_000)), Action::Load));
    assert!(matches!(flight.on(Event::Loaded(theirs()), at(8_000)), Action::Mint));
}

#[test]
fn t9_a_rejection_takes_the_lease_of_a_flight_that_knew_nothing_of_it_and_follows_one_that_did() {
    let old = shared(1, 5);
    let wish = Wish {
        held: Some(Arc::clone(&old.token)),
        held_sequence: Some(old.sequence),
        seen: Some(version(1)),
        ..Wish::new(MintReason::Forced)
    };
    let (mut flight, first) = Flight::begin(wish, PATIENCE, at(0));
    let id = old.token.id();
    assert!(matches!(first, Action::TakeLease { rejecting, .. } if rejecting == Some(id)), "{first:?}");
    let early = Found { lease_left: Some(LEASE), token: Some(old), ..found(version(2)) };
    let action = flight.on(Event::Conflict(Some(early)), at(0));
    assert!(
        matches!(action, Action::TakeLease { expected, .. } if expected == Some(version(2))),
        "{action:?}"
    );
    let forced = Found { lease_left: Some(LEASE), rejected: Some(id), ..found(version(3)) };
    assert!(matches!(flight.on(Event::Conflict(Some(forced)), at(0)), Action::Follow { .. }));
}

#[test]
fn a_rejected_token_is_adopted_where_the_request_for_the_same_rejection_brought_it_again() {
    let held = token(1, at(0));
    let wish = || Wish { held: Some(Arc::clone(&held)), ..Wish::new(MintReason::Forced) };
    let again = || Found { token: Some(shared(1, 5)), ..found(version(2)) };
    let after_their_lease = |wish| {
        let mut follower = begin(wish);
        let theirs = Found { lease_left: Some(LEASE), rejected: Some(held.id()), ..found(version(1)) };
        assert!(matches!(follower.on(Event::Conflict(Some(theirs)), at(0)), Action::Follow { .. }));
        assert!(matches!(follower.on(Event::Woken, at(40)), Action::Load));
        follower.on(Event::Loaded(Some(again())), at(41))
    };
    let action = after_their_lease(wish());
    assert!(matches!(action, Action::Finish(End::Adopted { .. })), "{action:?}");
    // In the place that it had before, it is an older record that somebody put back (T29).
    let action = after_their_lease(Wish { newest: Sequence::new(5), ..wish() });
    assert!(matches!(action, Action::TakeLease { .. }), "{action:?}");
    // Who did not see that lease cannot tell whether the token was there before the rejection.
    let mut stranger = begin(wish());
    let action = stranger.on(Event::Conflict(Some(again())), at(0));
    assert!(matches!(action, Action::TakeLease { .. }), "{action:?}");
}

#[test]
fn t27_a_holder_that_was_held_still_adopts_what_is_newer_and_overwrites_nothing() {
    let late = || {
        let mut flight = begin(Wish::new(MintReason::Needed));
        let _mint = flight.on(Event::Leased { version: version(1), store_millis: 0 }, at(0));
        let _publish = flight.on(Event::Minted(token(1, at(0))), at(60_000));
        flight
    };
    let newer = Found { token: Some(shared(2, 9)), ..found(version(4)) };
    let action = late().on(Event::Conflict(Some(newer)), at(60_000));
    assert!(
        matches!(&action, Action::Finish(End::Adopted { shared, .. }) if shared.sequence == Sequence::new(9))
    );
    // What it brought is of use to its own callers, where nobody has anything better.
    let leased = Found { lease_left: Some(LEASE), ..found(version(4)) };
    let action = late().on(Event::Conflict(Some(leased)), at(60_000));
    assert!(matches!(action, Action::Finish(End::Minted { published: None, .. })), "{action:?}");
}

#[test]
fn t29_an_older_record_is_no_token() {
    let held = shared(3, 7);
    let wish = |reason| Wish {
        held: Some(Arc::clone(&held.token)),
        held_sequence: Some(held.sequence),
        seen: Some(version(1)),
        ..Wish::new(reason)
    };
    for reason in [MintReason::Early, MintReason::Needed, MintReason::Forced] {
        let mut flight = begin(wish(reason));
        let older = Found { token: Some(shared(2, 6)), ..found(version(0)) };
        let action = flight.on(Event::Conflict(Some(older)), at(0));
        assert!(
            matches!(action, Action::TakeLease { expected, .. } if expected == Some(version(0))),
            "{action:?}"
        );
        let mut flight = begin(wish(reason));
        let same = Found { token: Some(held.clone()), ..found(version(2)) };
        assert!(matches!(flight.on(Event::Conflict(Some(same)), at(0)), Action::TakeLease { .. }));
    }
}

#[test]
fn t27_a_token_that_is_adopted_beside_a_lease_or_a_pause_gives_no_version_to_pass_them_by_with() {
    let mut flight = begin(Wish::new(MintReason::Needed));
    let renewing = Found { token: Some(shared(1, 5)), lease_left: Some(LEASE), ..found(version(7)) };
    let action = flight.on(Event::Conflict(Some(renewing)), at(0));
    assert!(matches!(action, Action::Finish(End::Adopted { version: None, .. })), "{action:?}");
    let mut flight = begin(Wish::new(MintReason::Needed));
    let paused = Found { token: Some(shared(1, 5)), pause_left: Some(LEASE), ..found(version(7)) };
    let action = flight.on(Event::Conflict(Some(paused)), at(0));
    assert!(matches!(action, Action::Finish(End::Adopted { version: None, .. })), "{action:?}");
}

#[test]
fn t29_what_a_flight_saw_the_next_one_knows() {
    let mut flight = begin(Wish { held: Some(token(1, at(0))), ..Wish::new(MintReason::Forced) });
    let rejected = Found { token: Some(shared(1, 5)), ..found(version(2)) };
    assert!(matches!(flight.on(Event::Conflict(Some(rejected)), at(0)), Action::TakeLease { .. }));
    assert!(matches!(flight.on(Event::StoreFailed, at(0)), Action::Mint));
    assert_eq!(flight.newest(), Sequence::new(5));
}

#[test]
fn t29_who_holds_a_token_that_was_never_shared_takes_and_puts_nothing_older() {
    let wish = |reason| Wish {
        held: Some(token(3, at(0))),
        seen: Some(version(1)),
        newest: Sequence::new(6),
        ..Wish::new(reason)
    };
    for reason in [MintReason::Early, MintReason::Needed, MintReason::Forced] {
        let mut flight = begin(wish(reason));
        let longer = Shared { token: token(2, at(90)), sequence: Sequence::new(6) };
        let action =
            flight.on(Event::Conflict(Some(Found { token: Some(longer), ..found(version(2)) })), at(90));
        assert!(matches!(action, Action::TakeLease { .. }), "{action:?}");
        let mut alone = begin(wish(reason));
        assert!(matches!(alone.on(Event::StoreFailed, at(0)), Action::Mint));
        let action = alone.on(Event::Minted(token(4, at(0))), at(5));
        assert!(
            matches!(&action, Action::Publish { shared, .. } if shared.sequence == Sequence::new(7)),
            "{action:?}"
        );
    }
}

#[test]
fn t05_a_token_from_the_future_keeps_nobody_from_adopting() {
    let held = Shared { token: token(1, at(900_000)), sequence: Sequence::new(5) };
    let wish = Wish {
        held: Some(Arc::clone(&held.token)),
        held_sequence: Some(held.sequence),
        ..Wish::new(MintReason::Needed)
    };
    let mut flight = begin(wish);
    let newer = Found { token: Some(shared(2, 6)), ..found(version(2)) };
    let action = flight.on(Event::Conflict(Some(newer)), at(1));
    assert!(matches!(action, Action::Finish(End::Adopted { .. })), "{action:?}");
}

#[test]
fn a_pause_that_one_process_was_asked_for_holds_for_all() {
    let mut holder = begin(Wish::new(MintReason::Needed));
    let _mint = holder.on(Event::Leased { version: version(1), store_millis: 0 }, at(0));
    let pause = Some(Duration::from_secs(3));
    let action = holder.on(Event::MintFailed { pause }, at(5));
    assert!(matches!(action, Action::Release { expected, pause: p } if (expected, p) == (version(1), pause)));
    assert!(matches!(holder.on(Event::Written(version(2)), at(6)), Action::Finish(End::Failed)));
    let mut other = begin(Wish::new(MintReason::Needed));
    let told = Found { pause_left: pause, ..found(version(2)) };
    let action = other.on(Event::Conflict(Some(told)), at(7));
    assert!(matches!(action, Action::Finish(End::Paused { .. })), "{action:?}");
}

#[test]
fn who_follows_a_holder_that_waits_out_a_pause_waits_too_and_does_not_ask_before_its_end() {
    let mut flight = begin(Wish::new(MintReason::Needed));
    let pausing =
        || Found { lease_left: Some(LEASE), pause_left: Some(Duration::from_secs(20)), ..found(version(1)) };
    assert!(matches!(flight.on(Event::Conflict(Some(pausing())), at(0)), Action::Follow { .. }));
    assert!(matches!(flight.on(Event::Woken, at(8_000)), Action::Load));
    let action = flight.on(Event::Loaded(Some(pausing())), at(8_000));
    assert!(matches!(action, Action::Finish(End::Paused { .. })), "{action:?}");
}

#[test]
fn the_token_in_hand_that_another_process_was_given_again_tells_that_the_server_has_no_other() {
    let held = shared(1, 5);
    let wish = |reason, held_sequence| Wish {
        held: Some(Arc::clone(&held.token)),
        held_sequence,
        seen: Some(version(1)),
        ..Wish::new(reason)
    };
    let again = Found { token: Some(shared(1, 6)), ..found(version(2)) };
    let adopts = |wish: Wish| wish.adopts(&again, at(0)).is_some();
    assert!(adopts(wish(MintReason::Early, Some(held.sequence))));
    assert!(adopts(wish(MintReason::Needed, Some(held.sequence))));
    assert!(!adopts(wish(MintReason::Early, Some(Sequence::new(6)))), "it is the one that is held");
    assert!(!adopts(wish(MintReason::Early, None)), "it may be the one that this process wrote");
    assert!(!adopts(wish(MintReason::Forced, Some(held.sequence))));
}
