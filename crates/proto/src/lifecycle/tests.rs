#![allow(
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "small numbers of a test"
)]

use super::*;
use crate::backoff::FailureClass;
use crate::secret::Secret;
use crate::time::Timestamp;
use proptest::prelude::*;

mod clocks;

const TRANSIENT: Failure = Failure { class: FailureClass::Transient, retry_after: None };
const START: Timestamp = Timestamp::from_unix_seconds(1_700_000_000);

fn secs(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

fn at(millis: u64) -> Timestamp {
    START.saturating_add(Duration::from_millis(millis))
}

fn token(text: &str, obtained_at: Timestamp, lifetime: Duration) -> Arc<CachedToken> {
    Arc::new(CachedToken::new(Secret::from(text), None, obtained_at, lifetime).unwrap())
}

fn slot_with(text: &str, lifetime: Duration) -> Slot {
    let policy = RefreshPolicy::default();
    Slot::default().granted(token(text, START, lifetime), MintReason::Needed, &policy, 0.5, START)
}

fn failed(slot: &Slot, now: Timestamp) -> Slot {
    slot.failed(TRANSIENT, &BackoffPolicy::default(), 1.0, now)
}

/// The row of the decision table that a decision stands for.
fn name(decision: Decision<'_>) -> &'static str {
    match decision {
        Decision::Serve(_) => "serve",
        Decision::ServeAndRefresh(_) => "serve and refresh",
        Decision::Await { backup: Some(_), .. } => "await with backup",
        Decision::Await { reason: MintReason::Forced, backup: None } => "await forced",
        Decision::Await { backup: None, .. } => "await",
        Decision::Refuse { .. } => "refuse",
        Decision::RefuseAndRefresh { reason: MintReason::Forced, .. } => "refuse and refresh forced",
        Decision::RefuseAndRefresh { .. } => "refuse and refresh",
    }
}

#[test]
fn the_decision_table_without_backoff() {
    let slot = slot_with("a", secs(3600));
    for (millis, expected) in [
        (0, "serve"),
        (2_519_999, "serve"),
        (2_520_000, "serve and refresh"),
        (3_569_999, "serve and refresh"),
        (3_570_000, "await with backup"),
        (3_599_999, "await with backup"),
        (3_600_000, "await"),
        (99_999_999, "await"),
    ] {
        assert_eq!(name(slot.decide(at(millis))), expected, "{millis}");
    }
    assert_eq!(name(slot.decide(START.saturating_sub(secs(1)))), "await with backup");
    assert_eq!(name(Slot::default().decide(START)), "await");
    assert_eq!(name(slot.rejected(TokenId::of("a"), at(1)).decide(at(1))), "await forced");
}

#[test]
fn the_decision_table_while_backing_off() {
    let slot = slot_with("a", secs(3600));
    for (millis, expected) in [
        (1, "serve"),
        (2_700_000, "serve"),
        (3_570_000, "serve"),
        (3_600_000, "refuse"),
        (99_999_999, "refuse"),
    ] {
        assert_eq!(name(failed(&slot, at(millis)).decide(at(millis))), expected, "{millis}");
    }
    let before = START.saturating_sub(secs(1));
    assert_eq!(name(failed(&slot, before).decide(before)), "serve");
    assert_eq!(name(failed(&Slot::default(), START).decide(START)), "refuse");
    let rejected = slot.rejected(TokenId::of("a"), at(1));
    assert_eq!(name(failed(&rejected, at(1)).decide(at(1))), "refuse");
}

#[test]
fn a_refusal_says_when_to_ask_again_and_ends() {
    let slot = failed(&Slot::default(), START);
    let Decision::Refuse { retry_after } = slot.decide(at(100)) else { panic!("{slot:?}") };
    assert_eq!(retry_after, Duration::from_millis(400));
    assert_eq!(name(slot.decide(at(500))), "await");
}

#[test]
fn t1_a_token_of_300_seconds_is_fresh_for_most_of_its_life() {
    let slot = slot_with("a", secs(300));
    assert_eq!(name(slot.decide(at(209_999))), "serve");
    assert_eq!(name(slot.decide(at(269_999))), "serve and refresh");
    assert_eq!(name(slot.decide(at(270_000))), "await with backup");
}

#[test]
fn the_decision_table_when_the_way_is_closed_or_doubtful() {
    let slot = slot_with("a", secs(3600));
    let closed = Way::Closed { retry_after: secs(7) };
    for (millis, when_closed, when_doubtful) in [
        (0, "serve", "serve"),
        (2_520_000, "serve", "serve and refresh"),
        (3_570_000, "serve", "serve and refresh"),
        (3_599_999, "serve", "serve and refresh"),
        (3_600_000, "refuse", "refuse and refresh"),
    ] {
        assert_eq!(name(slot.decide_on(closed, at(millis))), when_closed, "{millis}");
        assert_eq!(name(slot.decide_on(Way::Doubtful, at(millis))), when_doubtful, "{millis}");
        let backing_off = failed(&slot, at(millis));
        assert_eq!(name(backing_off.decide_on(Way::Doubtful, at(millis))), when_closed, "{millis}");
    }
    // A probe for a rejected token is its forced mint, or the rejection would cause a second one.
    let rejected = slot.rejected(TokenId::of("a"), START);
    assert_eq!(name(rejected.decide_on(closed, START)), "refuse");
    assert_eq!(name(rejected.decide_on(Way::Doubtful, START)), "refuse and refresh forced");
    // The longer of the two pauses is told.
    let Decision::Refuse { retry_after } = failed(&Slot::default(), START).decide_on(closed, START) else {
        panic!("an empty slot serves nothing")
    };
    assert_eq!(retry_after, secs(7));
}

#[test]
fn t24_a_replaced_credential_ends_a_terminal_pause_and_no_other() {
    let policy = BackoffPolicy::default();
    let terminal = Failure { class: FailureClass::Terminal, retry_after: None };
    let refused = Slot::default().failed(terminal, &policy, 1.0, START);
    assert_eq!(name(refused.decide(START)), "refuse");
    assert_eq!(name(refused.credential_replaced().decide(START)), "await");
    assert_eq!(name(failed(&Slot::default(), START).credential_replaced().decide(START)), "refuse");
    for class in [FailureClass::Credential, FailureClass::Local] {
        let failure = Failure { class, retry_after: None };
        let slot = Slot::default().failed(failure, &policy, 1.0, START);
        assert_eq!(name(slot.decide(START)), "await", "the gate sees to {class:?}");
    }
}

#[test]
fn t2_the_advisory_time_is_drawn_once_and_stays() {
    let draw = |jitter| {
        let policy = RefreshPolicy::default();
        let token = token("a", START, secs(1000));
        let slot = Slot::default().granted(token, MintReason::Needed, &policy, jitter, START);
        let until = slot.until_advisory(START).unwrap();
        assert_eq!(slot.until_advisory(at(599_000)).unwrap(), until.saturating_sub(secs(599)), "it stays");
        until.as_millis()
    };
    assert_eq!(draw(0.0), 600_000);
    assert_eq!(draw(1.0), 800_000);
    assert_eq!(draw(f64::NAN), 800_000);
}

#[test]
fn t4_the_same_token_again_is_not_asked_for_until_it_ends() {
    let policy = RefreshPolicy::default();
    let slot = slot_with("a", secs(3600));
    let again = token("a", at(2_700_000), secs(890));
    let slot = slot.granted(again, MintReason::Early, &policy, 0.5, at(2_700_000));
    assert_eq!(name(slot.decide(at(3_589_999))), "serve");
    assert_eq!(name(slot.decide(at(3_590_000))), "await");
    assert_eq!(slot.token().unwrap().expires_at(), at(3_590_000));
    let longer = token("a", at(2_700_000), secs(3600));
    let slot = slot.granted(longer, MintReason::Early, &policy, 0.5, at(2_700_000));
    assert_eq!(name(slot.decide(at(3_590_000))), "await");
}

#[test]
fn t4_a_token_with_less_life_does_not_replace_the_one_held() {
    let policy = RefreshPolicy::default();
    let slot = slot_with("a", secs(3600));
    let short = token("b", at(2_700_000), secs(60));
    let slot = slot.granted(short, MintReason::Early, &policy, 0.5, at(2_700_000));
    assert_eq!(slot.token().unwrap().access_token(), "a");
    assert_eq!(name(slot.decide(at(3_599_999))), "serve");
}

#[test]
fn t3_an_unstated_life_is_assumed_and_repetition_does_not_lengthen_it() {
    let policy = RefreshPolicy::default();
    let (a, b) = (TokenId::of("a"), TokenId::of("b"));
    let slot = slot_with("a", secs(100));
    let life = |id, expires_in, millis| slot.lifetime_of(id, expires_in, &policy, at(millis));
    assert_eq!(life(b, ExpiresIn::NotStated, 0), Some(Life::Assumed(secs(300))));
    assert_eq!(life(a, ExpiresIn::NotStated, 40_000), Some(Life::Stated(secs(60))));
    assert_eq!(life(a, ExpiresIn::NotStated, 100_000), None);
    assert_eq!(life(b, ExpiresIn::Stated(secs(u64::MAX)), 0), Some(Life::Stated(MAX_LIFETIME)));
    assert_eq!(life(b, ExpiresIn::Stated(secs(1)), 0), Some(Life::Stated(secs(1))));
}

#[test]
fn t3_an_assumed_life_is_assumed_anew_only_once_it_is_over() {
    let policy = RefreshPolicy::default();
    let a = TokenId::of("a");
    let assumed = CachedToken::new(Secret::from("a"), None, START, Life::Assumed(secs(300))).unwrap();
    let slot = Slot::default().granted(Arc::new(assumed), MintReason::Needed, &policy, 0.5, START);
    let life = |millis| slot.lifetime_of(a, ExpiresIn::NotStated, &policy, at(millis));
    assert_eq!(life(299_999), Some(Life::Assumed(Duration::from_millis(1))));
    assert_eq!(life(300_000), Some(Life::Assumed(secs(300))));
}

#[test]
fn t5_a_clock_that_stepped_back_takes_the_new_token_and_serves_it() {
    let policy = RefreshPolicy::default();
    let slot = slot_with("a", secs(3600));
    let before = START.saturating_sub(secs(86_400));
    let slot = slot.granted(token("b", before, secs(60)), MintReason::Needed, &policy, 0.5, before);
    assert_eq!(slot.token().unwrap().access_token(), "b");
    assert_eq!(name(slot.decide(before)), "serve");
}

#[test]
fn t10_a_failure_leaves_the_good_token_and_never_ends_refreshing() {
    let mut slot = slot_with("a", secs(3600));
    let terminal = Failure { class: FailureClass::Terminal, retry_after: Some(secs(86_400)) };
    for _ in 0..50 {
        slot = slot.failed(terminal, &BackoffPolicy::default(), 1.0, at(2_700_000));
    }
    assert_eq!(name(slot.decide(at(3_599_999))), "serve");
    assert_eq!(name(slot.decide(at(3_600_000))), "refuse");
    assert_eq!(name(slot.decide(at(2_700_000 + 86_400_000))), "await");
}

#[test]
fn t11_a_late_rejection_never_removes_a_newer_token() {
    let policy = RefreshPolicy::default();
    let old = TokenId::of("a");
    let slot = slot_with("a", secs(3600)).rejected(old, at(10));
    let slot = slot.granted(token("b", at(20), secs(3600)), MintReason::Forced, &policy, 0.5, at(20));
    for _ in 0..10 {
        let after = slot.rejected(old, at(30));
        assert_eq!(name(after.decide(at(30))), "serve");
    }
}

#[test]
fn r3_1_an_api_that_refuses_every_token_causes_one_mint_per_probation() {
    let policy = RefreshPolicy::default();
    let mut slot = slot_with("0", secs(3600));
    let mut mints = 0;
    for second in 1..=600_u64 {
        let now = at(second * 1000);
        let id = slot.token().unwrap().id();
        slot = slot.rejected(id, now);
        if let Decision::Await { reason, .. } = slot.decide(now) {
            assert_eq!(reason, MintReason::Forced);
            mints += 1;
            let next = token(&mints.to_string(), now, secs(3600));
            slot = slot.granted(next, reason, &policy, 0.5, now);
        }
    }
    assert_eq!(mints, 10);
}

#[test]
fn a_forced_token_that_an_api_took_may_be_rejected_at_once() {
    let policy = RefreshPolicy::default();
    let b = TokenId::of("b");
    let slot = slot_with("a", secs(3600)).rejected(TokenId::of("a"), at(10));
    let slot = slot.granted(token("b", at(20), secs(3600)), MintReason::Forced, &policy, 0.5, at(20));
    assert!(slot.awaits_acceptance(b));
    assert_eq!(name(slot.rejected(b, at(30)).decide(at(30))), "serve");
    let slot = slot.accepted(b);
    assert!(!slot.awaits_acceptance(b));
    assert_eq!(name(slot.rejected(b, at(30)).decide(at(30))), "await forced");
}

#[test]
fn t21_a_rejected_token_that_the_server_gives_out_again_is_not_minted_in_a_loop() {
    let policy = RefreshPolicy::default();
    let a = TokenId::of("a");
    let slot = slot_with("a", secs(3600)).rejected(a, at(10));
    let slot = slot.granted(token("a", at(20), secs(3580)), MintReason::Forced, &policy, 0.5, at(20));
    assert_eq!(name(slot.decide(at(30))), "serve");
    assert_eq!(name(slot.accepted(a).rejected(a, at(100_000)).decide(at(100_000))), "serve");
}

#[test]
fn t9_a_rejected_token_that_an_unforced_request_brings_stays_rejected() {
    let policy = RefreshPolicy::default();
    for reason in [MintReason::Early, MintReason::Needed] {
        let slot = failed(&slot_with("a", secs(3600)).rejected(TokenId::of("a"), at(10)), at(15));
        let slot = slot.granted(token("a", at(5), secs(3595)), reason, &policy, 0.5, at(20));
        assert_eq!(name(slot.decide(at(20))), "await forced");
        let other = slot.granted(token("b", at(5), secs(3595)), reason, &policy, 0.5, at(20));
        assert_eq!(name(other.decide(at(20))), "serve");
    }
}

#[test]
fn policies_out_of_bounds_are_refused() {
    let policy = RefreshPolicy::default;
    assert!(policy().with_advisory(0.1..=0.5).is_err());
    assert!(policy().with_advisory(0.9..=0.6).is_err());
    assert!(policy().with_advisory(f64::NAN..=0.9).is_err());
    assert!(policy().with_mandatory_margin(secs(3601)).is_err());
    assert!(policy().with_assumed_lifetime(Duration::ZERO).is_err());
    assert!(policy().with_assumed_lifetime(secs(31 * 86_400)).is_err());
    assert!(policy().with_advisory(0.6..=0.9).is_ok());
}

#[test]
fn t34_debug_shows_the_fingerprint_in_place_of_the_token() {
    let slot = slot_with("canary", secs(60));
    let shown = format!("{slot:?}");
    assert!(!shown.contains("canary"), "{shown}");
    assert!(shown.contains(&TokenId::of("canary").to_string()));
}

#[derive(Clone, Debug)]
enum Step {
    Wait(u64),
    Ask { server_fails: bool, jitter: f64 },
    Reject { current: bool },
    Accept,
    ClockBack(u64),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        4 => (0_u64..400).prop_map(Step::Wait),
        6 => (prop::bool::weighted(0.2), 0.0..1.0_f64)
            .prop_map(|(server_fails, jitter)| Step::Ask { server_fails, jitter }),
        1 => any::<bool>().prop_map(|current| Step::Reject { current }),
        1 => Just(Step::Accept),
    ];
    prop::collection::vec(step, 1..120)
}

fn steps_with_clock_back() -> impl Strategy<Value = Vec<Step>> {
    steps().prop_flat_map(|steps| {
        let len = steps.len();
        (Just(steps), 0..len, 1_u64..5000).prop_map(|(mut steps, at, by)| {
            steps.insert(at, Step::ClockBack(by));
            steps
        })
    })
}

/// A client that does what `decide` says, one caller at a time, against a server that fails when told to. Checks the
/// invariants at every step; waits are in thousandths of the life.
struct Client {
    slot: Slot,
    now: Timestamp,
    life: Duration,
    minted: u32,
    unforced_mints: Vec<Timestamp>,
}

impl Client {
    fn new(life: Duration) -> Self {
        Self { slot: Slot::default(), now: START, life, minted: 0, unforced_mints: Vec::new() }
    }

    fn run(&mut self, step: &Step) {
        match step {
            Step::Wait(parts) => {
                self.now = self.now.saturating_add(self.life.mul_f64(*parts as f64 / 1000.0));
            }
            Step::ClockBack(parts) => {
                self.now = self.now.saturating_sub(self.life.mul_f64(*parts as f64 / 1000.0));
                self.unforced_mints.clear();
            }
            Step::Ask { server_fails, jitter } => self.ask(*server_fails, *jitter),
            Step::Reject { current } => self.reject(*current),
            Step::Accept => {
                if let Some(id) = self.slot.token().map(|token| token.id()) {
                    self.slot = self.slot.accepted(id);
                }
            }
        }
    }

    fn ask(&mut self, server_fails: bool, jitter: f64) {
        let slot = self.slot.clone();
        let reason = match slot.decide(self.now) {
            Decision::Serve(token) => return self.served(token),
            Decision::ServeAndRefresh(token) => {
                self.served(token);
                MintReason::Early
            }
            Decision::Await { reason, backup } => {
                if let Some(token) = backup {
                    assert!(self.now < token.expires_at());
                }
                reason
            }
            Decision::Refuse { retry_after } => {
                assert!(retry_after > Duration::ZERO);
                return;
            }
            Decision::RefuseAndRefresh { .. } => panic!("the way is clear"),
        };
        if server_fails {
            self.fail(jitter);
        } else {
            self.mint(reason, jitter);
        }
    }

    fn served(&self, token: &CachedToken) {
        assert!(self.now < token.expires_at(), "served at or past its expiry");
    }

    fn fail(&mut self, jitter: f64) {
        let before = self.slot.token().map(|token| token.id());
        self.slot = self.slot.failed(TRANSIENT, &BackoffPolicy::default(), jitter, self.now);
        assert_eq!(self.slot.token().map(|token| token.id()), before, "a failure removed a token");
    }

    fn mint(&mut self, reason: MintReason, jitter: f64) {
        self.minted += 1;
        let granted = token(&self.minted.to_string(), self.now, self.life);
        self.slot = self.slot.granted(granted, reason, &RefreshPolicy::default(), jitter, self.now);
        if reason != MintReason::Forced {
            self.unforced_mints.push(self.now);
        }
        assert!(matches!(self.slot.decide(self.now), Decision::Serve(_)), "a fresh token is not served");
    }

    fn reject(&mut self, current: bool) {
        if current {
            if let Some(id) = self.slot.token().map(|token| token.id()) {
                self.slot = self.slot.rejected(id, self.now);
            }
            return;
        }
        let before = format!("{:?}", self.slot);
        self.slot = self.slot.rejected(TokenId::of("an older token"), self.now);
        assert_eq!(format!("{:?}", self.slot), before, "a late rejection changed the slot");
    }
}

/// Lifetimes from 1 s to 30 d, the short ones as likely as the long ones.
fn lifetimes() -> impl Strategy<Value = Duration> {
    (0.0..=1.0_f64).prop_map(|draw| Duration::from_secs((2_592_000_f64).powf(draw).round() as u64))
}

proptest! {
    #[test]
    fn t1_every_lifetime_keeps_the_invariants(life in lifetimes(), steps in steps()) {
        let mut client = Client::new(life);
        for step in &steps {
            client.run(step);
        }
        for pair in client.unforced_mints.windows(2) {
            let gap = pair[1].saturating_since(pair[0]);
            prop_assert!(gap >= life / 2, "two mints within half a life: {:?} of {:?}", gap, life);
        }
    }

    #[test]
    fn t5_the_invariants_survive_a_clock_step(life in lifetimes(), steps in steps_with_clock_back()) {
        let mut client = Client::new(life);
        for step in &steps {
            client.run(step);
        }
        let mints = client.minted;
        for _ in 0..5 {
            client.run(&Step::Ask { server_fails: false, jitter: 0.5 });
        }
        prop_assert!(client.minted <= mints + 1, "a clock step made a loop of mints");
    }

    #[test]
    fn windows_are_in_order(life in lifetimes(), jitter in any::<f64>()) {
        let windows = RefreshPolicy::default().windows(&token("a", START, life), jitter);
        prop_assert!(windows.advisory <= windows.mandatory);
        prop_assert!(windows.mandatory <= windows.life);
        prop_assert!(windows.advisory >= life / 2);
    }
}
