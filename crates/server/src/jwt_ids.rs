//! The ids of tokens (`jti`, RFC 7519 §4.1.7): 128 random bits each.

use crate::endpoint::TokenRefusal;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use std::fmt;
use std::sync::{Mutex, PoisonError};

const ID_BYTES: usize = 16;
/// For so many ids the random source is asked at once, which costs it little more than one.
const DRAWN_AT_ONCE: usize = 32;

/// Makes ids, of which no two are alike and none can be told from others.
#[derive(Default)]
pub(crate) struct JwtIds(Mutex<Drawn>);

/// Random bytes that were drawn and are used once, from the end on.
#[derive(Default)]
struct Drawn {
    ids: [[u8; ID_BYTES]; DRAWN_AT_ONCE],
    left: usize,
}

impl JwtIds {
    /// The id of one more token, in base64url.
    pub(crate) fn next(&self) -> Result<String, TokenRefusal> {
        let failed = || TokenRefusal::server_error("the random source failed");
        self.draw().map(|random| URL_SAFE_NO_PAD.encode(random)).ok_or_else(failed)
    }

    fn draw(&self) -> Option<[u8; ID_BYTES]> {
        // Nothing panics while it is held.
        let mut drawn = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if drawn.left == 0 {
            aws_lc_rs::rand::fill(drawn.ids.as_flattened_mut()).ok()?;
            drawn.left = DRAWN_AT_ONCE;
        }
        drawn.left -= 1;
        let left = drawn.left;
        drawn.ids.get(left).copied()
    }
}

impl fmt::Debug for JwtIds {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JwtIds")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn no_id_is_given_twice_by_any_thread() {
        let ids = JwtIds::default();
        let draw = || (0..10 * DRAWN_AT_ONCE).map(|_| ids.next().unwrap()).collect::<Vec<_>>();
        let drawn: Vec<_> = std::thread::scope(|scope| {
            let threads = [scope.spawn(draw), scope.spawn(draw), scope.spawn(draw)];
            threads.into_iter().flat_map(|thread| thread.join().unwrap()).collect()
        });
        assert_eq!(drawn.iter().collect::<HashSet<_>>().len(), 30 * DRAWN_AT_ONCE);
        assert!(drawn.iter().all(|id| URL_SAFE_NO_PAD.decode(id).is_ok_and(|bytes| bytes.len() == ID_BYTES)));
    }
}
