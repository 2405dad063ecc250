//! Scope sets (RFC 6749 §3.3).

use std::fmt;
use std::str::FromStr;

/// The longest scope string that is parsed, in bytes.
pub const MAX_SCOPE_BYTES: usize = 8192;

/// A set of scope tokens: case-sensitive, without duplicates, in sorted order.
///
/// RFC 6749 §3.3: the order of scope tokens has no meaning, so two sets with the same tokens are the same scope.
/// An empty set is not the same as no scope at all, which is `Option::None` wherever a scope may be left out.
///
/// ```
/// use jeton_proto::wire::scope::Scope;
///
/// let scope: Scope = "write read read".parse()?;
/// assert_eq!(scope.to_string(), "read write");
/// assert!(scope.contains("read"));
/// # Ok::<(), jeton_proto::wire::scope::InvalidScope>(())
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Scope {
    tokens: Vec<Box<str>>,
}

impl Scope {
    /// The set without any token.
    #[must_use]
    pub const fn empty() -> Self {
        Self { tokens: Vec::new() }
    }

    /// The set of `tokens`. Each must be a `scope-token` of RFC 6749 §3.3.
    pub fn from_tokens<I>(tokens: I) -> Result<Self, InvalidScope>
    where
        I: IntoIterator,
        I::Item: AsRef<str>,
    {
        let mut sorted = Vec::new();
        for token in tokens {
            let token = token.as_ref();
            check_token(token)?;
            sorted.push(Box::from(token));
        }
        sorted.sort_unstable();
        sorted.dedup();
        Ok(Self { tokens: sorted })
    }

    /// Whether the set has no token.
    pub fn is_empty(&self) -> bool {
        self.tokens.is_empty()
    }

    /// How many tokens the set has.
    pub fn len(&self) -> usize {
        self.tokens.len()
    }

    /// Whether `token` is in the set.
    pub fn contains(&self, token: &str) -> bool {
        self.tokens.binary_search_by(|held| held.as_ref().cmp(token)).is_ok()
    }

    /// Whether every token of this set is in `other`.
    pub fn is_subset_of(&self, other: &Self) -> bool {
        self.tokens.iter().all(|token| other.contains(token))
    }

    /// The tokens in sorted order, with a space between them: what `to_string` gives, in one piece of memory.
    #[must_use]
    pub fn to_text(&self) -> String {
        let bytes: usize = self.tokens.iter().map(|token| token.len() + 1).sum();
        let mut text = String::with_capacity(bytes);
        for token in &self.tokens {
            if !text.is_empty() {
                text.push(' ');
            }
            text.push_str(token);
        }
        text
    }

    /// The tokens in sorted order.
    pub fn tokens(&self) -> impl ExactSizeIterator<Item = &str> {
        self.tokens.iter().map(AsRef::as_ref)
    }
}

/// Parses a space-delimited list. Runs of spaces and spaces at the ends are taken as one delimiter, because servers
/// send them; every other deviation from RFC 6749 §3.3 is refused.
impl FromStr for Scope {
    type Err = InvalidScope;

    fn from_str(text: &str) -> Result<Self, InvalidScope> {
        if text.len() > MAX_SCOPE_BYTES {
            return Err(InvalidScope::TooLong { bytes: text.len() });
        }
        Self::from_tokens(text.split(' ').filter(|token| !token.is_empty()))
    }
}

impl fmt::Display for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (position, token) in self.tokens.iter().enumerate() {
            if position > 0 {
                f.write_str(" ")?;
            }
            f.write_str(token)?;
        }
        Ok(())
    }
}

/// Why a text is no scope.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidScope {
    /// A scope token without a character.
    #[error("a scope token is empty")]
    EmptyToken,
    /// A character outside `%x21 / %x23-5B / %x5D-7E`.
    #[error("a scope token has a character that RFC 6749 section 3.3 does not allow, at byte {at}")]
    Character {
        /// The offset of the character in its token.
        at: usize,
    },
    /// More than [`MAX_SCOPE_BYTES`].
    #[error("the scope is {bytes} bytes long, the limit is {MAX_SCOPE_BYTES}")]
    TooLong {
        /// The length found.
        bytes: usize,
    },
}

fn check_token(token: &str) -> Result<(), InvalidScope> {
    if token.is_empty() {
        return Err(InvalidScope::EmptyToken);
    }
    let allowed = |byte: u8| matches!(byte, 0x21 | 0x23..=0x5B | 0x5D..=0x7E);
    match token.bytes().position(|byte| !allowed(byte)) {
        Some(at) => Err(InvalidScope::Character { at }),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn t20_order_and_repetition_do_not_matter_but_case_does() {
        let parse = |text: &str| text.parse::<Scope>().unwrap();
        assert_eq!(parse("b a b"), parse("a b"));
        assert_ne!(parse("A"), parse("a"));
        assert_eq!(parse("  a   b "), parse("a b"));
    }

    #[test]
    fn characters_outside_the_grammar_are_refused() {
        for bad in ["a\"b", "a\\b", "a\tb", "a\nb", "é", "a\u{0}", "\u{7f}"] {
            assert!(bad.parse::<Scope>().is_err(), "{bad:?}");
        }
        assert_eq!("ab\"".parse::<Scope>(), Err(InvalidScope::Character { at: 2 }));
        assert!(matches!("a".repeat(9000).parse::<Scope>(), Err(InvalidScope::TooLong { bytes: 9000 })));
        assert_eq!(Scope::from_tokens([""]), Err(InvalidScope::EmptyToken));
    }

    proptest! {
        #[test]
        fn what_is_rendered_parses_to_the_same(tokens in proptest::collection::vec("[!#-\\[\\]-~]{1,8}", 0..6)) {
            let scope = Scope::from_tokens(&tokens).unwrap();
            prop_assert_eq!(scope.to_string().parse::<Scope>().unwrap(), scope.clone());
            prop_assert_eq!(scope.to_text(), scope.to_string());
            for token in &tokens {
                prop_assert!(scope.contains(token));
            }
        }
    }
}
