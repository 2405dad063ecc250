//! Who gets a place when there are more callers than places: those whose address has the fewest.

use crate::throttle::Source;
use std::cmp::Reverse;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::sync::Notify;

/// The part of the places that is kept for addresses that hold few: one in this many.
const RESERVED: usize = 8;
/// How many places few are: one in this many, and one at least.
const FEW: usize = 128;
/// How many callers may wait beyond the places: one for this many places, and 64 at least.
const WAITING: usize = 4;
const MIN_WAITING: usize = 64;

/// Callers that wait for a place, and the places.
///
/// An address may take all places but an eighth, which is for those that hold few; so a caller at an address that holds
/// few is served at once, however many another address holds or asks for. Those who wait are served in the order of how
/// many places their addresses hold. When too many wait, the one that has waited longest of the address that has most, places and waiting
/// together, is turned away: it is the likeliest to have given up.
#[derive(Debug)]
pub(super) struct Crowd<T> {
    places: Arc<Places>,
    max: usize,
    max_waiting: usize,
    /// In the order in which they came.
    waiting: Vec<(Source, T)>,
}

#[derive(Debug, Default)]
struct Places {
    taken: Mutex<Taken>,
    freed: Notify,
}

#[derive(Debug, Default)]
struct Taken {
    total: usize,
    of_source: HashMap<Source, usize>,
}

/// A place, which is given back when this is dropped.
#[derive(Debug)]
pub(super) struct Place {
    places: Arc<Places>,
    source: Source,
}

impl<T> Crowd<T> {
    /// No caller, and `max` free places.
    pub(super) fn new(max: usize) -> Self {
        let max_waiting = (max / WAITING).max(MIN_WAITING);
        Self { places: Arc::default(), max, max_waiting, waiting: Vec::new() }
    }

    /// The most connections, of `wanted`, for which `files` files are enough with those that wait.
    pub(super) fn fitting(wanted: usize, files: usize) -> usize {
        let with_those_that_wait = files.saturating_sub(MIN_WAITING) / (WAITING + 1) * WAITING;
        wanted.min(with_those_that_wait.max(1))
    }

    /// Lets a caller wait, and gives back the one that is turned away, if one is.
    pub(super) fn arrive(&mut self, source: Source, caller: T) -> Option<T> {
        self.waiting.push((source, caller));
        if self.waiting.len() <= self.max_waiting {
            return None;
        }
        let mut most: HashMap<Source, usize> = HashMap::new();
        let taken = self.places.lock();
        for (source, _) in &self.waiting {
            *most.entry(*source).or_insert_with(|| taken.of(*source)) += 1;
        }
        drop(taken);
        let first = self.waiting.iter().enumerate().min_by_key(|(_, (source, _))| Reverse(most.get(source)));
        let at = first.map(|(at, _)| at)?;
        Some(self.waiting.remove(at).1)
    }

    /// The next caller that has a place now.
    pub(super) fn next(&mut self) -> Option<(T, Place)> {
        if self.waiting.is_empty() {
            return None;
        }
        let mut taken = self.places.lock();
        let free = self.max.saturating_sub(taken.total);
        if free == 0 {
            return None;
        }
        let held = |(_, (source, _)): &(usize, &(Source, T))| taken.of(*source);
        let (at, (source, _)) = self.waiting.iter().enumerate().min_by_key(held)?;
        let source = *source;
        if free <= self.max / RESERVED && taken.of(source) >= (self.max / FEW).max(1) {
            return None;
        }
        taken.total += 1;
        *taken.of_source.entry(source).or_default() += 1;
        drop(taken);
        let (_, caller) = self.waiting.remove(at);
        Some((caller, Place { places: Arc::clone(&self.places), source }))
    }

    /// Whether somebody waits.
    pub(super) fn is_waiting(&self) -> bool {
        !self.waiting.is_empty()
    }

    /// How many places are free.
    pub(super) fn free(&self) -> usize {
        self.max.saturating_sub(self.places.lock().total)
    }

    /// Waits until a place was given back since the last call.
    pub(super) async fn freed(&self) {
        self.places.freed.notified().await;
    }
}

