//! Worlds in which the client, the guard and the server meet every failure in virtual time.
//!
//! One seed is one world: the real client with its background tasks, its callers, the server's HTTP face and decisions,
//! and an API behind the real guard, in one thread whose time is virtual. Between them a schedule of faults, drawn from
//! the seed; beside them a [`checker`] that sees every request, answer, call and clock, and says which invariant does
//! not hold. A failure is repeated by its seed: `cargo xtask sim --seed S --trace`.
//!
//! That is level 2 of the simulator; [`machines`] is level 1, the decisions alone, and [`processes`] is level 3. See
//! `docs/decisions/0011-simulation.md`.

pub mod api;
pub mod authority;
pub mod callers;
pub mod canary;
pub mod checker;
pub mod clock;
pub mod door;
pub mod event;
pub mod fault;
pub mod fleet;
pub mod journal;
pub mod machines;
pub mod network;
pub mod plan;
pub mod processes;
pub mod scenario;
pub mod schedule;
pub mod seeds;
mod threads;
pub mod usher;
pub mod vault;
pub mod weather;
pub mod world;
