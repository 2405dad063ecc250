//! What coordinator and workers tell each other: one line of JSON each.

use super::monotonic::Monotonic;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// What a worker is, told once and first. It comes by standard input, since it has a secret in it.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Part {
    /// The token endpoint.
    pub token_url: String,
    /// Where the tokens are shared.
    pub store: Store,
    /// 32 bytes in hexadecimal digits: the store key.
    pub store_key: String,
    /// The scopes that are asked for, one token each.
    pub scopes: Vec<String>,
    /// How long a lease is, where it is not the default.
    pub lease: Option<Duration>,
    /// Whether tokens are renewed without being asked for.
    pub ahead: Ahead,
    /// How long a token request is under way before it is sent.
    pub dawdle: Duration,
}

/// Where tokens are shared.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Store {
    /// Nowhere: each process is on its own, which shows that the trials can fail.
    None,
    /// In this directory.
    File(String),
    /// In the Redis at this URL.
    Redis(String),
}

/// Whether tokens are renewed without being asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Ahead {
    /// As long as they are used, the default of the manager.
    WhileUsed,
    /// When somebody asks.
    OnDemand,
}

/// What a worker is to do.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub enum Order {
    /// Forget every token: a new manager takes the place of the old one.
    Renew,
    /// So many tasks ask for a token once, all at that instant.
    Burst {
        /// Its number, which the answers bear.
        burst: u64,
        /// The scope's place among the scopes.
        key: usize,
        /// How many tasks.
        tasks: usize,
        /// When.
        at: Monotonic,
    },
    /// The token in hand was refused by an API.
    Reject {
        /// The scope's place among the scopes.
        key: usize,
    },
    /// So many tasks ask again and again, with a pause in between.
    Ask {
        /// How many tasks; they take turns at the scopes.
        tasks: usize,
        /// The pause.
        pause: Duration,
    },
    /// They stop.
    Rest,
}

/// What a worker tells.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub enum Report {
    /// It is there and has its part.
    Ready,
    /// It has a new manager.
    Renewed,
    /// The token was rejected.
    Rejected,
    /// Its manager asks the server, which it does with the lease in hand.
    Flying {
        /// For which scope.
        scope: String,
    },
    /// In a burst, tasks were given this token.
    Given {
        /// The burst.
        burst: u64,
        /// The number of the token among those of its scope.
        serial: u64,
        /// How many tasks.
        tasks: usize,
        /// When the first of them had it.
        first: Monotonic,
        /// How long a task waited at most.
        longest: Duration,
    },
    /// A call failed.
    Failed {
        /// How long it had waited.
        waited: Duration,
        /// The error, as the caller was told.
        error: String,
    },
    /// Every task of the burst was answered.
    Done {
        /// The burst.
        burst: u64,
    },
    /// A token that this process had not had before, while it asks again and again.
    Got {
        /// The scope's place among the scopes.
        key: usize,
        /// The number of the token.
        serial: u64,
        /// When.
        at: Monotonic,
    },
    /// The tasks stopped.
    Resting {
        /// How many calls they made.
        calls: u64,
        /// How long one waited at most.
        longest: Duration,
    },
    /// The log told of the shared store.
    StoreIs {
        /// How.
        health: Health,
        /// When.
        at: Monotonic,
        /// In words.
        why: String,
    },
}

/// Whether the shared store works, as the log tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Health {
    /// A warning: it does not.
    Ill,
    /// It works again.
    Well,
}

/// As a line, with its end.
pub fn to_line<T: Serialize>(value: &T) -> Result<String, serde_json::Error> {
    let mut line = serde_json::to_string(value)?;
    line.push('\n');
    Ok(line)
}

/// What a line says.
pub fn from_line<T: DeserializeOwned>(line: &str) -> Result<T, serde_json::Error> {
    serde_json::from_str(line)
}
