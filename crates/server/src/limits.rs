//! Bounds of what a peer can make the server hold or wait for.

use std::time::Duration;

/// Bounds on connections, requests and waits. The defaults suit a server that many services of an organisation use.
///
/// ```
/// use jeton_server::Limits;
///
/// let limits = Limits { max_connections: 64, ..Limits::default() };
/// assert_eq!(limits.max_body_bytes, 64 * 1024);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// The most open connections, or fewer where the limit on open files is lower. An eighth of them is kept for
    /// addresses (IPv6: networks of 64 bits) that hold few, which is one in 128, so that one address that takes all it
    /// can get keeps no other one waiting. Up to a quarter as many wait, those first whose address holds the fewest;
    /// beyond that, and beyond 64, one of the address that has most is closed unheard. While callers wait, here or because the
    /// process has no file descriptor left, every connection ends with the answer that it owes, and one that stands
    /// still is ended after 2 s: idle connections keep nobody out. At least 1; default 4096.
    pub max_connections: usize,
    /// The longest request body in bytes, from 1 to 65,536. Default 65,536.
    pub max_body_bytes: usize,
    /// How long a request body may take to arrive. Default 10 s.
    pub body_timeout: Duration,
    /// A connection on which no request began for this long, and none is being answered, is closed, whether it is
    /// idle, sends a header slowly or does not read its answer; at the latest after twice this long. Default 30 s.
    pub idle_timeout: Duration,
    /// How long open requests may take to end after the shutdown began. Default 10 s.
    pub drain_timeout: Duration,
}

impl Limits {
    /// The most header fields of a request: what the HTTP library has room for. A bound of our own would cost it more with every request
    /// than its own does.
    pub const MAX_HEADERS: usize = 100;
    /// The most bytes of a request head.
    pub const MAX_HEAD_BYTES: usize = 32 * 1024;

    pub(crate) const fn are_sound(&self) -> bool {
        self.max_connections >= 1
            && self.max_connections <= tokio::sync::Semaphore::MAX_PERMITS
            && self.max_body_bytes >= 1
            && self.max_body_bytes <= jeton_proto::wire::token_request::MAX_BODY_BYTES
            && !self.body_timeout.is_zero()
            && !self.idle_timeout.is_zero()
    }
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            max_connections: 4096,
            max_body_bytes: jeton_proto::wire::token_request::MAX_BODY_BYTES,
            body_timeout: Duration::from_secs(10),
            idle_timeout: Duration::from_secs(30),
            drain_timeout: Duration::from_secs(10),
        }
    }
}
