//! Clients as a directory of files has them: TOML, with the names of RFC 7591 where it has them, and never a secret.
//!
//! Three steps. [`DeclaredClients::read`] reads and checks every file, and tells every fault with its line. [`plan`](plan::plan) is
//! pure: from the files and the registry it says what would change. [`Registry::apply`](crate::Registry::apply) does that in one
//! commit. A server follows a directory by a thread of its own.

mod client;
mod directory;
mod follow;
mod plan;
mod reader;
mod text;

pub use client::{DeclaredClient, DeclaredClients, DeclaredSecret, DeclaredSecrets, FileFault, Place};
pub(crate) use follow::ClientsDirectory;
pub use plan::{Adoption, MemberDifference, Plan, PlanTerms, PlannedChange, Unnamed, plan};
