//! With what a client proves itself.

use crate::args::ClientArgs;
use crate::exit_code::ExitCode;
use crate::failure::Failure;
use crate::settings::faults::Faults;
use crate::settings::profile::ClientLayers;
use crate::settings::section::{AUTH_METHOD, CLIENT_SECRET, CLIENT_SECRET_FILE, PlaceOfSecret, TOKEN_URL};
use crate::settings::{Found, Origin, found};
use jeton::credentials::{SecretPlace, SecretSource};
use jeton::{ClientAuthMethod, TokenManagerBuilder};
use std::sync::Arc;

/// With what a client proves itself. Nothing is read yet.
#[derive(Debug)]
pub(crate) struct CredentialSettings {
    pub(crate) client_secret: Found<SecretPlace>,
    pub(crate) auth_method: ClientAuthMethod,
}

impl CredentialSettings {
    /// A manager that proves itself with what `secret` holds.
    pub(super) fn put_on(
        &self,
        builder: TokenManagerBuilder,
        secret: Arc<dyn SecretSource>,
    ) -> TokenManagerBuilder {
        builder.client_secret_source(secret).auth_method(self.auth_method)
    }

    /// Where the secrets are that are read for it.
    pub(super) fn secret_places(&self) -> Vec<&SecretPlace> {
        vec![&self.client_secret.value]
    }
}

impl ClientLayers<'_> {
    /// With what the client proves itself, or all that is wrong with that.
    pub(super) fn credential(&self, args: &ClientArgs) -> Result<CredentialSettings, Faults> {
        let mut faults = Faults::default();
        let client_secret = faults.keep(self.client_secret(args));
        let method = self.text(&AUTH_METHOD, args.auth_method.as_deref());
        let method =
            method.and_then(|method| method.map_or(Ok(ClientAuthMethod::default()), |found| found.parse()));
        match (client_secret, faults.keep(method)) {
            (Some(client_secret), Some(auth_method)) => Ok(CredentialSettings { client_secret, auth_method }),
            (_, _) => Err(faults),
        }
    }

    fn client_secret(&self, args: &ClientArgs) -> Result<Found<SecretPlace>, Failure> {
        if let Some(text) = &args.client_secret {
            let origin = Origin::Flag(CLIENT_SECRET.name.flag);
            return Ok(Found { value: found(text, origin.clone()).parse()?, origin });
        }
        if let Some(source) = self.secret_in_variables()? {
            return Ok(source);
        }
        self.secret_in_file()?.ok_or_else(|| self.missing_secret())
    }

    /// Where the secret is as the settings file has it. Where the profile says that, the top of the file has no say: two
    /// kinds of it would not fit together.
    pub(in crate::settings) fn secret_in_file(&self) -> Result<Option<Found<SecretPlace>>, Failure> {
        let in_profile = (self.in_profile(&CLIENT_SECRET), self.in_profile(&CLIENT_SECRET_FILE));
        if let Some(source) = secret_in_section(in_profile)? {
            return Ok(Some(source));
        }
        let at_the_top = (self.at_the_top(&CLIENT_SECRET), self.at_the_top(&CLIENT_SECRET_FILE));
        let source = secret_in_section(at_the_top)?;
        match (&source, self.in_profile(&TOKEN_URL), self.at_the_top(&TOKEN_URL)) {
            // A line that was forgotten must not send the secret of one server to another.
            (Some(_), Some(its_own), Some(top)) if its_own.value != top.value => {
                let what =
                    "the secret at the top of the file is for the token_url there, and not for this one";
                Err(its_own
                    .origin
                    .fault(&what)
                    .hint("write client_secret or client_secret_file in the profile too"))
            }
            (_, _, _) => Ok(source),
        }
    }

    /// `JETON_CLIENT_SECRET` is the one variable that holds a secret itself.
    fn secret_in_variables(&self) -> Result<Option<Found<SecretPlace>>, Failure> {
        match (self.variable(&CLIENT_SECRET)?, self.variable(&CLIENT_SECRET_FILE)?) {
            (None, None) => Ok(None),
            (Some(Found { origin, .. }), None) => {
                let variable = CLIENT_SECRET.name.environment.to_owned();
                Ok(Some(Found { value: SecretPlace::Environment(variable), origin }))
            }
            (None, Some(file)) => {
                Ok(Some(Found { value: SecretPlace::File(file.value.into()), origin: file.origin }))
            }
            (Some(_), Some(_)) => {
                let message = "JETON_CLIENT_SECRET and JETON_CLIENT_SECRET_FILE are both set";
                Err(Failure::new(ExitCode::Configuration, message).hint("unset one of them"))
            }
        }
    }

    fn missing_secret(&self) -> Failure {
        let failure = self.missing("the client secret", &CLIENT_SECRET.name);
        match self.name() {
            Some(_) => failure,
            None => failure.hint(
                "give --client-secret env:NAME, file:PATH or - (standard input), set JETON_CLIENT_SECRET_FILE or \
                 JETON_CLIENT_SECRET, or write client_secret_file or client_secret in the settings file",
            ),
        }
    }
}

/// Where the secret is as one section of the settings file has it.
fn secret_in_section(
    (named, file): (Option<Found<PlaceOfSecret>>, Option<Found<String>>),
) -> Result<Option<Found<SecretPlace>>, Failure> {
    match (named, file) {
        (None, None) => Ok(None),
        (Some(named), None) => Ok(Some(Found { value: named.value.0, origin: named.origin })),
        (None, Some(file)) => {
            Ok(Some(Found { value: SecretPlace::File(file.value.into()), origin: file.origin }))
        }
        (Some(named), Some(_)) => {
            Err(named.origin.fault(&"client_secret_file is set too; remove one of them"))
        }
    }
}
