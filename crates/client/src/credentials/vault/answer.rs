//! What a Vault answers, as far as it is wanted. What it says beyond that is passed over.

use jeton_proto::secret::Secret;
use jeton_proto::time::Timestamp;
use jeton_proto::wire::error_response::printable;
use serde::Deserialize;
use serde::de::{Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};
use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

/// How much of a server's own words is told, in characters.
const TOLD_CHARS: usize = 100;
/// How many names of fields are told.
const TOLD_NAMES: usize = 8;
/// How much of a name is told, in characters.
const TOLD_NAME_CHARS: usize = 32;

/// The frame of every answer, around `data` or `auth`.
#[derive(Deserialize)]
pub(super) struct Frame<D> {
    pub(super) data: Option<D>,
    pub(super) auth: Option<Auth>,
    #[serde(default)]
    lease_id: Option<IsEmpty>,
}

impl<D> Frame<D> {
    /// Whether this was made for us, and has an end of its own.
    pub(super) fn is_dynamic(&self) -> bool {
        self.lease_id.as_ref().is_some_and(|id| !id.0)
    }
}

/// A token for Vault, as a login or a renewal answers it.
#[derive(Deserialize)]
pub(super) struct Auth {
    pub(super) client_token: Secret<String>,
    #[serde(rename = "lease_duration", default)]
    life_seconds: u64,
    #[serde(default)]
    pub(super) renewable: bool,
}

impl Auth {
    pub(super) fn life(&self) -> Duration {
        Duration::from_secs(self.life_seconds)
    }
}

/// What a token knows of itself.
#[derive(Deserialize)]
pub(super) struct TokenState {
    #[serde(rename = "ttl", default)]
    life_seconds: u64,
    #[serde(default)]
    pub(super) renewable: bool,
}

impl TokenState {
    pub(super) fn life(&self) -> Duration {
        Duration::from_secs(self.life_seconds)
    }
}

/// A secret of the key-value engine of version 2.
#[derive(Deserialize)]
pub(super) struct Versioned {
    pub(super) data: Option<Fields>,
    pub(super) metadata: Option<Metadata>,
}

/// What is known of a version.
#[derive(Deserialize)]
pub(super) struct Metadata {
    pub(super) version: Option<u64>,
    created_time: Option<String>,
    deletion_time: Option<String>,
    #[serde(default)]
    pub(super) destroyed: bool,
}

impl Metadata {
    /// When it was written.
    pub(super) fn created(&self) -> Option<Timestamp> {
        let created: jiff::Timestamp = self.created_time.as_ref()?.parse().ok()?;
        u64::try_from(created.as_millisecond()).ok().map(Timestamp::from_unix_millis)
    }

    /// Whether it has a time of deletion; where it is answered without its data, that has come.
    pub(super) fn is_deleted(&self) -> bool {
        self.deletion_time.as_ref().is_some_and(|time| !time.is_empty())
    }
}

/// The state of the seal, which is told to everyone.
#[derive(Deserialize)]
pub(super) struct SealStatus {
    pub(super) initialized: bool,
    pub(super) sealed: bool,
}

/// The fields of a secret. Whatever is no text in it is not kept.
#[derive(Deserialize)]
#[serde(transparent)]
pub(super) struct Fields(BTreeMap<String, Field>);

enum Field {
    Text(Secret<String>),
    Other,
}

/// Why a field is none.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum NoField {
    /// The names that there are.
    Missing {
        names: String,
    },
    NotText,
}

impl Fields {
    /// The field `name`; without a name the `default`, else the only one.
    pub(super) fn take(mut self, name: Option<&str>, default: &str) -> Result<Secret<String>, NoField> {
        let field = match name {
            Some(name) => self.0.remove(name),
            None if self.0.len() == 1 => self.0.pop_first().map(|(_, field)| field),
            None => self.0.remove(default),
        };
        match field {
            Some(Field::Text(text)) => Ok(text),
            Some(Field::Other) => Err(NoField::NotText),
            None => Err(NoField::Missing { names: self.names() }),
        }
    }

    fn names(&self) -> String {
        let name = |name: &String| printable(name).chars().take(TOLD_NAME_CHARS).collect::<String>();
        let mut names: Vec<String> = self.0.keys().take(TOLD_NAMES).map(name).collect();
        if self.0.len() > TOLD_NAMES {
            names.push(format!("{} more", self.0.len() - TOLD_NAMES));
        }
        if names.is_empty() { "no fields".to_owned() } else { names.join(", ") }
    }
}

/// By hand, because what is derived for such an enum keeps a copy that nobody wipes.
impl<'de> Deserialize<'de> for Field {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(FieldVisitor)
    }
}

struct FieldVisitor;

impl<'de> Visitor<'de> for FieldVisitor {
    type Value = Field;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value")
    }

    fn visit_str<E>(self, text: &str) -> Result<Field, E> {
        Ok(Field::Text(Secret::from(text)))
    }

    fn visit_bool<E>(self, _: bool) -> Result<Field, E> {
        Ok(Field::Other)
    }

    fn visit_i64<E>(self, _: i64) -> Result<Field, E> {
        Ok(Field::Other)
    }

    fn visit_u64<E>(self, _: u64) -> Result<Field, E> {
        Ok(Field::Other)
    }

    fn visit_f64<E>(self, _: f64) -> Result<Field, E> {
        Ok(Field::Other)
    }

    fn visit_unit<E>(self) -> Result<Field, E> {
        Ok(Field::Other)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Field, A::Error> {
        while items.next_element::<IgnoredAny>()?.is_some() {}
        Ok(Field::Other)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Field, A::Error> {
        while entries.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
        Ok(Field::Other)
    }
}

/// Whether a text is empty; the id of a lease is a right to it, and not kept.
struct IsEmpty(bool);

impl<'de> Deserialize<'de> for IsEmpty {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Secret::<String>::deserialize(deserializer).map(|text| Self(text.expose().is_empty()))
    }
}

