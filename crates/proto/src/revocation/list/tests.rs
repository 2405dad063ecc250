use super::*;
use crate::hindsight::WATCHED_FOR;
use crate::revocation::{FeedFault, Progress, RevokedTokens, VerifiedPage};
use proptest::prelude::*;
use std::time::Duration;

const START: u64 = 1_700_000_000;

fn at(seconds: u64) -> Timestamp {
    Timestamp::from_unix_seconds(seconds)
}

fn mark(number: u64) -> ChangeMark {
    let mut bytes = [0; ChangeMark::BYTES];
    bytes[1..].copy_from_slice(&number.to_be_bytes());
    ChangeMark::from_bytes(bytes)
}

#[derive(Clone, Copy)]
struct Stored {
    change: u64,
    mark: u64,
    until: Timestamp,
}

/// A store, which can be copied and put back.
#[derive(Clone, Default)]
struct Store {
    change: u64,
    records: BTreeMap<u64, Stored>,
    /// Rises whenever another one is put in its place.
    incarnation: u64,
}

/// A server over it.
#[derive(Default)]
struct Instance {
    list: RevocationList,
    seen: u64,
    incarnation: Option<u64>,
}

impl Instance {
    fn look(&mut self, store: &Store, now: Timestamp) {
        let anew = self.incarnation != Some(store.incarnation);
        let after = if anew { 0 } else { self.seen };
        if anew {
            self.list.begin_anew(store.change);
        }
        let mut records: Vec<_> = store.records.iter().filter(|(_, stored)| stored.change > after).collect();
        records.sort_by_key(|(_, stored)| stored.change);
        for (token, stored) in records {
            self.list.take(&revocation(*token, stored));
        }
        (self.seen, self.incarnation) = (store.change, Some(store.incarnation));
        self.list.saw(store.change);
        self.list.sweep(Moment::new(now, None));
    }
}

fn revocation(token: u64, stored: &Stored) -> Revocation<'static> {
    let Stored { change, mark, until } = *stored;
    let id = RevokedId::of(&token.to_string());
    Revocation { id, until, change, mark: Some(self::mark(mark)), by: Some("worker") }
}

/// A guard, and what it has ever been told.
#[derive(Default)]
struct Guard {
    known: RevokedTokens,
    told: HashMap<RevokedId, Timestamp>,
}

impl Guard {
    /// One page, as the guard and the issuer do it.
    fn page(&mut self, instance: &mut Instance, store: &Store, exact: bool, now: Timestamp) -> Progress {
        let position = self.known.position();
        let place = instance.list.place(position, now).or_else(|Ahead| {
            instance.look(store, now);
            instance.list.place(position, now)
        });
        let place = place.unwrap_or(PagePlace { nearest: 0, common: 0 });
        let begin = if exact { place.nearest } else { place.common };
        let page = instance.list.page(begin, now).page;
        assert!(page.entries.len() <= MAX_PAGE_ENTRIES);
        let verified = VerifiedPage { page, issued_at: now };
        let progress = self.known.take_in(&verified, None).unwrap();
        self.told.extend(verified.page.entries.iter().map(|entry| (entry.id, entry.until)));
        progress
    }

    fn poll(&mut self, instance: &mut Instance, store: &Store, exact: bool, now: Timestamp) -> usize {
        for pages in 1..200 {
            if self.page(instance, store, exact, now) == Progress::UpToDate {
                return pages;
            }
        }
        panic!("the list has no end: {:?}", self.known.position());
    }

    fn knows(&self, token: u64) -> bool {
        self.known.contains(&token.to_string())
    }
}

#[derive(Clone, Debug)]
enum Step {
    Revoke { tokens: u64, life: u64 },
    RevokeAgain { from: u64 },
    OtherChange,
    Backup,
    Restore { backup: usize },
    Restart { instance: usize },
    Look { instance: usize },
    Page { guard: usize, instance: usize, exact: bool },
    Poll { guard: usize, instance: usize, exact: bool },
    Tick { seconds: u64 },
    Purge,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => (1_u64..900, 1_u64..3000).prop_map(|(tokens, life)| Step::Revoke { tokens, life }),
        2 => (1_u64..4, 1_u64..3000).prop_map(|(tokens, life)| Step::Revoke { tokens, life }),
        1 => (1_u64..2000).prop_map(|from| Step::RevokeAgain { from }),
        1 => Just(Step::OtherChange),
        2 => Just(Step::Backup),
        2 => (0_usize..4).prop_map(|backup| Step::Restore { backup }),
        1 => (0_usize..2).prop_map(|instance| Step::Restart { instance }),
        3 => (0_usize..2).prop_map(|instance| Step::Look { instance }),
        4 => (0_usize..2, 0_usize..2, any::<bool>())
            .prop_map(|(guard, instance, exact)| Step::Page { guard, instance, exact }),
        4 => (0_usize..2, 0_usize..2, any::<bool>())
            .prop_map(|(guard, instance, exact)| Step::Poll { guard, instance, exact }),
        2 => (1_u64..900).prop_map(|seconds| Step::Tick { seconds }),
        1 => Just(Step::Purge),
    ]
}

