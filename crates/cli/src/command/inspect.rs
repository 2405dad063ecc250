//! `jeton inspect`: what is in a token. Without `--issuer` nothing of it is verified, and that is said.

mod decoded;
mod rendering;
mod verification;

use crate::args::InspectArgs;
use crate::exit_code::ExitCode;
use crate::failure::Failure;
use crate::output::{self, Format};
use crate::settings::Layers;
use decoded::{Decoded, Jwt};
use jeton::{Clock as _, Secret, SystemClock};
use rendering::Verification;
use std::io::{self, Read as _};

/// The longest token that is read, in bytes.
const MAX_TOKEN_BYTES: u64 = 1024 * 1024;

/// Shows the token.
pub(crate) async fn run(args: &InspectArgs, layers: &Layers) -> Result<(), Failure> {
    let token = token(args)?;
    let decoded = Decoded::read(token.expose())
        .map_err(|error| Failure::new(ExitCode::Other, format!("the token is malformed: {error}")))?;
    let verification = match (&args.issuer, &decoded) {
        (None, _) => Verification::NotAsked,
        (Some(issuer), Decoded::Jwt(jwt)) => verify(issuer, token.expose(), jwt, args, layers).await?,
        (Some(_), Decoded::Encrypted { .. } | Decoded::Opaque) => {
            let message = "the token cannot be verified here: it is not a signed jwt";
            return Err(Failure::new(ExitCode::Other, message)
                .hint("only the server that gave it out can say what it is (introspection, RFC 7662)"));
        }
    };
    let now = SystemClock.now();
    match args.output.output {
        Format::Text => output::result(rendering::text(token.expose(), &decoded, &verification, now)),
        Format::Json => output::json(&rendering::document(token.expose(), &decoded, &verification, now)),
    }
}

async fn verify(
    issuer: &str,
    token: &str,
    jwt: &Jwt,
    args: &InspectArgs,
    layers: &Layers,
) -> Result<Verification, Failure> {
    let network = layers.without_profile().network(&args.network)?;
    let audience = match &args.audience {
        Some(audience) => audience.clone(),
        None => jwt
            .audience()
            .ok_or_else(|| Failure::new(ExitCode::Other, "the token is not valid: it names no audience"))?,
    };
    verification::verify(issuer, &audience, token, &network).await?;
    Ok(Verification::Passed { issuer: issuer.to_owned(), audience: args.audience.clone() })
}

/// The token, without white space around it, and without the name of the scheme if it was copied along.
fn token(args: &InspectArgs) -> Result<Secret<String>, Failure> {
    let text = if args.token == "-" {
        let mut text = String::new();
        let read = io::stdin().lock().take(MAX_TOKEN_BYTES + 1).read_to_string(&mut text);
        match read {
            Ok(bytes) if bytes as u64 <= MAX_TOKEN_BYTES => Secret::new(text),
            Ok(_) => {
                let message = format!("the token is longer than {MAX_TOKEN_BYTES} bytes");
                return Err(Failure::new(ExitCode::Other, message));
            }
            Err(error) => return Err(Failure::new(ExitCode::Other, format!("standard input: {error}"))),
        }
    } else {
        Secret::new(args.token.clone())
    };
    let token = text.expose().trim();
    Ok(Secret::from(token.strip_prefix("Bearer ").unwrap_or(token)))
}
