//! Level 1 of the simulator: the machines of `jeton-proto` alone, under a scheduler of their own.
//!
//! No task, socket or runtime: a [`client`] that does what the drivers do and no more, a model [`server`], and a queue of
//! events that a seed draws, so that a core makes millions of steps a second. After every step the [`books`] look whether
//! each [`law`] holds. They are kept from what was asked, told and sent, and never look into a machine; a second
//! implementation of the rules, in whole milliseconds and with bounds where the machines draw.
//!
//! An [`engine::Engine`] stands between client and machines: the tests break one rule at a time in it, and the books have to notice.

pub mod books;
pub mod client;
pub mod clocks;
pub mod engine;
pub mod findings;
pub mod fleet;
pub mod law;
pub mod queue;
pub mod runs;
pub mod server;
pub mod setting;
pub mod trouble;
pub mod world;
