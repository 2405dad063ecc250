//! The parameters of an answer as they stand in its body, whatever their types.

use super::MalformedAnswer;
use crate::secret::Secret;
use serde::de::{Deserialize, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::error::Category;
use std::fmt;

/// The parameters that count. Everything else in an answer is passed over without being kept.
#[derive(Default, serde::Deserialize)]
#[serde(default)]
pub(super) struct Parameters {
    pub(super) access_token: Parameter,
    pub(super) token_type: Parameter,
    pub(super) expires_in: Parameter,
    pub(super) scope: Parameter,
    pub(super) error: Parameter,
    pub(super) error_description: Parameter,
}

/// One parameter. A wrong type is a fault of that parameter alone, not of the whole answer.
#[derive(Default)]
pub(super) enum Parameter {
    /// Left out, or null.
    #[default]
    Missing,
    Text(Secret<String>),
    Number(f64),
    /// True, false, an array or an object, which are not kept: they could be as large as the answer.
    Other,
}

impl Parameters {
    pub(super) fn from_json(status: u16, body: &[u8]) -> Result<Self, MalformedAnswer> {
        serde_json::from_slice(body).map_err(|error| match error.classify() {
            Category::Eof => MalformedAnswer::CutShort { status },
            // Every type is taken, so a repetition is all that is left to be wrong with the data.
            Category::Data => MalformedAnswer::Repeated { status },
            Category::Syntax | Category::Io => {
                MalformedAnswer::Json { status, line: error.line(), column: error.column() }
            }
        })
    }

    /// The body as a form, when it has one of the names that make it an answer.
    pub(super) fn from_form(status: u16, body: &[u8]) -> Result<Self, MalformedAnswer> {
        let mut parameters = Self::default();
        let mut repeated = false;
        for (name, value) in form_urlencoded::parse(body) {
            let parameter = match name.as_ref() {
                "access_token" => &mut parameters.access_token,
                "token_type" => &mut parameters.token_type,
                "expires_in" | "expires" => &mut parameters.expires_in,
                "scope" => &mut parameters.scope,
                "error" => &mut parameters.error,
                "error_description" => &mut parameters.error_description,
                _ => continue,
            };
            repeated |= parameter.text().is_some();
            *parameter = Parameter::Text(Secret::new(value.into_owned()));
        }
        if parameters.access_token.text().or(parameters.error.text()).is_none() {
            return Err(MalformedAnswer::NeitherJsonNorForm { status });
        }
        if repeated { Err(MalformedAnswer::Repeated { status }) } else { Ok(parameters) }
    }
}

impl Parameter {
    pub(super) fn text(&self) -> Option<&str> {
        match self {
            Self::Text(text) => Some(text.expose()),
            Self::Missing | Self::Number(_) | Self::Other => None,
        }
    }

    /// The string, if there is one; any other type is a fault.
    pub(super) fn string(
        self,
        parameter: &'static str,
        status: u16,
    ) -> Result<Option<Secret<String>>, MalformedAnswer> {
        match self {
            Self::Missing => Ok(None),
            Self::Text(text) => Ok(Some(text)),
            Self::Number(_) | Self::Other => Err(MalformedAnswer::NotAString { status, parameter }),
        }
    }
}

impl<'de> Deserialize<'de> for Parameter {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(OfAnyType)
    }
}

struct OfAnyType;

impl<'de> Visitor<'de> for OfAnyType {
    type Value = Parameter;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("any JSON value")
    }

    fn visit_unit<E>(self) -> Result<Parameter, E> {
        Ok(Parameter::Missing)
    }

    fn visit_bool<E>(self, _: bool) -> Result<Parameter, E> {
        Ok(Parameter::Other)
    }

    #[allow(clippy::cast_precision_loss, reason = "a life of 2^53 seconds may be off by one")]
    fn visit_u64<E>(self, number: u64) -> Result<Parameter, E> {
        Ok(Parameter::Number(number as f64))
    }

    #[allow(clippy::cast_precision_loss, reason = "a life of 2^53 seconds may be off by one")]
    fn visit_i64<E>(self, number: i64) -> Result<Parameter, E> {
        Ok(Parameter::Number(number as f64))
    }

    fn visit_f64<E>(self, number: f64) -> Result<Parameter, E> {
        Ok(Parameter::Number(number))
    }

    fn visit_str<E>(self, text: &str) -> Result<Parameter, E> {
        Ok(Parameter::Text(Secret::from(text)))
    }

    fn visit_string<E>(self, text: String) -> Result<Parameter, E> {
        Ok(Parameter::Text(Secret::new(text)))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut elements: A) -> Result<Parameter, A::Error> {
        while elements.next_element::<IgnoredAny>()?.is_some() {}
        Ok(Parameter::Other)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<Parameter, A::Error> {
        while members.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
        Ok(Parameter::Other)
    }
}
