//! How the room for revoked tokens is shared among the clients that revoke.
//!
//! A client may revoke its own tokens as often as it gets new ones, so one alone could fill the list for everyone. It may
//! have no more in the list than there is still room for: one takes half at most, a second one half of the rest, and
//! however many there are, something is left for the next. In a list that is nearly empty nobody notices.

use super::MAX_REVOKED_TOKENS;
use std::collections::HashMap;
use std::sync::Arc;

/// So many tokens a client may always revoke, as long as there is room at all.
pub const LEAST_SHARE: usize = 1000;

/// Whether a client that has `own` revoked tokens in a list of `all` may revoke one more.
///
/// # Errors
/// [`ShareUsed`]: others need the room.
pub const fn decide_share(own: usize, all: usize) -> Result<(), ShareUsed> {
    let room = MAX_REVOKED_TOKENS.saturating_sub(all);
    if own < room || (own < LEAST_SHARE && room > 0) { Ok(()) } else { Err(ShareUsed { own }) }
}

/// The client has as many revoked tokens in the list as it may.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "the client has revoked {own} tokens that have not expired, which is its share of the {MAX_REVOKED_TOKENS} that all clients can have"
)]
pub struct ShareUsed {
    /// How many it has.
    pub own: usize,
}

/// How many revoked tokens each client has in the list.
#[derive(Debug, Default)]
pub(super) struct Shares(HashMap<Arc<str>, usize>);

impl Shares {
    /// One more of this client.
    pub(super) fn came(&mut self, client_id: &str) -> Arc<str> {
        let id = self.0.get_key_value(client_id).map_or_else(|| client_id.into(), |(id, _)| Arc::clone(id));
        *self.0.entry(Arc::clone(&id)).or_default() += 1;
        id
    }

    /// One less.
    pub(super) fn left(&mut self, client_id: &str) {
        let Some(own) = self.0.get_mut(client_id) else { return };
        *own = own.saturating_sub(1);
        if *own == 0 {
            self.0.remove(client_id);
        }
    }

    pub(super) fn of(&self, client_id: &str) -> usize {
        self.0.get(client_id).copied().unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Takes as many as there are for it, or `most`.
    fn fill(shares: &mut [usize], at: usize, most: usize) {
        let all: usize = shares.iter().sum();
        // The last one that is let in, found without taking a million steps.
        let fits = |own: usize| decide_share(own, all - shares[at] + own).is_ok();
        let (mut low, mut high) = (shares[at], shares[at] + most);
        while low < high {
            let middle = low.midpoint(high);
            if fits(middle) { low = middle + 1 } else { high = middle }
        }
        shares[at] = low;
    }

    #[test]
    fn one_client_leaves_half_and_an_incident_of_a_hundred_thousand_fits_beside_two_that_fill() {
        let mut shares = vec![0; 4];
        fill(&mut shares, 0, usize::MAX / 2);
        assert_eq!(shares[0], MAX_REVOKED_TOKENS / 2);
        fill(&mut shares, 1, usize::MAX / 2);
        assert_eq!(shares[1], MAX_REVOKED_TOKENS / 4);
        fill(&mut shares, 2, 100_000);
        assert_eq!(shares[2], 100_000);
    }

    #[test]
    fn nobody_has_room_that_is_not_there() {
        assert!(decide_share(0, MAX_REVOKED_TOKENS).is_err() && decide_share(0, usize::MAX).is_err());
        assert!(decide_share(LEAST_SHARE - 1, MAX_REVOKED_TOKENS - 1).is_ok());
        assert!(decide_share(LEAST_SHARE, MAX_REVOKED_TOKENS - 1).is_err());
    }

    #[test]
    fn what_has_left_is_not_counted() {
        let mut shares = Shares::default();
        let id = shares.came("a");
        assert_eq!((shares.came("a"), shares.of("a"), shares.of("b")), (Arc::clone(&id), 2, 0));
        for expected in [1, 0, 0] {
            shares.left(&id);
            assert_eq!(shares.of("a"), expected);
        }
        assert!(shares.0.is_empty());
    }

    proptest! {
        /// Ten clients that take what they can, in any order, leave room for the least share of the next one.
        #[test]
        fn greed_leaves_something(order in proptest::collection::vec((0_usize..10, 1_usize..600_000), 1..60)) {
            let mut shares = vec![0; 11];
            for (client, most) in order {
                fill(&mut shares, client, most);
            }
            prop_assert!(shares.iter().sum::<usize>() < MAX_REVOKED_TOKENS);
            fill(&mut shares, 10, 100);
            prop_assert_eq!(shares[10], 100);
        }
    }
}
