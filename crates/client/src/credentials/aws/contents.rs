//! The secret in what Secrets Manager keeps: the whole string, or a member of the JSON object that it is.

use super::AwsPlace;
use crate::credentials::content;
use crate::credentials::source::{SourceFault, SourceFaultKind};
use aws_sdk_secretsmanager::operation::get_secret_value::GetSecretValueOutput;
use jeton_proto::secret::Secret;
use serde::de::{IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};
use std::collections::BTreeMap;
use std::fmt;

/// How many names of members are told.
const MEMBERS_TOLD: usize = 10;

/// The secret that `place` names in this answer, without the line break that editors leave behind.
pub(super) fn secret(place: &AwsPlace, answer: GetSecretValueOutput) -> Result<Secret<String>, SourceFault> {
    content::secret(place, named(place, answer)?.expose().as_bytes())
}

fn named(place: &AwsPlace, answer: GetSecretValueOutput) -> Result<Secret<String>, SourceFault> {
    let malformed = |what: String| SourceFault::new(SourceFaultKind::Malformed, place, what);
    let is_binary = answer.secret_binary().is_some();
    let Some(text) = answer.secret_string.map(Secret::new) else {
        return Err(if is_binary {
            malformed("it is binary, and a client secret is text".to_owned())
        } else {
            SourceFault::of_nothing(place)
        });
    };
    let members = members(&text);
    match (&place.field, members) {
        (None, None) => Ok(text),
        (None, Some(members)) => Err(malformed(format!(
            "it is a JSON object; write which member is meant, as in aws:{}#MEMBER; {}",
            place.secret_id,
            told(&members)
        ))),
        (Some(_), None) => Err(malformed("it is no JSON object, so that no member can be named".to_owned())),
        (Some(field), Some(mut members)) => match members.remove(field) {
            Some(Member::Text(secret)) => Ok(secret),
            Some(Member::Other) => Err(malformed("the member is no text".to_owned())),
            None => Err(malformed(format!("there is no such member; {}", told(&members)))),
        },
    }
}

/// A member of an object.
enum Member {
    Text(Secret<String>),
    Other,
}

/// By hand, since what serde derives for either of two forms keeps a copy that nobody wipes.
impl<'de> Deserialize<'de> for Member {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(MemberVisitor)
    }
}

struct MemberVisitor;

impl<'de> Visitor<'de> for MemberVisitor {
    type Value = Member;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a member")
    }

    fn visit_str<E>(self, text: &str) -> Result<Member, E> {
        Ok(Member::Text(Secret::from(text)))
    }

    fn visit_bool<E>(self, _: bool) -> Result<Member, E> {
        Ok(Member::Other)
    }

    fn visit_i64<E>(self, _: i64) -> Result<Member, E> {
        Ok(Member::Other)
    }

    fn visit_u64<E>(self, _: u64) -> Result<Member, E> {
        Ok(Member::Other)
    }

    fn visit_f64<E>(self, _: f64) -> Result<Member, E> {
        Ok(Member::Other)
    }

    fn visit_unit<E>(self) -> Result<Member, E> {
        Ok(Member::Other)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, sequence: A) -> Result<Member, A::Error> {
        IgnoredAny.visit_seq(sequence).map(|_| Member::Other)
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Member, A::Error> {
        IgnoredAny.visit_map(map).map(|_| Member::Other)
    }
}

fn members(text: &Secret<String>) -> Option<BTreeMap<String, Member>> {
    serde_json::from_str(text.expose()).ok()
}

fn told(members: &BTreeMap<String, Member>) -> String {
    let names: Vec<&str> = members.keys().take(MEMBERS_TOLD).map(String::as_str).collect();
    match names.len() {
        0 => "it has none".to_owned(),
        told if told < members.len() => {
            format!("it has {} and {} more", names.join(", "), members.len() - told)
        }
        _ => format!("it has {}", names.join(", ")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(place: &str, text: &str) -> Result<String, String> {
        let answer = GetSecretValueOutput::builder().secret_string(text).build();
        secret(&place.parse().unwrap(), answer)
            .map(|secret| secret.expose().clone())
            .map_err(|fault| fault.to_string())
    }

    #[test]
    fn a_string_is_taken_whole_and_an_object_by_its_member() {
        assert_eq!(read("a", "canary\n").as_deref(), Ok("canary"));
        // What only looks like JSON is a secret like any other.
        assert_eq!(read("a", r#"["canary"]"#).as_deref(), Ok(r#"["canary"]"#));
        assert_eq!(read("a", "12345").as_deref(), Ok("12345"));
        assert_eq!(read("a", r#"{"canary"#).as_deref(), Ok(r#"{"canary"#));
        assert_eq!(
            read("a#k", r#"{"k":"can\u0061ry","n":1,"f":1.5,"z":null,"b":true,"o":{"k":"x"}}"#).as_deref(),
            Ok("canary")
        );
    }

    #[test]
    fn what_does_not_fit_is_told_with_names_and_without_values() {
        let object = r#"{"id":"canary","secret":"canary","n":1,"o":{"canary":"canary"},"l":["canary"]}"#;
        for (place, text, told) in [
            ("a", object, "write which member is meant, as in aws:a#MEMBER; it has id, l, n, o, secret"),
            ("a#x", object, "there is no such member; it has id, l, n, o, secret"),
            ("a#n", object, "the member is no text"),
            ("a#o", object, "the member is no text"),
            ("a#l", object, "the member is no text"),
            ("a#x", "canary", "it is no JSON object"),
            ("a#x", "{}", "it has none"),
            ("a#x", r#"{"x":""}"#, "it is empty"),
            ("a", "\n", "it is empty"),
        ] {
            let fault = read(place, text).unwrap_err();
            assert!(fault.contains(told) && !fault.contains("canary"), "{place}: {fault}");
        }
    }
}