/// Everything at once: a store that goes back to backups, two servers over it, two guards that ask either.
struct World {
    store: Store,
    backups: Vec<Store>,
    instances: [Instance; 2],
    guards: [Guard; 2],
    now: Timestamp,
    drawn: u64,
    restores: u64,
}

impl World {
    fn new() -> Self {
        let store = Store::default();
        let (instances, guards) = Default::default();
        let backups = vec![store.clone()];
        Self { store, backups, instances, guards, now: at(START), drawn: 0, restores: 0 }
    }

    fn commit(&mut self, tokens: impl Iterator<Item = u64>, life: u64) {
        self.store.change += 1;
        self.drawn += 1;
        let until = self.now.saturating_add(Duration::from_secs(life));
        let stored = Stored { change: self.store.change, mark: self.drawn, until };
        self.store.records.extend(tokens.map(|token| (token, stored)));
    }

    fn act(&mut self, step: &Step) {
        match *step {
            // Tokens have names of their own, or the same as one that was lost with a restore.
            Step::Revoke { tokens, life } => {
                let first = self.drawn * 1000;
                self.commit(first..first + tokens, life);
            }
            Step::RevokeAgain { from } => self.commit(from..from + 2, 1000),
            Step::OtherChange => self.store.change += 1,
            Step::Backup => self.backups.push(self.store.clone()),
            Step::Restore { backup } => {
                self.restores += 1;
                self.store = self.backups[backup % self.backups.len()].clone();
                self.store.incarnation = self.restores;
            }
            Step::Restart { instance } => self.instances[instance] = Instance::default(),
            Step::Look { instance } => self.instances[instance].look(&self.store, self.now),
            Step::Page { guard, instance, exact } => {
                self.guards[guard].page(&mut self.instances[instance], &self.store, exact, self.now);
            }
            Step::Poll { guard, instance, exact } => self.poll(guard, instance, exact),
            Step::Tick { seconds } => self.now = self.now.saturating_add(Duration::from_secs(seconds)),
            Step::Purge => {
                let over_at = self.now.saturating_sub(WATCHED_FOR);
                self.store.records.retain(|_, stored| over_at < stored.until);
            }
        }
    }

    /// A successful poll leaves nothing out that the store has.
    fn poll(&mut self, guard: usize, instance: usize, exact: bool) {
        self.instances[instance].look(&self.store, self.now);
        self.guards[guard].poll(&mut self.instances[instance], &self.store, exact, self.now);
        let mut counts = self.store.records.iter().filter(|(_, stored)| self.now < stored.until);
        let missed = counts.find(|(token, _)| !self.guards[guard].knows(**token));
        assert!(missed.is_none(), "guard {guard} has missed {:?}", missed.map(|(token, _)| token));
    }

