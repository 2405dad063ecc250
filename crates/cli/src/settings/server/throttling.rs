//! The settings of `jeton serve` that limit callers.

use super::super::{Found, Layers, Name, found};
use crate::args::ThrottlingArgs;
use crate::exit_code::ExitCode;
use crate::failure::Failure;
use crate::settings::file::{NumberOrText, ServerSection};
use jeton_proto::mint_per_call::{InvalidMintPolicy, MintPolicy};
use jeton_server::{InvalidRequestRate, MintPerCall, RequestRate, Throttling};
use toml::Spanned;

const CLIENT_REQUESTS_PER_SECOND: Name = Name {
    file: "server.client_requests_per_second",
    environment: "JETON_SERVER_CLIENT_REQUESTS_PER_SECOND",
    flag: "--client-requests-per-second",
};
const CLIENT_BURST: Name =
    Name { file: "server.client_burst", environment: "JETON_SERVER_CLIENT_BURST", flag: "--client-burst" };
const MINT_PER_CALL: Name =
    Name { file: "server.mint_per_call", environment: "JETON_SERVER_MINT_PER_CALL", flag: "--mint-per-call" };
const MINTS_PER_TOKEN_LIFE: Name = Name {
    file: "server.mints_per_token_life",
    environment: "JETON_SERVER_MINTS_PER_TOKEN_LIFE",
    flag: "--mints-per-token-life",
};

impl Layers {
    /// The limits on what callers ask of the token endpoint.
    pub(super) fn throttling(
        &self,
        args: &ThrottlingArgs,
        file: &ServerSection,
    ) -> Result<Throttling, Failure> {
        let mut throttling =
            Throttling { client_requests: self.request_rate(args, file)?, ..Throttling::default() };
        if let Some(found) =
            self.text(&MINT_PER_CALL, args.mint_per_call.as_deref(), file.mint_per_call.as_ref())?
        {
            let names = || MintPerCall::ALL.map(MintPerCall::as_str).join(", ");
            throttling.mint_per_call = MintPerCall::parse(&found.value)
                .ok_or_else(|| found.origin.fault(&format!("it is one of {}", names())))?;
        }
        let of_life = self.number(
            &MINTS_PER_TOKEN_LIFE,
            args.mints_per_token_life.as_deref(),
            file.mints_per_token_life.as_ref(),
        )?;
        if let Some(found) = of_life {
            throttling.mints_per_token_life = MintPolicy::new(whole(&found)?)
                .map_err(|InvalidMintPolicy| found.origin.fault(&"it is a number from 4 to 100000"))?;
        }
        Ok(throttling)
    }

    fn request_rate(&self, args: &ThrottlingArgs, file: &ServerSection) -> Result<RequestRate, Failure> {
        let per_second = self.number(
            &CLIENT_REQUESTS_PER_SECOND,
            args.client_requests_per_second.as_deref(),
            file.client_requests_per_second.as_ref(),
        )?;
        let burst = self.number(&CLIENT_BURST, args.client_burst.as_deref(), file.client_burst.as_ref())?;
        let burst_number = burst.as_ref().map_or(Ok(RequestRate::DEFAULT_BURST), whole)?;
        let per_second_number = match &per_second {
            Some(found) if found.value == "off" => return Ok(RequestRate::Off),
            Some(found) => whole(found)?,
            None => RequestRate::DEFAULT_PER_SECOND,
        };
        RequestRate::new(per_second_number, burst_number).map_err(|invalid| {
            let place = match invalid {
                InvalidRequestRate::PerSecond => per_second.as_ref(),
                InvalidRequestRate::Burst => burst.as_ref(),
            };
            let fault = |found: &Found<String>| found.origin.fault(&invalid.to_string());
            place.map_or_else(|| Failure::new(ExitCode::Configuration, invalid.to_string()), fault)
        })
    }

    /// A setting that is a number, which the file may have as a number or as a text.
    fn number(
        &self,
        name: &Name,
        flag: Option<&str>,
        in_file: Option<&Spanned<NumberOrText>>,
    ) -> Result<Option<Found<String>>, Failure> {
        let nearer = self.text(name, flag, None)?;
        Ok(nearer.or_else(|| {
            in_file.map(|spanned| {
                let held = self.in_file(name, spanned);
                found(held.value.0, held.origin)
            })
        }))
    }
}

fn whole(found: &Found<String>) -> Result<u32, Failure> {
    found.value.parse().map_err(|_| found.origin.fault(&"it is a whole number, such as 100"))
}
