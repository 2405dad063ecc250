//! Level 3: real processes, a real token endpoint, a real store, and signals at random instants.
//!
//! A coordinator runs a token endpoint on a loopback socket and starts workers: processes of this same program, each a
//! token manager with tasks that ask for tokens. It kills them, holds them still, takes the store away, and counts.
//! Nothing here is virtual, so nothing is repeatable to the event; what is drawn at random comes from a seed, and what is
//! judged is bounded by counts and by the one clock that all processes share.
//!
//! Everything ends with the coordinator, also when that is killed: a worker when its standard input closes, a worker that
//! is held still and a redis-server by the signal that Linux sends to the children of whoever died.

pub mod bench;
pub mod command;
pub mod crew;
pub mod depot;
pub mod disk;
pub mod endpoint;
pub mod findings;
pub mod kills;
pub mod leash;
pub mod line;
pub mod monotonic;
pub mod outages;
pub mod redis;
pub mod rounds;
pub mod search;
pub mod secrets;
pub mod worker;

use std::io;
use std::time::Duration;

/// Why a trial could not be carried out; what it shows is another matter.
#[derive(Debug, thiserror::Error)]
pub enum Broken {
    /// The system refused something.
    #[error("{doing}: {error}")]
    System {
        /// What was being done.
        doing: &'static str,
        /// What the system said.
        error: io::Error,
    },
    /// A worker ended that should not have.
    #[error("worker {0} ended by itself")]
    Ended(usize),
    /// Something took far too long.
    #[error("{what} took longer than {limit:?}")]
    Late {
        /// What.
        what: String,
        /// The limit.
        limit: Duration,
    },
    /// Something said what it should not.
    #[error("{0}")]
    Nonsense(String),
}

impl Broken {
    /// Makes one of what the system said.
    pub fn system(doing: &'static str) -> impl FnOnce(io::Error) -> Self {
        move |error| Self::System { doing, error }
    }
}
