use super::*;
use proptest::prelude::*;

const START: Moment = Moment::new(Timestamp::from_unix_seconds(1_700_000_000), None);

fn after(span: Duration) -> Moment {
    START.saturating_add(span)
}

fn read(current: &'static str, previous: Option<&'static str>) -> Succession<&'static str> {
    Succession::default().read(current, previous, START)
}

fn in_force(succession: &Succession<&'static str>) -> &'static str {
    succession.in_force().unwrap().0
}

/// The one in force is refused.
fn refused(succession: &Succession<&'static str>) -> Succession<&'static str> {
    succession.refused(succession.generation(), START)
}

#[test]
fn the_current_one_is_tried_first_and_then_the_previous_one() {
    let succession = read("new", Some("old"));
    assert_eq!(in_force(&succession), "new");
    let next = refused(&succession);
    assert_eq!(in_force(&next), "old");
    assert!(next.generation() > succession.generation() && next.is_on_previous());
}

#[test]
fn without_a_previous_one_a_refusal_changes_nothing() {
    for succession in [read("only", None), read("only", Some("only"))] {
        let next = refused(&refused(&succession));
        assert_eq!((in_force(&next), next.generation()), ("only", succession.generation()));
        assert!(!next.is_on_previous());
        assert_eq!(next.accepted(next.generation(), START), read("only", None));
    }
}

#[test]
fn a_previous_one_that_is_read_after_the_current_one_was_refused_is_tried_at_once() {
    let alone = refused(&read("new", None));
    let both = alone.read("new", Some("old"), START);
    assert_eq!(in_force(&both), "old");
    assert!(both.generation() > alone.generation());
    for both_refused in [refused(&both), refused(&refused(&both))] {
        let gone = both_refused.read("new", None, START);
        assert_eq!((in_force(&gone), gone.generation()), ("new", both.generation()), "both were refused");
    }
    let gone = refused(&both).read("new", None, START);
    assert_eq!(in_force(&gone.read("new", Some("older"), START)), "older");
}

#[test]
fn a_late_refusal_of_the_current_one_does_not_take_the_previous_one_out() {
    let first = read("new", Some("old"));
    let second = refused(&first);
    assert_eq!(second.refused(first.generation(), START), second);
}

#[test]
fn a_previous_one_that_works_gives_way_to_the_current_one_after_a_while() {
    let succession = refused(&read("new", Some("old")));
    let still = succession.at(after(PREVIOUS_FOR.saturating_sub(Duration::from_secs(1))));
    assert_eq!(still, succession);
    let back = succession.at(after(PREVIOUS_FOR));
    assert_eq!(in_force(&back), "new");
    assert!(back.generation() > succession.generation(), "it is tried, though it was refused before");
    let stepped_back = START.wall().saturating_sub(Duration::from_secs(60));
    assert_eq!(in_force(&succession.at(Moment::from(stepped_back))), "new", "a clock that stepped back");
}

#[test]
fn t24_where_both_are_refused_they_share_one_generation_and_take_turns() {
    let both = refused(&refused(&read("new", Some("old"))));
    assert_eq!(in_force(&both), "new");
    let mut turns = vec![];
    let mut next = both.clone();
    for _ in 0..4 {
        next = refused(&next);
        assert_eq!(next.generation(), both.generation());
        turns.push(in_force(&next));
    }
    assert_eq!(turns, ["old", "new", "old", "new"]);
    assert_eq!(both.at(after(PREVIOUS_FOR)), both, "no generation of its own for time that has passed");
}

#[test]
fn one_that_is_accepted_after_both_were_refused_is_in_force_as_before() {
    let both = refused(&refused(&read("new", Some("old"))));
    let current = both.accepted(both.generation(), START);
    assert_eq!((in_force(&current), current.is_on_previous()), ("new", false));
    let again = refused(&both);
    let previous = again.accepted(again.generation(), START);
    assert_eq!(in_force(&previous.at(after(PREVIOUS_FOR))), "new");
}

#[test]
fn t33_a_changed_one_is_in_force_at_once_and_the_same_one_changes_nothing() {
    let first = read("old", None);
    let second = first.read("new", Some("old"), START);
    assert_eq!(in_force(&second), "new");
    assert!(second.generation() > first.generation());
    assert_eq!(second.read("new", Some("old"), START), second);
    let on_previous = refused(&second);
    assert_eq!(on_previous.read("new", Some("old"), START), on_previous, "nothing new, so the rank stays");
    let newest = on_previous.read("newest", Some("new"), START);
    assert_eq!(in_force(&newest), "newest");
}

#[test]
fn a_rotation_that_is_taken_back_goes_on_with_the_one_in_force() {
    let on_previous = refused(&read("new", Some("old")));
    let taken_back = on_previous.read("old", None, START);
    assert_eq!((in_force(&taken_back), taken_back.generation()), ("old", on_previous.generation()));
}

#[test]
fn another_previous_one_is_tried_at_once_where_the_current_one_was_refused() {
    let both = refused(&refused(&read("new", Some("old"))));
    let other = both.read("new", Some("older"), START);
    assert_eq!(in_force(&other), "older");
    assert!(other.generation() > both.generation());
    let gone = refused(&read("new", Some("old"))).read("new", None, START);
    assert_eq!(in_force(&gone), "new");
}

#[test]
fn a_rotation_is_due_from_its_time_on() {
    let since = Timestamp::from_unix_seconds(1_000_000);
    let day = Duration::from_hours(24);
    let at = |days: u32| since.saturating_add(day * days);
    assert!(!is_rotation_due(since, ROTATION_DUE_AFTER, at(89)));
    assert!(is_rotation_due(since, ROTATION_DUE_AFTER, at(90)));
    assert!(!is_rotation_due(at(1), ROTATION_DUE_AFTER, since), "a time to come is no age");
}

#[derive(Clone, Debug)]
enum Event {
    Read(u8, Option<u8>),
    Refused { late_by: u8 },
    Accepted,
    Later(u16),
}

fn event() -> impl Strategy<Value = Event> {
    prop_oneof![
        (0..4_u8, proptest::option::of(0..4_u8))
            .prop_map(|(current, previous)| Event::Read(current, previous)),
        (0..3_u8).prop_map(|late_by| Event::Refused { late_by }),
        Just(Event::Accepted),
        (0..400_u16).prop_map(Event::Later),
    ]
}

proptest! {
    #[test]
    fn what_is_in_force_was_read_and_another_one_has_another_generation_or_both_were_refused(
        events in proptest::collection::vec(event(), 1..60)
    ) {
        let (mut succession, mut now) = (Succession::default(), START);
        let mut held: Option<(u8, Option<u8>)> = None;
        let mut generations = vec![succession.generation()];
        let mut refused_since_read = 0_u32;
        for event in events {
            let before = succession.clone();
            let mut was_read = false;
            succession = match event {
                Event::Read(current, previous) => {
                    was_read = held != Some((current, previous));
                    held = Some((current, previous));
                    before.read(current, previous, now)
                }
                Event::Refused { late_by } => {
                    let of = generations[generations.len().saturating_sub(1 + usize::from(late_by))];
                    refused_since_read += 1;
                    before.refused(of, now)
                }
                Event::Accepted => before.accepted(before.generation(), now),
                Event::Later(seconds) => {
                    now = now.saturating_add(Duration::from_secs(u64::from(seconds)));
                    before.at(now)
                }
            };
            if was_read { refused_since_read = 0; }
            prop_assert!(succession.generation() >= before.generation(), "generations only grow");
            if let (Some((credential, _)), Some((current, previous))) = (succession.in_force(), held) {
                prop_assert!(*credential == current || Some(*credential) == previous);
                if was_read && refused_since_read == 0 && before.in_force().is_none() {
                    prop_assert_eq!(*credential, current, "what is read first is tried first");
                }
            }
            let changed = before.in_force().map(|(credential, _)| *credential)
                != succession.in_force().map(|(credential, _)| *credential);
            if changed && succession.generation() == before.generation() && before.in_force().is_some() {
                let rank = succession.known.as_ref().map(|known| known.in_force);
                prop_assert!(
                    matches!(rank, Some(Rank::CurrentAgain | Rank::PreviousAgain)),
                    "only a pair that was refused takes turns in one generation: {:?}", rank
                );
            }
            if succession.generation() != before.generation() {
                generations.push(succession.generation());
            }
        }
    }
}
