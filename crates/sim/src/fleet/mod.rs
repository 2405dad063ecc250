//! Several processes with the real client, one store, one server: level 2 for tokens that a fleet shares.
//!
//! Each [`process`] has a runtime of its own, whose time is virtual, and they go on in turns of a few milliseconds. So a
//! process can be killed (its runtime is dropped, wherever its tasks are) and held still (its runtime gets no turn, and its
//! clock has gone on when it gets the next), as by `SIGKILL` and `SIGSTOP`. What they say to the [`shelf`], which is the
//! store, and to the [`issuer`] goes by [`post`], where the faults are. A [`judge`] sees what passes, and knows no client.

pub mod fitting;
pub mod issuer;
pub mod judge;
pub mod plan;
pub mod post;
pub mod process;
pub mod runs;
pub mod shelf;
pub mod world;