/// What a server says about a refusal.
#[derive(Default, Deserialize)]
struct Told {
    errors: Option<Vec<String>>,
    warnings: Option<Vec<String>>,
}

/// The words of a refusal, fit to be shown.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Words(String);

impl Words {
    /// Those in `body`, or none: of what is not Vault's, and of what repeats one of `secrets`.
    pub(super) fn of(body: &[u8], secrets: &[&Secret<String>]) -> Self {
        let told: Told = serde_json::from_slice(body).unwrap_or_default();
        let told: Vec<String> = told.errors.into_iter().chain(told.warnings).flatten().collect();
        let told = told.join("; ");
        let repeats =
            |secret: &&Secret<String>| !secret.expose().is_empty() && told.contains(secret.expose());
        if secrets.iter().any(repeats) {
            return Self::default();
        }
        let words: Vec<&str> = told.split_whitespace().collect();
        Self(printable(&words.join(" ")))
    }

    pub(super) fn contain(&self, text: &str) -> bool {
        self.0.contains(text)
    }
}

/// `: it says …`, or nothing.
impl fmt::Display for Words {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.is_empty() {
            return Ok(());
        }
        let told: String = self.0.chars().take(TOLD_CHARS).collect();
        write!(f, "; it says \"{told}\"")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fields(json: &str) -> Fields {
        serde_json::from_str(json).unwrap()
    }

    fn taken(json: &str, name: Option<&str>) -> Result<String, NoField> {
        fields(json).take(name, "client_secret").map(|secret| secret.expose().clone())
    }

    #[test]
    fn a_field_is_the_named_one_or_the_default_or_the_only_one() {
        let two = r#"{"client_secret":"a\u00e9","key":"b"}"#;
        assert_eq!(taken(two, None), Ok("aé".to_owned()));
        assert_eq!(taken(two, Some("key")), Ok("b".to_owned()));
        assert_eq!(taken(r#"{"key":"b"}"#, None), Ok("b".to_owned()));
        let missing = |names: &str| Err(NoField::Missing { names: names.to_owned() });
        assert_eq!(taken(r#"{"key":"b","other":1}"#, None), missing("key, other"));
        assert_eq!(taken(r#"{"key":"b"}"#, Some("client_secret")), missing("key"));
        assert_eq!(taken("{}", None), missing("no fields"));
        let many: BTreeMap<String, u8> =
            (0..30).map(|it| (format!("{it:02}\n{}", "x".repeat(99)), 0)).collect();
        let Err(NoField::Missing { names }) = taken(&serde_json::to_string(&many).unwrap(), None) else {
            panic!("there is no such field");
        };
        assert!(names.starts_with("00?xxx") && names.ends_with(", 22 more") && names.len() < 300, "{names}");
    }

    #[test]
    fn what_is_no_text_is_no_secret() {
        for value in ["1", "-1", "1.5", "true", "null", "[1,[2]]", r#"{"a":{"b":1}}"#] {
            assert_eq!(
                taken(&format!(r#"{{"client_secret":{value}}}"#), None),
                Err(NoField::NotText),
                "{value}"
            );
        }
    }

    #[test]
    fn a_version_knows_its_time_and_its_end() {
        let metadata: Metadata = serde_json::from_str(
            r#"{"created_time":"2026-11-29T15:03:27.415089637Z","custom_metadata":null,"deletion_time":"","destroyed":false,
                "version":2}"#,
        )
        .unwrap();
        assert_eq!(metadata.created(), Some(Timestamp::from_unix_millis(1_795_964_607_415)));
        assert!(!metadata.is_deleted() && metadata.version == Some(2));
        let bare: Metadata = serde_json::from_str(r#"{"created_time":"yesterday"}"#).unwrap();
        assert_eq!((bare.created(), bare.is_deleted()), (None, false));
    }

    #[test]
    fn t34_the_words_of_a_server_are_cleaned_and_never_repeat_a_secret() {
        let body = br#"{"errors":["1 error occurred:\n\t* permission denied\n\n", "\u001b[2Jcanary"],"warnings":null}"#;
        let words = Words::of(body, &[&Secret::from("other")]);
        assert_eq!(words.to_string(), "; it says \"1 error occurred: * permission denied ; ?[2Jcanary\"");
        assert!(words.contain("permission denied"));
        assert_eq!(Words::of(body, &[&Secret::from("canary")]), Words::default());
        for other in [&b""[..], b"<html>", b"{}", br#"{"errors":[]}"#, br#"{"errors":"x"}"#] {
            assert_eq!(Words::of(other, &[]).to_string(), "");
        }
        let long = format!(r#"{{"errors":["{}"]}}"#, "x".repeat(10_000));
        assert!(Words::of(long.as_bytes(), &[]).to_string().len() < 120);
    }

    #[test]
    fn what_was_made_for_us_is_known_by_its_lease() {
        let is_dynamic = |json: &str| serde_json::from_str::<Frame<Fields>>(json).unwrap().is_dynamic();
        assert!(is_dynamic(r#"{"lease_id":"database/creds/a/b","data":{"username":"u"}}"#));
        assert!(!is_dynamic(r#"{"lease_id":"","data":{}}"#) && !is_dynamic(r#"{"lease_id":null}"#));
        assert!(!is_dynamic("{}"));
    }
}
