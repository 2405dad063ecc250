use super::*;
use proptest::prelude::*;

mod world;

use world::{Step, World, any_step};

const fn at(seconds: u64) -> Timestamp {
    Timestamp::from_unix_seconds(seconds)
}

fn key(key_id: &str, active_from: Option<u64>) -> ScheduledKey {
    let times = KeyTimes {
        number: active_from.unwrap_or(u64::MAX),
        announced_at: at(0),
        active_from: active_from.map(at),
        retired: None,
        token_lifetime: Some(Duration::from_secs(3600)),
    };
    ScheduledKey { key_id: key_id.to_owned(), algorithm: Algorithm::Es256, times }
}

fn policy() -> RotationPolicy {
    RotationPolicy::new(Duration::from_hours(24), Duration::from_mins(5), Duration::from_hours(1)).unwrap()
}

#[test]
fn t39_a_key_goes_through_its_states_by_its_times_alone() {
    let keys = [key("a", Some(1000)), key("b", Some(2000)), key("c", None)];
    let check = |seconds, a, b| {
        assert_eq!((state(&keys[0], &keys, at(seconds)), state(&keys[1], &keys, at(seconds))), (a, b));
        assert_eq!(state(&keys[2], &keys, at(seconds)), KeyState::Announced { active_from: None });
    };
    let announced = KeyState::Announced { active_from: Some(at(2000)) };
    let retired = KeyState::Retired { published_until: None };
    check(0, KeyState::Active { until: Some(at(2000)) }, announced);
    check(1999, KeyState::Active { until: Some(at(2000)) }, announced);
    check(2000, retired, KeyState::Active { until: None });
}

#[test]
fn a_successor_that_was_taken_out_before_its_turn_retires_nobody() {
    let mut keys = [key("a", Some(1000)), key("b", Some(2000))];
    keys[1].times.retired = Some(Retirement::Ordered);
    assert_eq!(state(&keys[0], &keys, at(9000)), KeyState::Active { until: None });
    let settled = decide(&keys, &[], &policy(), at(9000));
    keys[1].times.retired = Some(Retirement::Since(at(9000)));
    assert_eq!(settled, [Effect::Change { key_id: "b".to_owned(), times: keys[1].times }]);
    let over = at(9000 + 3600 + 240);
    assert_eq!(decide(&keys, &[], &policy(), over.saturating_sub(Duration::from_secs(1))), []);
    assert_eq!(decide(&keys, &[], &policy(), over), [Effect::Drop { key_id: "b".to_owned() }]);
}

#[test]
fn two_turns_that_begin_at_once_are_decided_alike_in_every_order() {
    let (a, b) = (key("a", Some(1000)), key("b", Some(1000)));
    for keys in [[a.clone(), b.clone()], [b, a]] {
        assert_eq!(signing(&keys, Algorithm::Es256, at(1000)).unwrap().key_id, "b");
    }
}

#[test]
fn the_first_key_signs_at_once_and_its_successors_after_the_lead() {
    let mut world = World::new(policy());
    world.settle();
    let first = world.keys()[0].clone();
    assert_eq!(first.times.active_from, Some(world.wall()));
    let mut turns = vec![first.times.active_from.unwrap()];
    for _ in 0..10 * 24 * 6 {
        world.step(&Step::Advance { millis: 600_000 });
        world.settle();
        let signing = signing(world.keys(), Algorithm::Es256, world.wall()).unwrap();
        let turn = signing.times.active_from.unwrap();
        if turns.last() != Some(&turn) {
            turns.push(turn);
        }
        assert!(world.keys().len() <= 2 * 3, "two algorithms, each with at most three");
    }
    assert!((10..=11).contains(&turns.len()), "one a day: {turns:?}");
    for pair in turns.windows(2) {
        let signed_for = pair[1].saturating_since(pair[0]);
        assert!(signed_for.abs_diff(policy().period()) <= Duration::from_mins(10), "{signed_for:?}");
    }
}

#[test]
fn a_turn_that_a_wrong_clock_has_put_far_ahead_keeps_no_successor_away() {
    let year = 365 * 24 * 3600;
    let keys = [key("a", Some(1000)), key("b", Some(1000 + year))];
    let effects = decide(&keys, &[Algorithm::Es256], &policy(), at(1000 + 24 * 3600));
    assert!(
        matches!(effects[..], [Effect::Announce { times: KeyTimes { active_from: None, .. }, .. }]),
        "{effects:?}"
    );
}

#[test]
fn a_longer_life_of_tokens_is_put_on_record_and_a_shorter_one_drops_nothing_early() {
    let keys = [key("a", Some(1000)), key("b", Some(2000))];
    let long =
        RotationPolicy::new(Duration::from_hours(90 * 24), Duration::from_mins(5), Duration::from_hours(48));
    let effects = decide(&keys, &[Algorithm::Es256], &long.unwrap(), at(1500));
    let lifetime = |effect: &Effect| match effect {
        Effect::Change { times, .. } => times.token_lifetime,
        Effect::Announce { .. } | Effect::Drop { .. } => None,
    };
    assert_eq!(effects.iter().map(lifetime).collect::<Vec<_>>(), [Some(Duration::from_hours(48)); 2]);
    let is_drop = |effect: &Effect| matches!(effect, Effect::Drop { .. });
    let short = RotationPolicy::new(Duration::from_hours(24), Duration::from_mins(5), Duration::from_mins(1));
    let mut keys = keys;
    keys[0].times.retired = Some(Retirement::Since(at(2000)));
    for (seconds, over) in [(2000 + 3839, false), (2000 + 3840, true)] {
        let effects = decide(&keys, &[Algorithm::Es256], &short.unwrap(), at(seconds));
        assert_eq!(effects.iter().any(is_drop), over, "{effects:?}");
    }
}

