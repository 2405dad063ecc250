//! Instances over one store, verifiers that keep the JWK Set for as long as they may, and true time.

use super::*;
use std::collections::{BTreeMap, BTreeSet};

/// How long after a commit the last instance has seen it, in milliseconds.
const SEEN_AFTER_MS: u64 = 1000;
/// The most that a clock is off, in milliseconds: half of what two may differ.
const MOST_OFF_MS: i64 = 30_000;
const INSTANCES: usize = 3;
const IN_USE: [Algorithm; 2] = [Algorithm::Es256, Algorithm::EdDsa];

#[derive(Clone, Debug)]
pub(super) enum Step {
    /// Time passes.
    Advance { millis: u64 },
    /// An instance decides, and does not write yet.
    Decide { instance: usize },
    /// An instance writes what it has decided, however long ago.
    Write { instance: usize },
    /// Somebody commands something, by the clock of an instance, about one of the keys.
    Obey { what: usize, key: usize, urgency: Urgency, instance: usize },
    /// The clock of an instance is a little off.
    Drift { instance: usize, off_ms: i64 },
    /// All clocks are set back.
    SetBack { seconds: u64 },
}

pub(super) fn any_step() -> impl Strategy<Value = Step> {
    let urgency = prop_oneof![4 => Just(Urgency::Planned), 1 => Just(Urgency::Emergency)];
    prop_oneof![
        6 => prop_oneof![0_u64..2000, 0_u64..600_000, 0_u64..9_000_000].prop_map(|millis| Step::Advance { millis }),
        8 => (0..INSTANCES).prop_map(|instance| Step::Decide { instance }),
        8 => (0..INSTANCES).prop_map(|instance| Step::Write { instance }),
        3 => (0_usize..3, 0_usize..8, urgency, 0..INSTANCES)
            .prop_map(|(what, key, urgency, instance)| Step::Obey { what, key, urgency, instance }),
        1 => (0..INSTANCES, -MOST_OFF_MS..=MOST_OFF_MS)
            .prop_map(|(instance, off_ms)| Step::Drift { instance, off_ms }),
        1 => (0_u64..20_000).prop_map(|seconds| Step::SetBack { seconds }),
    ]
}

#[derive(Clone)]
struct Version {
    /// When it was committed, in true time.
    since_ms: u64,
    keys: Vec<ScheduledKey>,
}

pub(super) struct World {
    policy: RotationPolicy,
    /// True time, which only advances.
    true_ms: u64,
    /// What the clocks show beyond true time, but for what each is off.
    wall_shift_ms: i64,
    off_ms: [i64; INSTANCES],
    decided: [Option<(usize, Vec<Effect>)>; INSTANCES],
    versions: Vec<Version>,
    made: u64,
    /// Keys that were to sign before verifiers could have them.
    at_once: BTreeSet<String>,
    /// By key: when the last of its tokens expires, by the clocks.
    tokens_end: BTreeMap<String, Timestamp>,
}

impl World {
    pub(super) fn new(policy: RotationPolicy) -> Self {
        Self {
            policy,
            true_ms: 10_000_000_000,
            wall_shift_ms: 0,
            off_ms: [0; INSTANCES],
            decided: [const { None }; INSTANCES],
            versions: vec![Version { since_ms: 0, keys: Vec::new() }],
            made: 0,
            at_once: BTreeSet::new(),
            tokens_end: BTreeMap::new(),
        }
    }

    pub(super) fn keys(&self) -> &[ScheduledKey] {
        &self.versions.last().unwrap().keys
    }

    pub(super) fn wall(&self) -> Timestamp {
        Timestamp::from_unix_millis(self.true_ms.checked_add_signed(self.wall_shift_ms).unwrap())
    }

    fn clock(&self, instance: usize) -> Timestamp {
        let millis = self.wall().as_unix_millis().checked_add_signed(self.off_ms[instance]).unwrap();
        Timestamp::from_unix_millis(millis)
    }

    pub(super) fn step(&mut self, step: &Step) {
        match *step {
            Step::Advance { millis } => self.true_ms += millis,
            Step::Decide { instance } => {
                let effects = decide(self.keys(), &IN_USE, &self.policy, self.clock(instance));
                self.decided[instance] = Some((self.versions.len(), effects));
            }
            Step::Write { instance } => {
                // A decision about a version that is not the last one any more is thrown away.
                match self.decided[instance].take() {
                    Some((version, effects)) if version == self.versions.len() => {
                        self.commit(&effects, Urgency::Planned);
                    }
                    Some(_) | None => {}
                }
            }
            Step::Obey { what, key, urgency, instance } => {
                let key_id = self.keys().get(key).map_or_else(String::new, |key| key.key_id.clone());
                let command = match what {
                    0 => Command::Rotate { algorithm: IN_USE[key % 2] },
                    1 => Command::Retire { key_id: &key_id, urgency },
                    _ => Command::Drop { key_id: &key_id, urgency },
                };
                if let Ok(effects) = obey(self.keys(), command, self.clock(instance)) {
                    self.commit(&effects, urgency);
                }
            }
            Step::Drift { instance, off_ms } => self.off_ms[instance] = off_ms,
            Step::SetBack { seconds } => {
                self.wall_shift_ms -= i64::try_from(seconds * 1000).unwrap();
                // What was decided by the clock that was wrong is written in time or not at all.
                self.decided = [const { None }; INSTANCES];
                // Tokens that were issued in hours to come are refused until these hours come, and then nobody knows of them.
                let latest = self.wall().saturating_add(Duration::from_millis(MOST_OFF_MS.unsigned_abs()));
                let latest = latest.saturating_add(self.policy.longest_token_lifetime());
                self.tokens_end.values_mut().for_each(|end| *end = latest.min(*end));
            }
        }
        self.sign_everywhere();
    }

