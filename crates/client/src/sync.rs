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

/// The same as far as its callers can tell: reading and replacing are single steps, with the others' in between.
#[cfg(jeton_loom)]
pub(crate) struct Swap<T>(Mutex<Arc<T>>);

#[cfg(jeton_loom)]
impl<T> Swap<T> {
    pub(crate) fn new(value: T) -> Self {
        Self(Mutex::new(Arc::new(value)))
    }

    pub(crate) fn load(&self) -> Arc<T> {
        Arc::clone(&self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }

    pub(crate) fn update(&self, mut next: impl FnMut(&T) -> T) {
        loop {
            let seen = self.load();
            let replacement = Arc::new(next(&seen));
            let mut value = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            if Arc::ptr_eq(&seen, &value) {
                *value = replacement;
                return;
            }
        }
    }
}

pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // What is guarded is replaced as a whole, so a panic elsewhere leaves nothing half done.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
