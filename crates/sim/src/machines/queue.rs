//! What is still to happen, in the order of its time.

use std::cmp::Ordering;
use std::collections::BinaryHeap;

#[derive(Debug)]
struct Entry<T> {
    at_ms: u64,
    /// Of two at one time the first that was put in comes first.
    turn: u64,
    event: T,
}

impl<T> Entry<T> {
    fn rank(&self) -> (u64, u64) {
        (self.at_ms, self.turn)
    }
}

impl<T> PartialEq for Entry<T> {
    fn eq(&self, other: &Self) -> bool {
        self.rank() == other.rank()
    }
}

impl<T> Eq for Entry<T> {}

impl<T> PartialOrd for Entry<T> {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl<T> Ord for Entry<T> {
    /// The earliest is the greatest: the heap gives that one out first.
    fn cmp(&self, other: &Self) -> Ordering {
        other.rank().cmp(&self.rank())
    }
}

/// Events with their times.
#[derive(Debug)]
pub struct Queue<T> {
    heap: BinaryHeap<Entry<T>>,
    turns: u64,
}

impl<T> Default for Queue<T> {
    fn default() -> Self {
        Self { heap: BinaryHeap::new(), turns: 0 }
    }
}

impl<T> Queue<T> {
    /// Puts an event in.
    pub fn at(&mut self, at_ms: u64, event: T) {
        self.turns += 1;
        self.heap.push(Entry { at_ms, turn: self.turns, event });
    }

    /// Takes the next one out.
    pub fn take(&mut self) -> Option<(u64, T)> {
        self.heap.pop().map(|entry| (entry.at_ms, entry.event))
    }
}
