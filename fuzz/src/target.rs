//! The targets, one file each, named after what is parsed.

pub(crate) mod assertion_key;
pub(crate) mod basic;
pub(crate) mod certificate_names;
pub(crate) mod challenge;
pub(crate) mod claims;
pub(crate) mod distinguished_name;
pub(crate) mod endpoint_url;
pub(crate) mod error_response;
pub(crate) mod expires_in;
pub(crate) mod file_record;
pub(crate) mod jwk_set;
pub(crate) mod jws;
pub(crate) mod metadata;
pub(crate) mod presented_token;
pub(crate) mod retry_after;
pub(crate) mod revocation_page;
pub(crate) mod scope;
pub(crate) mod secret_place;
pub(crate) mod settings;
pub(crate) mod token_request;
pub(crate) mod token_response;
pub(crate) mod verification;