    /// Nothing that was told is forgotten before its time.
    fn nothing_is_forgotten(&self) {
        for guard in &self.guards {
            let counts = guard.told.iter().filter(|(_, until)| self.now < **until);
            assert!(counts.clone().count() <= guard.known.len());
            for (id, _) in counts {
                assert!(guard.known.contains_id(id), "{id:?} was forgotten");
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Guards, servers and restores in any order.
    #[test]
    fn t40_no_revocation_is_missed_or_forgotten_whatever_the_store_goes_back_to(
        steps in proptest::collection::vec(step(), 1..40)
    ) {
        let mut world = World::new();
        for step in &steps {
            world.act(step);
            if matches!(step, Step::Page { .. } | Step::Poll { .. } | Step::Restore { .. }) {
                world.nothing_is_forgotten();
            }
        }
        for guard in 0..2 {
            for instance in 0..2 {
                world.poll(guard, instance, true);
                world.poll(guard, instance, false);
            }
        }
    }
}

#[test]
fn numbers_that_are_given_again_are_told_anew() {
    let mut world = World::new();
    world.commit(0..3, 1000);
    world.act(&Step::Backup);
    world.commit(10..20, 1000);
    world.poll(0, 0, true);
    assert_eq!(world.guards[0].known.position(), FeedPosition { through: 2, mark: Some(mark(2)) });
    world.act(&Step::Restore { backup: 1 });
    world.commit(30..40, 1000);
    world.commit(50..51, 1000);
    world.poll(0, 1, true);
    assert!(world.guards[0].knows(10) && world.guards[0].knows(35), "{:?}", world.guards[0].known);
    // Who asks by the number alone, as before there were marks, is told what came after it.
    let place = world.instances[1].list.place(FeedPosition { through: 2, mark: None }, world.now).unwrap();
    assert_eq!(world.instances[1].list.page(place.nearest, world.now).page.entries.len(), 1);
}

#[test]
fn a_guard_that_is_up_to_date_reads_one_page_without_entries_at_every_instance() {
    let mut world = World::new();
    for _ in 0..40 {
        let first = world.drawn * 1000;
        world.commit(first..first + 100, 1000);
    }
    world.commit(9_000_000..9_000_001, 10);
    world.poll(0, 0, true);
    // What came last is over, and gone from the store, before one of the two starts.
    world.act(&Step::Tick { seconds: 700 });
    world.act(&Step::Purge);
    let World { store, instances, guards, now, .. } = &mut world;
    let told = guards[0].told.len();
    instances[1].look(store, *now);
    for instance in [0, 1, 0, 1] {
        let position = guards[0].known.position();
        let place = instances[instance].list.place(position, *now);
        let begin = place.unwrap().nearest;
        let page = instances[instance].list.page(begin, *now).page;
        if instance == 0 || begin > 0 {
            assert_eq!(page.entries.len(), 0, "instance {instance} after {position:?}");
        }
        guards[0].poll(&mut instances[instance], store, true, *now);
    }
    assert_eq!((told, guards[0].known.position().through), (4001, 40));
}

#[test]
fn pages_are_few_and_begin_where_they_began() {
    let mut world = World::new();
    for _ in 0..300 {
        let first = world.drawn * 1000;
        world.commit(first..first + 20, 1000);
    }
    let World { store, instances, now, .. } = &mut world;
    let list = &mut instances[0];
    list.look(store, *now);
    let list = &mut list.list;
    let mut begins = BTreeSet::new();
    for number in 0..=300 {
        for mark in [None, Some(mark(number)), Some(mark(u64::MAX - number))] {
            let place = list.place(FeedPosition { through: number, mark }, *now).unwrap();
            assert!(place.common <= place.nearest && place.nearest <= number);
            begins.extend([place.common, place.nearest]);
        }
    }
    // 6000 entries in pages of 1500, the last changes, and the end.
    assert_eq!(begins.len(), 4 + RECENT_CHANGES, "{begins:?}");
    assert_eq!(list.place(FeedPosition { through: 301, mark: None }, *now), Err(Ahead));
    let pages = Guard::default().poll(&mut instances[0], store, false, *now);
    assert_eq!(pages, 4);
}

#[test]
fn a_share_is_of_what_counts() {
    let mut list = RevocationList::default();
    let stored = |change, seconds| Stored { change, mark: change, until: at(START + seconds) };
    list.sweep(Moment::new(at(START), None));
    for token in 0..1000 {
        list.committed(&revocation(token, &stored(1, 60)));
        list.take(&revocation(token, &stored(2, 60)));
    }
    assert_eq!((list.shares.of("worker"), list.live.len()), (1000, 1000));
    list.remove(&RevokedId::of("7"));
    assert_eq!(list.shares.of("worker"), 999);
    list.sweep(Moment::new(at(START + 601), None));
    assert_eq!(list.shares.of("worker"), 999, "what was not over at the last look stays");
    list.sweep(Moment::new(at(START + 1202), None));
    assert_eq!((list.shares.of("worker"), list.live.len()), (0, 0));
}

#[test]
fn a_page_of_another_history_is_a_whole_one_for_the_follower_too() {
    let mut known = RevokedTokens::default();
    let page = |since, through| VerifiedPage {
        page: RevocationPage { since, through, mark: Some(mark(through)), more: More::None, entries: vec![] },
        issued_at: at(START),
    };
    known.take_in(&page(0, 5), None).unwrap();
    assert_eq!(known.take_in(&page(6, 7), None), Err(FeedFault::Gap));
    known.take_in(&page(0, 2), None).unwrap();
    assert_eq!(known.position(), FeedPosition { through: 2, mark: Some(mark(2)) });
}

#[test]
fn a_page_that_all_have_in_common_leads_further_when_its_end_is_over() {
    let mut world = World::new();
    world.commit(0..239, 660);
    world.commit(1000..1579, 1);
    world.act(&Step::Tick { seconds: 1 });
    world.commit(2000..2683, 1000);
    let World { store, instances, guards, now, .. } = &mut world;
    instances[0].look(store, *now);
    assert_eq!(instances[0].list.begins, BTreeSet::from([2]));
    assert_eq!(guards[0].poll(&mut instances[0], store, false, *now), 2);
    assert_eq!(guards[0].known.len(), 239 + 579 + 683, "what is over by one look is told too");
}

#[test]
fn t40_a_clock_that_is_ahead_for_a_while_leaves_no_revocation_out() {
    for exact in [true, false] {
        let mut world = World::new();
        world.commit(0..3, 1_000_000);
        world.commit(10..20, 3_600);
        world.commit(30..40, 1_000_000);
        world.commit(50..60, 3_600);
        let World { store, instances, guards, now, .. } = &mut world;
        let ahead = now.saturating_add(Duration::from_secs(86_400));
        instances[0].look(store, ahead);
        guards[0].poll(&mut instances[0], store, exact, ahead);
        assert!(guards[0].knows(30) && guards[0].knows(10), "a change between two that count");
        instances[0].look(store, *now);
        guards[0].poll(&mut instances[0], store, exact, *now);
        assert!([0, 10, 30, 50].iter().all(|token| guards[0].knows(*token)));
    }
}
