//! What a token is asked for.

use crate::args::ClientArgs;
use crate::exit_code::ExitCode;
use crate::failure::Failure;
use crate::settings::profile::ClientLayers;
use crate::settings::section::{AUDIENCE, ENDPOINT_PARAMS, RESOURCE, SCOPES};
use crate::settings::{Found, Origin, found};
use jeton::{Scope, TokenKey};
use jeton_proto::wire::token_request::ReservedParameter;

/// Names and values.
type Parameters = Vec<(String, String)>;

impl ClientLayers<'_> {
    pub(super) fn scope(&self, args: &ClientArgs) -> Result<Option<Scope>, Failure> {
        let scopes = self.list(&SCOPES, &args.scopes, &[' '])?;
        let joined = |list: Found<Vec<String>>| found(list.value.join(" "), list.origin);
        scopes.map(|list| joined(list).parse()).transpose()
    }

    pub(super) fn key(&self, args: &ClientArgs, scope: Option<&Scope>) -> Result<TokenKey, Failure> {
        let mut key = match scope {
            // A scope that was read once is read again.
            Some(scope) => TokenKey::scope(&scope.to_string())
                .map_err(|error| Failure::new(ExitCode::Configuration, error.to_string()))?,
            None => TokenKey::default_scope(),
        };
        let resources = self.list(&RESOURCE, &args.resources, &[' '])?;
        for resource in resources.map(|found| found.value).unwrap_or_default() {
            key = key.with_resource(resource);
        }
        if let Some(found) = self.text(&AUDIENCE, args.audience.as_deref())? {
            key = key.with_audience(found.value);
        }
        if let Some(Found { value: parameters, origin }) = self.endpoint_params(args)? {
            if let Some(reserved) = parameters.iter().find_map(|(name, _)| ReservedParameter::of(name)) {
                return Err(origin.fault(&reserved));
            }
            for (name, value) in parameters {
                key = key.with_parameter(name, value);
            }
        }
        Ok(key)
    }

    fn endpoint_params(&self, args: &ClientArgs) -> Result<Option<Found<Parameters>>, Failure> {
        if !args.endpoint_params.is_empty() {
            let origin = Origin::Flag(ENDPOINT_PARAMS.name.flag);
            let pairs = args.endpoint_params.iter().map(|pair| match pair.split_once('=') {
                Some((name, value)) if !name.is_empty() => Ok((name.to_owned(), value.to_owned())),
                Some(_) | None => Err(origin.fault(&"a parameter is written NAME=VALUE")),
            });
            let pairs = pairs.collect::<Result<_, _>>()?;
            return Ok(Some(found(pairs, origin)));
        }
        if let Some(variable) = self.variable(&ENDPOINT_PARAMS)? {
            let pairs = url::form_urlencoded::parse(variable.value.as_bytes());
            let pairs = pairs.map(|(name, value)| (name.into_owned(), value.into_owned())).collect();
            return Ok(Some(found(pairs, variable.origin)));
        }
        let table = self.in_file(&ENDPOINT_PARAMS);
        Ok(table.map(|table| found(table.value.into_iter().collect(), table.origin)))
    }
}
