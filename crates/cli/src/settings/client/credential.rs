//! With what a client proves itself, and how.

use super::material::Material;
use crate::args::CredentialArgs;
use crate::failure::Failure;
use crate::lifespan::Lifespan;
use crate::settings::Found;
use crate::settings::faults::Faults;
use crate::settings::profile::{ClientLayers, Section};
use crate::settings::section::{
    ASSERTION_ALGORITHM, ASSERTION_AUDIENCE, ASSERTION_LIFETIME, AUTH_METHOD, BASIC_ENCODING,
    CREDENTIAL_PERIOD, KEY_ID, ROTATION_DUE_AFTER, Setting, Value, X5T_S256,
};
use jeton::credentials::{AssertionAlgorithm, AssertionSettings, SecretPlace, SecretSource};
use jeton::{BasicEncoding, ClientAuthMethod, Secret, TokenManagerBuilder};
use jeton_proto::credential::ROTATION_DUE_AFTER as NINETY_DAYS;
use jeton_proto::jose::client_assertion::AssertionLifetime;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

/// With what a client proves itself, and how. Nothing is read yet.
#[derive(Debug)]
pub(crate) struct CredentialSettings {
    pub(crate) material: Material,
    /// `None` where the server's metadata decides, or else the material.
    auth_method: Option<ClientAuthMethod>,
    basic_encoding: BasicEncoding,
    assertion: AssertionSettings,
    pub(super) period: Option<Found<Duration>>,
    pub(super) rotation_due_after: Option<Found<Duration>>,
}

/// What is given to a manager.
pub(crate) enum Proof {
    /// Where it is read from.
    Source(Arc<dyn SecretSource>),
    /// What was read, which is looked at when the manager is built.
    Text(Secret<String>, Arc<dyn SecretSource>),
}

impl CredentialSettings {
    /// After how long it ought to be replaced.
    pub(crate) fn rotation_due_after(&self) -> Duration {
        self.rotation_due_after.as_ref().map_or(NINETY_DAYS, |found| found.value)
    }

    /// A manager that proves itself with `proof`.
    pub(super) fn put_on(&self, builder: TokenManagerBuilder, proof: Proof) -> TokenManagerBuilder {
        let builder = match (&self.material, proof) {
            (Material::Secret { .. }, Proof::Source(source)) => builder.client_secret_source(source),
            (Material::Secret { .. }, Proof::Text(text, _)) => builder.client_secret(text),
            (Material::PrivateKey(_), Proof::Source(source)) => builder.private_key_source(source),
            (Material::PrivateKey(_), Proof::Text(text, _)) => builder.private_key(text),
            (Material::Assertion(_), Proof::Source(source) | Proof::Text(_, source)) => {
                builder.client_assertion_source(source)
            }
            (Material::Certificate { .. }, Proof::Source(source)) => {
                builder.client_certificate_source(source)
            }
            (Material::Certificate { .. }, Proof::Text(text, _)) => builder.client_certificate(text),
        };
        let mut builder = builder
            .basic_encoding(self.basic_encoding)
            .assertion(self.assertion.clone())
            .rotation_due_after(self.rotation_due_after());
        if let Some(method) = self.auth_method {
            builder = builder.auth_method(method);
        }
        if let Some(period) = &self.period {
            builder = builder.credential_period(period.value);
        }
        builder
    }

    /// Where the secrets are that are read for it.
    pub(super) fn secret_places(&self) -> Vec<&SecretPlace> {
        self.material.places()
    }
}

impl ClientLayers<'_> {
    /// With what the client proves itself, or all that is wrong with that.
    pub(super) fn credential(&self, args: &CredentialArgs) -> Result<CredentialSettings, Faults> {
        let mut faults = Faults::default();
        let material = faults.keep(self.material(args));
        let method = faults.keep(self.auth_method(args, material.as_ref().map(|(_, material)| material)));
        let period = faults.keep(self.span(&CREDENTIAL_PERIOD, args.credential_period.as_deref()));
        let due_after = faults.keep(self.span(&ROTATION_DUE_AFTER, args.rotation_due_after.as_deref()));
        let (Some((section, material)), Some(auth_method)) = (material, method) else { return Err(faults) };
        let details = Details { layers: self, material: &material, section, method: auth_method };
        let basic_encoding = faults.keep(details.basic_encoding(args));
        let assertion = faults.keep_all(details.assertion(args));
        match (basic_encoding, assertion, period, due_after) {
            (Some(basic_encoding), Some(assertion), Some(period), Some(rotation_due_after)) => {
                Ok(CredentialSettings {
                    material,
                    auth_method,
                    basic_encoding,
                    assertion,
                    period,
                    rotation_due_after,
                })
            }
            (_, _, _, _) => Err(faults),
        }
    }

    /// The method that is set, which has to go with the material.
    fn auth_method(
        &self,
        args: &CredentialArgs,
        material: Option<&Material>,
    ) -> Result<Option<ClientAuthMethod>, Failure> {
        let Some(found) = self.text(&AUTH_METHOD, args.auth_method.as_deref())? else { return Ok(None) };
        let method: ClientAuthMethod = found.parse()?;
        match material {
            Some(material) if !material.methods().contains(&method) => {
                let (kind, origin) = (material.kind(), &material.place().origin);
                let names: Vec<&str> = material.methods().iter().map(|method| method.as_str()).collect();
                let what = format!("{method} does not go with the {kind} that is set by {origin}");
                Err(found.origin.fault(&what).hint(format!("with a {kind} goes {}", names.join(" or "))))
            }
            Some(_) | None => Ok(Some(method)),
        }
    }

    fn span(
        &self,
        setting: &Setting<String>,
        flag: Option<&str>,
    ) -> Result<Option<Found<Duration>>, Failure> {
        let Some(found) = self.text(setting, flag)? else { return Ok(None) };
        let Lifespan(span) = found.parse()?;
        Ok(Some(Found { value: span, origin: found.origin }))
    }
}

