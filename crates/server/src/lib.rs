//! An OAuth 2.0 authorization server for one grant: client credentials (RFC 6749 §4.4), with JWT access tokens
//! (RFC 9068), server metadata (RFC 8414) and a client registry in one file.
//!
//! ```no_run
//! use jeton_server::{Config, Server, default_data_dir};
//!
//! # async fn run() -> Result<(), Box<dyn std::error::Error>> {
//! let server = Server::bind(Config::new(default_data_dir()?))?;
//! println!("tokens at {}/oauth/token", server.issuer());
//! server.serve(std::future::pending()).await?; // or until a future of your own is done
//! # Ok(()) }
//! ```
//!
//! Clients are added by [`Registry`], in this process or in another one; a running server sees the change within a
//! second. The token path reads memory alone: no database, no lock, no password hash.
//!
//! Most callers need [`Server`], [`Config`] and [`Registry`] and nothing of the modules: [`endpoint`], [`http`] and
//! [`listen`] are for those who put another token endpoint behind the same HTTP face.

pub mod audit;
pub mod endpoint;
pub mod http;
pub mod listen;

mod admin;
mod authentication;
mod client_certificate;
mod clock;
mod config;
mod connection;
mod counters;
mod data_dir;
mod declared;
mod inquiry;
mod inquiry_counters;
mod issuer;
mod jwt_ids;
mod keyring;
mod limits;
mod metrics;
mod outbound;
mod registry;
mod remote_keys;
mod revocations;
mod server;
mod server_key;
mod spent_assertions;
mod store;
mod throttle;
mod tls;
mod workers;

pub use admin::{ADMIN_READ_SCOPE, ADMIN_SCOPE};
pub use client_certificate::{CertificateTrust, ClientCertificate};
pub use clock::SystemClock;
pub use config::{AssertionAudience, Config, InvalidConfig, Listen, NoDataDir, Storage, default_data_dir};
pub use counters::{CounterValues, Counters};
pub use data_dir::PrivateFileError;
pub use declared::{
    Adoption, DeclaredClient, DeclaredClients, DeclaredSecret, DeclaredSecrets, FileFault, MemberDifference,
    Place, Plan, PlanTerms, PlannedChange, Unnamed, plan,
};
pub use inquiry_counters::{InquiryCounterValues, InquiryCounters};
pub use issuer::Issuer;
pub use keyring::{KeyListing, KeyringError, ListedKey, Resealed, SigningKeys, UnreadableKey};
pub use limits::Limits;
pub use listen::ListenError;
pub use metrics::Metrics;
pub use registry::{
    ApplyError, ClientListing, ClientRecord, DamagedClient, LastUses, MAX_MANAGER_BYTES, NewSecret, Registry,
    RegistryError, Rotated, SecretKeeping, certificate_thumbprint,
};
pub use remote_keys::InvalidKeyAuthorities;
pub use server::{ServeError, Server, Sockets, StartError};
pub use server_key::{SealError, ServerKey, ServerKeyError};
pub use spent_assertions::{SharedSpend, SharedSpending, SpentKey};
pub use store::{
    DatabaseError, DatabasePassword, InvalidDatabase, PasswordFuture, PostgresSettings, StoreError,
    WatchError,
};
pub use throttle::{InvalidRequestRate, MintPerCall, RequestRate, Throttling};
pub use tls::{Reload, Tls, TlsError, TlsFiles};