impl Places {
    fn lock(&self) -> MutexGuard<'_, Taken> {
        self.taken.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Taken {
    fn of(&self, source: Source) -> usize {
        self.of_source.get(&source).copied().unwrap_or_default()
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut taken = self.places.lock();
        taken.total = taken.total.saturating_sub(1);
        let left = taken.of(self.source).saturating_sub(1);
        if left == 0 {
            taken.of_source.remove(&self.source);
        } else {
            taken.of_source.insert(self.source, left);
        }
        drop(taken);
        self.places.freed.notify_one();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::net::{IpAddr, Ipv4Addr};

    fn source(number: u8) -> Source {
        Source::of(IpAddr::V4(Ipv4Addr::new(192, 0, 2, number)))
    }

    fn all_that_fit(crowd: &mut Crowd<u32>) -> Vec<(u32, Place)> {
        std::iter::from_fn(|| crowd.next()).collect()
    }

    #[test]
    fn one_address_has_all_places_but_those_kept_for_others() {
        let mut crowd = Crowd::new(256);
        let mut held = Vec::new();
        for caller in 0..260 {
            assert_eq!(crowd.arrive(source(1), caller), None);
            held.extend(all_that_fit(&mut crowd));
        }
        assert_eq!((held.len(), crowd.free(), crowd.is_waiting()), (224, 32, true));
        crowd.arrive(source(2), 1000);
        assert_eq!(all_that_fit(&mut crowd).len(), 1, "who holds few is served at once");
    }

    #[test]
    fn those_who_hold_fewest_are_next() {
        let mut crowd = Crowd::new(8);
        for caller in 0..9 {
            crowd.arrive(source(1), caller);
        }
        let mut held = all_that_fit(&mut crowd);
        assert_eq!(held.len(), 7);
        crowd.arrive(source(2), 10);
        crowd.arrive(source(2), 11);
        let few = all_that_fit(&mut crowd);
        assert_eq!(few.iter().map(|(caller, _)| *caller).collect::<Vec<_>>(), [10]);
        assert_eq!(crowd.free(), 0);
        held.truncate(5);
        assert_eq!(all_that_fit(&mut crowd).iter().map(|(caller, _)| *caller).collect::<Vec<_>>(), [11]);
    }

    #[test]
    fn when_too_many_wait_the_first_of_those_who_have_most_is_turned_away() {
        let mut crowd = Crowd::new(4);
        let mut held = Vec::new();
        let mut turned_away = Vec::new();
        for caller in 0..80 {
            turned_away.extend(crowd.arrive(source(1), caller));
            held.extend(all_that_fit(&mut crowd));
        }
        assert_eq!((held.len(), turned_away), (4, (4..16).collect()));
        assert_eq!(crowd.arrive(source(2), 100), Some(16), "and not the one that came");
    }

    #[test]
    fn connections_and_those_that_wait_fit_the_files() {
        for files in [0, 1, 64, 70, 100, 1024, 65_536] {
            let max = Crowd::<()>::fitting(4096, files);
            let crowd: Crowd<()> = Crowd::new(max);
            assert!(max == 1 || max + crowd.max_waiting <= files, "{files}: {max}");
        }
        assert_eq!(Crowd::<()>::fitting(4096, 65_536), 4096);
    }

    proptest! {
        /// Whatever one address does, callers at other addresses that hold nothing are served at once while no more of them
        /// come than places are kept, and nothing is ever taken beyond the places.
        #[test]
        fn t36_who_holds_nothing_is_served_whatever_one_address_does(
            steps in prop::collection::vec((0_u8..3, any::<prop::sample::Index>()), 1..400),
        ) {
            let mut crowd = Crowd::new(64);
            let (mut held, mut caller) = (Vec::new(), 0);
            for (step, chosen) in steps {
                caller += 1;
                match step {
                    0 | 1 => drop(crowd.arrive(source(1), caller)),
                    _ if !held.is_empty() => drop(held.swap_remove(chosen.index(held.len()))),
                    _ => {}
                }
                held.extend(all_that_fit(&mut crowd));
                prop_assert!(held.len() <= 64 - 64 / RESERVED);
                let mut others = Vec::new();
                for other in 2..2 + 8_u8 {
                    prop_assert_ne!(crowd.arrive(source(other), 1_000_000), Some(1_000_000));
                    others.extend(all_that_fit(&mut crowd).into_iter().filter(|(caller, _)| *caller == 1_000_000));
                }
                prop_assert_eq!(others.len(), 8);
                prop_assert!(crowd.waiting.len() <= crowd.max_waiting);
            }
        }
    }
}
