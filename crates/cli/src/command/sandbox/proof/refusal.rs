//! The API refuses the token in hand: one token request replaces it for all, and every call gets through (R3.1).

use super::{Proof, Step, counted, milliseconds};
use crate::failure::Failure;
use serde_json::json;

/// All callers call with the token that was revoked.
pub(super) async fn replace(proof: &Proof<'_>) -> Result<Step, Failure> {
    let revoked = proof.handle.token().await.map_err(|error| Failure::from(&error))?.id();
    proof.stage.api.revoke(revoked);
    let (requests_before, api_before) = (proof.token_requests(), proof.stage.api.counts());
    let together = proof.call_together().await?;
    let requests = proof.token_requests() - requests_before;
    let api = proof.stage.api.counts();
    let refused = api.unauthorized - api_before.unauthorized;
    let calls = api.answered - api_before.answered;
    let callers = u64::try_from(proof.callers).unwrap_or(u64::MAX);
    let slowest_ms = milliseconds(together.slowest);
    Ok(Step {
        name: "401",
        // A second retry of any caller would be one more call than callers and refusals together.
        ok: requests == 1 && together.good == proof.callers && refused >= 1 && calls == callers + refused,
        text: format!(
            "the api revoked the token: {refused} of {callers} callers met the 401, {} replaced it, {} got 200 after \
             one retry at most, the slowest in {slowest_ms} ms",
            counted(requests, "token request"),
            together.good,
        ),
        facts: json!({
            "callers": callers,
            "refused_401": refused,
            "token_requests": requests,
            "answered_200": together.good,
            "api_calls": calls,
            "slowest_ms": slowest_ms,
        }),
    })
}
