//! Private keys where public ones are wanted.

use serde_json::Value;
use std::fmt;

/// The members that only the owner of a key may have: of RFC 7518 §6.2.2, §6.3.2 and §6.4, RFC 8037 §2, and `priv` of the post-quantum keys (`kty` `AKP`).
const PRIVATE_MEMBERS: [&str; 9] = ["d", "p", "q", "dp", "dq", "qi", "oth", "k", "priv"];

/// A private or symmetric key in a JWK Set that is to have public keys. It says where, and nothing of the key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PrivateKey {
    /// The place of the key in `keys`, from 1; `None` where the set itself has the member.
    pub position: Option<usize>,
    /// The member that makes it private, `d` say.
    pub member: &'static str,
}

impl PrivateKey {
    /// The first one of a JWK Set. A member with such a name counts wherever it is, also inside another one.
    #[must_use]
    pub fn first_of(set: &Value) -> Option<Self> {
        let members = set.as_object()?;
        let of_a_key = members.get("keys").and_then(Value::as_array).and_then(|keys| {
            keys.iter().enumerate().find_map(|(index, key)| {
                private_member(key).map(|member| Self { position: Some(index + 1), member })
            })
        });
        of_a_key.or_else(|| private_member(set).map(|member| Self { position: None, member }))
    }

    /// Takes whatever is private out of a JWK Set, each key as a whole. Whether there was any.
    pub fn take_out_of(set: &mut Value) -> bool {
        if Self::first_of(set).is_none() {
            return false;
        }
        if let Some(keys) = set.get_mut("keys").and_then(Value::as_array_mut) {
            keys.retain(|key| private_member(key).is_none());
        }
        if let Some(members) = set.as_object_mut() {
            members.retain(|name, value| named_private(name).or_else(|| private_member(value)).is_none());
        }
        true
    }
}

impl fmt::Display for PrivateKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.position {
            Some(position) => {
                write!(f, "key {position} of the jwks has the private member \"{}\"", self.member)
            }
            None => write!(f, "the jwks has the private member \"{}\"", self.member),
        }
    }
}

/// The first private member of `value`, at any depth. No JSON is deeper than its parser allows.
pub(super) fn private_member(value: &Value) -> Option<&'static str> {
    match value {
        Value::Object(members) => {
            members.iter().find_map(|(name, value)| named_private(name).or_else(|| private_member(value)))
        }
        Value::Array(values) => values.iter().find_map(private_member),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => None,
    }
}

fn named_private(name: &str) -> Option<&'static str> {
    PRIVATE_MEMBERS.into_iter().find(|private| *private == name)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn public(kid: &str) -> Value {
        json!({ "kty": "OKP", "crv": "Ed25519", "kid": kid, "x": "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo" })
    }

    #[test]
    fn every_private_member_is_found_at_its_place_and_its_key_is_taken_out() {
        for member in PRIVATE_MEMBERS {
            let mut private = public("b");
            private[member] = json!("canary");
            let mut set = json!({ "keys": [public("a"), private] });
            let found = PrivateKey::first_of(&set);
            assert_eq!(found, Some(PrivateKey { position: Some(2), member }));
            assert!(!found.unwrap().to_string().contains("canary"));
            assert!(PrivateKey::take_out_of(&mut set));
            assert_eq!(set, json!({ "keys": [public("a")] }), "{member}");
        }
    }

    #[test]
    fn a_private_member_counts_wherever_it_is() {
        let inside = json!({ "keys": [public("a")], "d": "canary" });
        let deeper = json!({ "keys": [public("a")], "pair": [{ "private": { "d": "canary" } }] });
        for mut set in [inside, deeper] {
            assert_eq!(PrivateKey::first_of(&set), Some(PrivateKey { position: None, member: "d" }), "{set}");
            assert!(PrivateKey::take_out_of(&mut set));
            assert_eq!(set, json!({ "keys": [public("a")] }));
        }
        let mut nested = json!({ "keys": [{ "kty": "OKP", "pair": { "d": "canary" } }] });
        assert_eq!(PrivateKey::first_of(&nested), Some(PrivateKey { position: Some(1), member: "d" }));
        assert!(PrivateKey::take_out_of(&mut nested));
        assert_eq!(nested, json!({ "keys": [] }));
    }

    #[test]
    fn a_public_set_is_left_as_it_is() {
        for set in
            [json!({ "keys": [public("d"), public("k")] }), json!({}), json!([]), json!({ "keys": "d" })]
        {
            let mut kept = set.clone();
            assert_eq!(PrivateKey::first_of(&set), None);
            assert!(!PrivateKey::take_out_of(&mut kept));
            assert_eq!(kept, set);
        }
    }
}
