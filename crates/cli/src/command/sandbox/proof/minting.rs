//! One token request for all callers, and none for those who come later (R1.1, R1.5).

use super::{Proof, Step, counted, milliseconds};
use crate::failure::Failure;
use serde_json::json;
use std::hint::black_box;
use std::time::Instant;

/// How often the cache is asked.
const GETS: u32 = 10_000;

/// All callers find an empty cache.
pub(super) async fn mint(proof: &Proof<'_>) -> Result<Step, Failure> {
    let before = proof.token_requests();
    let together = proof.call_together().await?;
    let requests = proof.token_requests() - before;
    let slowest_ms = milliseconds(together.slowest);
    Ok(Step {
        name: "mint",
        ok: requests == 1 && together.good == proof.callers,
        text: format!(
            "{} concurrent callers, {}; the api answered {} of them with 200, the slowest in {slowest_ms} ms",
            proof.callers,
            counted(requests, "token request"),
            together.good,
        ),
        facts: json!({
            "callers": proof.callers,
            "token_requests": requests,
            "answered_200": together.good,
            "slowest_ms": slowest_ms,
        }),
    })
}

/// The token is in the cache.
pub(super) fn reuse(proof: &Proof<'_>) -> Step {
    let before = proof.token_requests();
    let began = Instant::now();
    let mut served = 0_u32;
    for _ in 0..GETS {
        let got = proof.handle.get_with(|token| black_box(token.expires_at()));
        served += u32::from(got.is_some());
    }
    let took = began.elapsed();
    let requests = proof.token_requests() - before;
    let get_ns = took.as_nanos() / u128::from(GETS);
    Step {
        name: "reuse",
        ok: requests == 0 && served == GETS,
        text: format!(
            "{served} more gets from the cache, {get_ns} ns each; {} since the beginning",
            counted(proof.token_requests(), "token request"),
        ),
        facts: json!({ "gets": served, "get_ns": get_ns, "token_requests": requests }),
    }
}
