//! The locks and the swap that a slot is shared by: the real ones, or under `--cfg jeton_loom` those of loom, which tries
//! every order in which threads may meet.

#[cfg(jeton_loom)]
pub(crate) use loom::sync::{Mutex, MutexGuard};
#[cfg(not(jeton_loom))]
pub(crate) use std::sync::{Mutex, MutexGuard};

pub(crate) use std::sync::PoisonError;

use std::sync::Arc;

/// A value that is read without a lock and replaced as a whole.
#[cfg(not(jeton_loom))]
pub(crate) struct Swap<T>(arc_swap::ArcSwap<T>);

#[cfg(not(jeton_loom))]
impl<T> Swap<T> {
    pub(crate) fn new(value: T) -> Self {
        Self(arc_swap::ArcSwap::from_pointee(value))
    }

    #[inline]
    pub(crate) fn load(&self) -> arc_swap::Guard<Arc<T>> {
        self.0.load()
    }

    /// Replaces the value by what `next` makes of it; `next` is asked again when somebody else was faster.
    pub(crate) fn update(&self, mut next: impl FnMut(&T) -> T) {
        self.0.rcu(|value| next(value));
    }
}

#[cfg(jeton_loom)]
pub(crate) use modelled::{Replacing, Swap};

/// The same as far as its callers can tell: reading and replacing are single steps, with the others' in between. Each is a
/// lock, since loom does not try every order of loads that are apart from each other only by a store.
#[cfg(jeton_loom)]
mod modelled {
    use super::{Arc, Mutex, lock};

    pub(crate) struct Swap<T> {
        value: Mutex<Arc<T>>,
        replacing: Replacing,
    }

    /// How a value is replaced.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub(crate) enum Replacing {
        /// If it is still the one that was looked at.
        Comparing,
        /// In any case, which is wrong: the models are to find that out.
        Blindly,
    }

    impl<T> Swap<T> {
        pub(crate) fn new(value: T) -> Self {
            Self::that_replaces(Replacing::Comparing, value)
        }

        pub(crate) fn that_replaces(replacing: Replacing, value: T) -> Self {
            Self { value: Mutex::new(Arc::new(value)), replacing }
        }

        pub(crate) fn load(&self) -> Arc<T> {
            Arc::clone(&lock(&self.value))
        }

        pub(crate) fn update(&self, mut next: impl FnMut(&T) -> T) {
            let mut seen = self.load();
            loop {
                let replacement = Arc::new(next(&seen));
                let mut value = lock(&self.value);
                match self.replacing {
                    Replacing::Comparing if !Arc::ptr_eq(&seen, &value) => seen = Arc::clone(&value),
                    Replacing::Comparing | Replacing::Blindly => {
                        *value = replacement;
                        return;
                    }
                }
            }
        }
    }
}

pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // What is guarded is replaced as a whole, so a panic elsewhere leaves nothing half done.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
