//! A JSON object in which no member name is repeated, at any depth.
//!
//! RFC 7515 §4 and RFC 7519 §4 let a parser either refuse repeated names or take the last one. Two parsers that choose
//! differently read two different tokens out of one signature, so they are refused here.

use serde::de::{DeserializeSeed, Deserializer, Error, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Number, Value};
use std::fmt;

/// Reads `bytes` as one JSON object and nothing after it, in which no member name is repeated at any depth.
///
/// # Errors
/// An [`InvalidJson`], which has nothing of the bytes in it.
pub fn parse_object(bytes: &[u8]) -> Result<Map<String, Value>, InvalidJson> {
    let mut input = serde_json::Deserializer::from_slice(bytes);
    let value = UniqueMembers.deserialize(&mut input).map_err(|error| InvalidJson::from_serde(&error))?;
    input.end().map_err(|error| InvalidJson::from_serde(&error))?;
    match value {
        Value::Object(members) => Ok(members),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Array(_) => {
            Err(InvalidJson::NotAnObject)
        }
    }
}

/// Why bytes are no JSON object of the strict kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidJson {
    /// The bytes are JSON, but no object.
    #[error("is JSON, but not an object")]
    NotAnObject,
    /// A member name occurs twice in one object.
    #[error("repeats a member name, at line {line} column {column}")]
    RepeatedMember {
        /// The line, from 1.
        line: usize,
        /// The column, from 1.
        column: usize,
    },
    /// The bytes are not JSON, not UTF-8, nested too deeply, or have a number that cannot be held.
    #[error("is not valid JSON, at line {line} column {column}")]
    Syntax {
        /// The line, from 1.
        line: usize,
        /// The column, from 1.
        column: usize,
    },
}

impl InvalidJson {
    fn from_serde(error: &serde_json::Error) -> Self {
        let (line, column) = (error.line(), error.column());
        // The visitor takes every type there is, so the only objection it can have is a repeated name.
        if error.is_data() { Self::RepeatedMember { line, column } } else { Self::Syntax { line, column } }
    }
}

/// Builds a [`Value`] like `serde_json` does, but objects to repeated names.
struct UniqueMembers;

impl<'de> DeserializeSeed<'de> for UniqueMembers {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for UniqueMembers {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_unit<E: Error>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E: Error>(self, value: bool) -> Result<Value, E> {
        Ok(Value::Bool(value))
    }

    fn visit_i64<E: Error>(self, value: i64) -> Result<Value, E> {
        Ok(Value::from(value))
    }

    fn visit_u64<E: Error>(self, value: u64) -> Result<Value, E> {
        Ok(Value::from(value))
    }

    fn visit_f64<E: Error>(self, value: f64) -> Result<Value, E> {
        Ok(Number::from_f64(value).map_or(Value::Null, Value::Number))
    }

    fn visit_str<E: Error>(self, value: &str) -> Result<Value, E> {
        Ok(Value::String(value.to_owned()))
    }

    fn visit_string<E: Error>(self, value: String) -> Result<Value, E> {
        Ok(Value::String(value))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut elements: A) -> Result<Value, A::Error> {
        let mut array = Vec::new();
        while let Some(element) = elements.next_element_seed(Self)? {
            array.push(element);
        }
        Ok(Value::Array(array))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<Value, A::Error> {
        let mut object = Map::new();
        while let Some(name) = members.next_key::<String>()? {
            let value = members.next_value_seed(Self)?;
            if object.insert(name, value).is_some() {
                return Err(A::Error::custom("repeated member"));
            }
        }
        Ok(Value::Object(object))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn t43_a_repeated_member_is_refused_at_any_depth() {
        for bad in [
            r#"{"a":1,"a":1}"#,
            r#"{"a":{"b":1,"b":2}}"#,
            r#"{"a":[{"b":1,"b":2}]}"#,
            // The same name written with an escape.
            "{\"a\":1,\"\\u0061\":2}",
        ] {
            assert!(matches!(parse_object(bad.as_bytes()), Err(InvalidJson::RepeatedMember { .. })), "{bad}");
        }
        assert!(parse_object(br#"{"a":{"b":1},"b":{"b":1}}"#).is_ok());
    }

    #[test]
    fn t43_what_is_no_json_object_is_refused() {
        for bad in ["[]", "1", "null", "\"a\"", "true"] {
            assert_eq!(parse_object(bad.as_bytes()), Err(InvalidJson::NotAnObject), "{bad}");
        }
        let deep = format!("{{\"a\":{}{}}}", "[".repeat(5000), "]".repeat(5000));
        for bad in [
            "",
            "{",
            "{}{}",
            "{} x",
            "{\"a\":NaN}",
            "{\"a\":1e999}",
            "{'a':1}",
            "{\"a\":1,}",
            "\u{feff}{}",
            &deep,
        ] {
            assert!(matches!(parse_object(bad.as_bytes()), Err(InvalidJson::Syntax { .. })), "{bad:.40}");
        }
        assert!(matches!(parse_object(b"{\"a\":\"\xff\"}"), Err(InvalidJson::Syntax { .. })));
    }

    proptest! {
        #[test]
        fn any_bytes_are_answered(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            if let Ok(members) = parse_object(&bytes) {
                prop_assert_eq!(Value::Object(members), serde_json::from_slice::<Value>(&bytes).unwrap());
            }
        }

        #[test]
        fn an_object_without_repetition_reads_as_serde_json_reads_it(
            members in proptest::collection::btree_map("\\PC{0,8}", "\\PC{0,8}", 0..8),
            number in any::<f64>(),
        ) {
            let mut object: Map<String, Value> =
                members.into_iter().map(|(name, value)| (name, Value::String(value))).collect();
            object.insert("nested".to_owned(), serde_json::json!([null, true, -1, u64::MAX, number, {"x": {}}]));
            let bytes = serde_json::to_vec(&object).unwrap();
            prop_assert_eq!(parse_object(&bytes).unwrap(), serde_json::from_slice::<Map<String, Value>>(&bytes).unwrap());
        }
    }
}