#[test]
fn commands_give_up_no_live_token_unless_it_is_an_emergency() {
    let keys = [key("a", Some(1000)), key("b", Some(2000)), key("c", Some(9000))];
    let now = at(2500);
    let check = |command, expected: Result<usize, Refused>| {
        assert_eq!(obey(&keys, command, now).map(|effects| effects.len()), expected, "{command:?}");
    };
    let active = || Refused::Active { key_id: "b".to_owned() };
    let (planned, emergency) = (Urgency::Planned, Urgency::Emergency);
    check(
        Command::Rotate { algorithm: Algorithm::Rs256 },
        Err(Refused::NotInUse { algorithm: Algorithm::Rs256 }),
    );
    let announced = Refused::AlreadyAnnounced { key_id: "c".to_owned() };
    check(Command::Rotate { algorithm: Algorithm::Es256 }, Err(announced));
    check(Command::Retire { key_id: "a", urgency: planned }, Ok(0));
    check(Command::Retire { key_id: "b", urgency: planned }, Err(active()));
    check(Command::Retire { key_id: "b", urgency: emergency }, Ok(2));
    check(Command::Retire { key_id: "c", urgency: planned }, Ok(1));
    let live = Refused::TokensLive { key_id: "a".to_owned(), published_until: None };
    check(Command::Drop { key_id: "a", urgency: planned }, Err(live));
    check(Command::Drop { key_id: "a", urgency: emergency }, Ok(1));
    check(Command::Drop { key_id: "b", urgency: planned }, Err(active()));
    check(Command::Drop { key_id: "b", urgency: emergency }, Ok(2));
    check(Command::Drop { key_id: "c", urgency: planned }, Err(Refused::HasATurn { key_id: "c".to_owned() }));
    check(Command::Drop { key_id: "c", urgency: emergency }, Ok(1));
    let missing = Err(Refused::NoSuchKey { key_id: "d?".to_owned() });
    check(Command::Drop { key_id: "d\n", urgency: emergency }, missing);
}

#[test]
fn there_are_never_more_keys_than_verifiers_read() {
    assert!(Algorithm::ALL.len() * MAX_KEYS_PER_ALGORITHM <= crate::jose::jwk::MAX_JWK_SET_KEYS);
    let keys: Vec<_> = (0..32).map(|turn| key(&turn.to_string(), Some(1000 + turn))).collect();
    let full = obey(&keys, Command::Rotate { algorithm: Algorithm::Es256 }, at(2000));
    assert_eq!(full, Err(Refused::TooManyKeys { algorithm: Algorithm::Es256 }));
    let due = at(1031 + 24 * 3600);
    let announced = |effect: &Effect| matches!(effect, Effect::Announce { .. });
    assert!(!decide(&keys, &[Algorithm::Es256], &policy(), due).iter().any(announced));
}

#[test]
fn policies_out_of_bounds_are_refused() {
    let (hour, minute, second) = (Duration::from_hours(1), Duration::from_mins(1), Duration::from_secs(1));
    let shortest = 2 * (2 * minute + 2 * CLOCK_DIFFERENCE);
    for (period, max_age, lifetime, good) in [
        (shortest, minute, hour, true),
        (shortest.saturating_sub(second), minute, hour, false),
        (MAX_ROTATION_PERIOD, minute, hour, true),
        (MAX_ROTATION_PERIOD + second, minute, hour, false),
        (24 * hour, Duration::ZERO, hour, false),
        (24 * hour, Duration::from_millis(1500), hour, false),
        (240 * hour, MAX_JWKS_MAX_AGE, hour, true),
        (240 * hour, MAX_JWKS_MAX_AGE + second, hour, false),
        (24 * hour, minute, 24 * 30 * hour, false),
        (31 * hour, minute, 24 * 30 * hour, true),
        (24 * hour, minute, Duration::ZERO, false),
        (24 * hour, minute, 24 * 31 * hour, false),
    ] {
        let policy = RotationPolicy::new(period, max_age, lifetime);
        assert_eq!(policy.is_ok(), good, "{period:?} {max_age:?} {lifetime:?}");
    }
    let default = RotationPolicy::default();
    let again =
        RotationPolicy::new(default.period(), default.jwks_max_age(), default.longest_token_lifetime());
    assert_eq!(again, Ok(default));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    /// Instances whose clocks differ, that stand still between deciding and writing, people who rotate, retire and drop, and
    /// clocks that are set back: [`World::step`] looks after every step whether a token would be refused.
    #[test]
    fn t39_no_token_is_refused_whatever_happens_in_which_order(
        steps in prop::collection::vec(any_step(), 1..150),
        max_age in 1_u64..600,
        lifetime in 1_u64..7200,
    ) {
        let policy = RotationPolicy::new(
            Duration::from_hours(2),
            Duration::from_secs(max_age),
            Duration::from_secs(lifetime),
        );
        let mut world = World::new(policy.unwrap());
        world.settle();
        for step in &steps {
            world.step(step);
        }
        world.settle();
    }
}
