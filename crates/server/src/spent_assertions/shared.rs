//! What several instances of one issuer share of the assertions that were used.

use super::SpentKey;
use jeton_proto::time::Timestamp;
use std::fmt;
use std::pin::Pin;

/// Tells whether an assertion is used for the first time at any instance.
///
/// The instance has asked its own memory before, so a wrong `First` is harmless for what was used there; elsewhere it is
/// an assertion that is good twice. A wrong `Again` or `Unknown` costs the caller another try. It bounds its own waits: a
/// second is long.
pub trait SharedSpending: fmt::Debug + Send + Sync + 'static {
    /// Spends the assertion `key`, which is refused everywhere for its age from `usable_until` on and may then be forgotten.
    /// Of several who spend one key at the same time, exactly one is told [`SharedSpend::First`].
    fn spend<'a>(
        &'a self,
        key: SpentKey,
        usable_until: Timestamp,
    ) -> Pin<Box<dyn Future<Output = SharedSpend> + Send + 'a>>;

    /// How often it could not be told what others have used since this was made: for whoever watches the server.
    fn unavailable(&self) -> u64;
}

/// What the instances know together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SharedSpend {
    /// Nobody had used it, and now it is used.
    First,
    /// Somebody has used it.
    Again,
    /// It cannot be told now.
    Unknown,
}