    /// Lets the instances decide and write in turn until none of them wants anything.
    pub(super) fn settle(&mut self) {
        for _ in 0..8 {
            for instance in 0..INSTANCES {
                self.step(&Step::Decide { instance });
                self.step(&Step::Write { instance });
            }
        }
        for instance in 0..INSTANCES {
            let wanted = decide(self.keys(), &IN_USE, &self.policy, self.clock(instance));
            assert_eq!(wanted, [], "the instances do not come to rest: {:#?}", self.keys());
        }
    }

    fn commit(&mut self, effects: &[Effect], urgency: Urgency) {
        if effects.is_empty() {
            return;
        }
        let mut keys = self.keys().to_vec();
        for effect in effects {
            match effect {
                Effect::Announce { algorithm, times } => {
                    let key_id = format!("key-{:06}", self.made);
                    self.made += 1;
                    if times.active_from.is_some() {
                        self.at_once.insert(key_id.clone());
                    }
                    keys.push(ScheduledKey { key_id, algorithm: *algorithm, times: *times });
                }
                Effect::Change { key_id, times } => {
                    let others = of_algorithm(&keys, keys[place(&keys, key_id)].algorithm);
                    if others.filter(|key| key.times.turn().is_some()).count() == 0 {
                        self.at_once.insert(key_id.clone());
                    }
                    let place = place(&keys, key_id);
                    keys[place].times = *times;
                }
                Effect::Drop { key_id } => {
                    if urgency == Urgency::Planned {
                        self.check_dropped(key_id);
                    }
                    keys.remove(place(&keys, key_id));
                }
            }
        }
        self.versions.push(Version { since_ms: self.true_ms, keys });
    }

    /// No token of the key lives, at the verifier that is latest and gives most leeway.
    fn check_dropped(&self, key_id: &str) {
        let latest = self.wall().saturating_sub(Duration::from_millis(MOST_OFF_MS.unsigned_abs()));
        if let Some(end) = self.tokens_end.get(key_id) {
            let taken_until = end.saturating_add(CLOCK_DIFFERENCE);
            assert!(
                taken_until < latest,
                "{key_id} dropped at {latest}, its tokens live until {taken_until}"
            );
        }
    }

    /// Every instance signs, with what it may have seen of the store.
    fn sign_everywhere(&mut self) {
        let oldest = self.true_ms.saturating_sub(SEEN_AFTER_MS);
        let seen = self.versions.iter().rposition(|version| version.since_ms <= oldest).unwrap_or(0);
        let views = [seen.max(1), self.versions.len() - 1];
        for instance in 0..INSTANCES {
            for algorithm in IN_USE {
                for view in views {
                    self.sign(instance, algorithm, view);
                }
            }
        }
    }

    fn sign(&mut self, instance: usize, algorithm: Algorithm, view: usize) {
        let now = self.clock(instance);
        let Some(version) = self.versions.get(view) else { return };
        let active = of_algorithm(&version.keys, algorithm)
            .filter(|key| matches!(state(key, &version.keys, now), KeyState::Active { .. }));
        let in_service = of_algorithm(&version.keys, algorithm).any(|key| key.times.turn().is_some());
        assert_eq!(active.count(), usize::from(in_service), "{:#?} at {now}", version.keys);
        let Some(key) = signing(&version.keys, algorithm, now) else { return };
        let key_id = key.key_id.clone();
        if !self.at_once.contains(&key_id) {
            // Fetched as long ago as it may be, from the instance that was the last to know.
            let fetched = self.true_ms - self.policy.jwks_max_age().as_secs() * 1000 - SEEN_AFTER_MS;
            let then = self.versions.iter().rfind(|version| version.since_ms <= fetched);
            let had = then.is_some_and(|then| then.keys.iter().any(|key| key.key_id == key_id));
            assert!(had, "{key_id} signs at {now} and a verifier cannot have it");
        }
        let end = now.saturating_add(self.policy.longest_token_lifetime());
        let latest = self.tokens_end.entry(key_id).or_insert(end);
        *latest = end.max(*latest);
    }
}

fn place(keys: &[ScheduledKey], key_id: &str) -> usize {
    keys.iter().position(|key| key.key_id == key_id).unwrap()
}
