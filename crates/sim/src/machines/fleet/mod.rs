//! Several processes and one store: `jeton_proto::flight` under the same kind of scheduler.
//!
//! Each [`hand`] is one process' share of one key; a flight of it does with the model [`store`] what the machine says, as the
//! client's driver does, and nothing more. The store fails in every way that its contract allows, and processes are killed and
//! held still at any step. The [`books`] see what passes between them, and look whether each [`law`] holds: they know the store
//! and the server as they truly are, and never look into a flight.

pub mod books;
pub mod engine;
pub mod hand;
pub mod law;
pub mod runs;
pub mod setting;
pub mod store;
pub mod trouble;
pub mod world;
