//! What goes over the wire: strict parsers and exact renderers, one file for each noun of the RFCs.

pub mod challenge;
pub mod client_auth;
pub mod error_response;
pub mod introspection;
pub mod json_text;
pub mod metadata;
pub mod presented_token;
pub mod retry_after;
pub mod scope;
pub mod token_request;
pub mod token_response;

mod form;
