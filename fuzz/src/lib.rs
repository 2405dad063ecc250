//! Fuzz targets for every parser of outside bytes.
//!
//! A target is an ordinary function from bytes to a [`Verdict`]: it holds a parser to an oracle that says more than
//! "it does not panic". The driver beside this library runs it under libFuzzer (`cargo xtask fuzz`), and
//! `tests/replay.rs` runs it over the committed seeds and findings with all the other tests.
//!
//! Every oracle takes the parser as an argument, so that its tests can show it a wrong one and see it caught.

mod input;
mod target;
mod verdict;

pub use verdict::{Broken, Verdict};

/// One parser, and the oracle that it is held to.
#[derive(Clone, Copy, Debug)]
pub struct Target {
    /// The name: that of the folders of its seeds and findings, and of its dictionary.
    pub name: &'static str,
    /// Holds the parser to the oracle on one input. Any bytes may be given.
    pub check: fn(&[u8]) -> Verdict,
}

/// Every target, in the order in which they are run.
pub const TARGETS: [Target; 22] = [
    Target { name: "assertion_key", check: target::assertion_key::check },
    Target { name: "basic", check: target::basic::check },
    Target { name: "certificate_names", check: target::certificate_names::check },
    Target { name: "challenge", check: target::challenge::check },
    Target { name: "claims", check: target::claims::check },
    Target { name: "distinguished_name", check: target::distinguished_name::check },
    Target { name: "endpoint_url", check: target::endpoint_url::check },
    Target { name: "error_response", check: target::error_response::check },
    Target { name: "expires_in", check: target::expires_in::check },
    Target { name: "file_record", check: target::file_record::check },
    Target { name: "jwk_set", check: target::jwk_set::check },
    Target { name: "jws", check: target::jws::check },
    Target { name: "metadata", check: target::metadata::check },
    Target { name: "presented_token", check: target::presented_token::check },
    Target { name: "retry_after", check: target::retry_after::check },
    Target { name: "revocation_page", check: target::revocation_page::check },
    Target { name: "scope", check: target::scope::check },
    Target { name: "secret_place", check: target::secret_place::check },
    Target { name: "settings", check: target::settings::check },
    Target { name: "token_request", check: target::token_request::check },
    Target { name: "token_response", check: target::token_response::check },
    Target { name: "verification", check: target::verification::check },
];

impl Target {
    /// The target of this name.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        TARGETS.into_iter().find(|target| target.name == name)
    }
}