/// How the material is used.
struct Details<'a> {
    layers: &'a ClientLayers<'a>,
    material: &'a Material,
    /// Where the material is set.
    section: Section,
    method: Option<ClientAuthMethod>,
}

/// Whether a setting is of use.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Use {
    Fits,
    Nothing,
}

impl Details<'_> {
    fn basic_encoding(&self, args: &CredentialArgs) -> Result<BasicEncoding, Failure> {
        let fits = match (self.material, self.method) {
            (Material::Secret { .. }, None | Some(ClientAuthMethod::ClientSecretBasic)) => Use::Fits,
            (_, _) => Use::Nothing,
        };
        let found = self.detail(&BASIC_ENCODING, args.basic_encoding.as_deref(), fits)?;
        let Some(found) = found else { return Ok(BasicEncoding::default()) };
        match found.value.as_str() {
            "form" => Ok(BasicEncoding::FormUrlEncoded),
            "raw" => Ok(BasicEncoding::Raw),
            _ => Err(found.origin.fault(&"it is form or raw")),
        }
    }

    fn assertion(&self, args: &CredentialArgs) -> Result<AssertionSettings, Faults> {
        let signs = match (self.material, self.method) {
            (Material::PrivateKey(_), _)
            | (Material::Secret { .. }, None | Some(ClientAuthMethod::ClientSecretJwt)) => Use::Fits,
            (Material::Secret { .. } | Material::Assertion(_) | Material::Certificate { .. }, _) => {
                Use::Nothing
            }
        };
        let has_key = match self.material {
            Material::PrivateKey(_) => Use::Fits,
            Material::Secret { .. } | Material::Assertion(_) | Material::Certificate { .. } => Use::Nothing,
        };
        let mut faults = Faults::default();
        let mut settings = AssertionSettings::default();
        let key_id = faults.keep(self.detail(&KEY_ID, args.key_id.as_deref(), has_key));
        let algorithm = self.detail(&ASSERTION_ALGORITHM, args.assertion_algorithm.as_deref(), signs);
        let algorithm = algorithm.and_then(|found| found.map(|found| found.parse()).transpose());
        let algorithm: Option<Option<AssertionAlgorithm>> = faults.keep(algorithm);
        let audience = self.detail(&ASSERTION_AUDIENCE, args.assertion_audience.as_deref(), signs);
        let audience = faults.keep(audience);
        let lifetime = faults.keep(self.lifetime(args, signs));
        let thumbprint = faults.keep(self.thumbprint(args, has_key));
        if let Some(found) = key_id.flatten() {
            settings = settings.key_id(found.value);
        }
        if let Some(algorithm) = algorithm.flatten() {
            settings = settings.algorithm(algorithm);
        }
        if let Some(found) = audience.flatten() {
            settings = settings.audience(found.value);
        }
        if let Some(lifetime) = lifetime.flatten() {
            settings = settings.lifetime(lifetime);
        }
        if thumbprint == Some(Thumbprint::Sent) {
            settings = settings.with_thumbprint();
        }
        if faults.is_empty() { Ok(settings) } else { Err(faults) }
    }

    fn lifetime(&self, args: &CredentialArgs, signs: Use) -> Result<Option<AssertionLifetime>, Failure> {
        let found = self.detail(&ASSERTION_LIFETIME, args.assertion_lifetime.as_deref(), signs)?;
        let Some(found) = found else { return Ok(None) };
        let Lifespan(lifetime) = found.parse()?;
        let lifetime = AssertionLifetime::new(lifetime);
        lifetime.map(Some).map_err(|_| found.origin.fault(&"it must be from 1s to 300s"))
    }

    fn thumbprint(&self, args: &CredentialArgs, has_key: Use) -> Result<Thumbprint, Failure> {
        let found = self.detail(&X5T_S256, args.x5t_s256.as_deref(), has_key)?;
        match found.as_ref().map(|found| (found.value.as_str(), &found.origin)) {
            None | Some(("false", _)) => Ok(Thumbprint::Omitted),
            Some(("true", _)) => Ok(Thumbprint::Sent),
            Some((_, origin)) => Err(origin.fault(&"it is true or false")),
        }
    }

    /// A setting, if it is of use. One that is of none is refused where it stands as near as the material, or nearer; what is further
    /// away is for other clients.
    fn detail<T: Value + Clone>(
        &self,
        setting: &Setting<T>,
        flag: Option<&str>,
        of: Use,
    ) -> Result<Option<Found<String>>, Failure> {
        match (self.layers.nearest(setting, flag)?, of) {
            (None, _) => Ok(None),
            (Some((_, found)), Use::Fits) => Ok(Some(found)),
            (Some((section, _)), Use::Nothing) if section > self.section => Ok(None),
            (Some((_, found)), Use::Nothing) => {
                Err(found.origin.fault(&format!("it has no use with {self}")))
            }
        }
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Thumbprint {
    Omitted,
    Sent,
}

impl fmt::Display for Details<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (kind, origin) = (self.material.kind(), &self.material.place().origin);
        write!(f, "the {kind} that is set by {origin}")?;
        self.method.map_or(Ok(()), |method| write!(f, " and {method}"))
    }
}
