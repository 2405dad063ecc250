//! The program as its users run it: as a process, with arguments, environment and streams.

#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "a test fails by panicking")]

mod api;
mod audit;
mod cache;
mod cache_commands;
mod cache_redis;
mod cache_trouble;
mod calls;
#[path = "../../../../testdata/canary.rs"]
mod canary;
mod client_secrets;
mod database;
mod declared_clients;
mod exit_codes;
mod inspection;
mod issuers;
mod keys;
mod methods;
mod mutual_tls;
#[path = "../../../../testdata/foreign/postgresql.rs"]
mod postgresql;
mod process;
mod profile_check;
mod profiles;
#[path = "../../../../testdata/foreign/programs.rs"]
mod programs;
mod read_only_disk;
mod revocation;
mod sandbox;
mod seclusion;
mod secrecy;
mod server_key;
mod serving;
mod settings;
mod stub;
mod systemd;
