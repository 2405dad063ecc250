//! Distinguished names as RFC 4514 writes them, and as certificates have them.

/// An attribute: the object identifier of its type, in dots, and its text.
pub(in crate::jose) type Attribute = (String, String);

/// The names of attribute types: RFC 4514 §3, and those that tools write besides.
const TYPES: [(&str, &str); 15] = [
    ("CN", "2.5.4.3"),
    ("SN", "2.5.4.4"),
    ("SERIALNUMBER", "2.5.4.5"),
    ("C", "2.5.4.6"),
    ("L", "2.5.4.7"),
    ("ST", "2.5.4.8"),
    ("STREET", "2.5.4.9"),
    ("O", "2.5.4.10"),
    ("OU", "2.5.4.11"),
    ("TITLE", "2.5.4.12"),
    ("GN", "2.5.4.42"),
    ("UID", "0.9.2342.19200300.100.1.1"),
    ("DC", "0.9.2342.19200300.100.1.25"),
    ("EMAILADDRESS", "1.2.840.113549.1.9.1"),
    ("E", "1.2.840.113549.1.9.1"),
];

/// A distinguished name: relative names from the most general to the most special, each with its attributes in order.
///
/// Two are equal when each attribute has the same type and the same text, letter by letter. RFC 4517 lets most texts differ
/// in case and spaces; a name that is to be believed is better taken as it was written.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DistinguishedName(Vec<Vec<Attribute>>);

impl DistinguishedName {
    /// Reads what RFC 4514 §3 has: `CN=worker,OU=Orders+L=Bern,O=Example\, Inc.,C=CH`. Types are short names in any case,
    /// or object identifiers in dots; `,`, `+`, `"`, `\`, `<`, `>` and `;` in a text have a `\` before them, and any byte may be
    /// `\` and two hexadecimal digits. Spaces around a type or a text do not count.
    ///
    /// # Errors
    /// [`InvalidDistinguishedName`] for everything else, texts in `#` and hexadecimal digits among it.
    pub fn parse(text: &str) -> Result<Self, InvalidDistinguishedName> {
        let mut relative_names = vec![Vec::new()];
        let mut rest = text;
        loop {
            let (kind, after) = rest.split_once('=').ok_or(InvalidDistinguishedName)?;
            let kind = type_of(kind.trim_matches(' ')).ok_or(InvalidDistinguishedName)?;
            let (value, divider, after) = value(after)?;
            let attributes = relative_names.last_mut().ok_or(InvalidDistinguishedName)?;
            attributes.push((kind, value));
            match divider {
                Some(',') => relative_names.push(Vec::new()),
                Some(_plus) => {}
                None => break,
            }
            rest = after;
        }
        // RFC 4514 §2.1: the text begins with what the certificate ends with.
        relative_names.reverse();
        Ok(Self::new(relative_names))
    }

    /// The name of these attributes, from the most general relative name to the most special.
    pub(in crate::jose) fn new(mut relative_names: Vec<Vec<Attribute>>) -> Self {
        for attributes in &mut relative_names {
            attributes.sort_unstable();
        }
        Self(relative_names)
    }
}

/// A text is no distinguished name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a distinguished name is written as RFC 4514 has it: CN=worker,OU=Orders,O=Example,C=CH")]
pub struct InvalidDistinguishedName;

fn type_of(name: &str) -> Option<String> {
    let known = TYPES.iter().find(|(short, _)| short.eq_ignore_ascii_case(name));
    let numeric = || {
        let numbers = name.split('.').all(|number| {
            !number.is_empty()
                && number.bytes().all(|byte| byte.is_ascii_digit())
                && (number == "0" || !number.starts_with('0'))
        });
        (numbers && name.contains('.')).then(|| name.to_owned())
    };
    known.map(|(_, identifier)| (*identifier).to_owned()).or_else(numeric)
}

/// The text of an attribute, the divider after it, and what follows that.
fn value(text: &str) -> Result<(String, Option<char>, &str), InvalidDistinguishedName> {
    let mut bytes = Vec::new();
    // Spaces at the end do not count, unless a `\` is before them.
    let mut kept = 0;
    let mut rest = text.trim_start_matches(' ');
    if rest.starts_with('#') {
        return Err(InvalidDistinguishedName);
    }
    let divider = loop {
        let mut characters = rest.chars();
        let Some(character) = characters.next() else { break None };
        rest = characters.as_str();
        match character {
            ',' | '+' => break Some(character),
            '"' | '<' | '>' | ';' => return Err(InvalidDistinguishedName),
            '\\' => {
                rest = escaped(rest, &mut bytes)?;
                kept = bytes.len();
            }
            plain => {
                bytes.extend_from_slice(plain.encode_utf8(&mut [0; 4]).as_bytes());
                if plain != ' ' {
                    kept = bytes.len();
                }
            }
        }
    };
    bytes.truncate(kept);
    let value = String::from_utf8(bytes).map_err(|_| InvalidDistinguishedName)?;
    if value.is_empty() || value.contains('\0') {
        Err(InvalidDistinguishedName)
    } else {
        Ok((value, divider, rest))
    }
}

/// What stands after a `\`.
fn escaped<'t>(text: &'t str, bytes: &mut Vec<u8>) -> Result<&'t str, InvalidDistinguishedName> {
    if let Some((digits, rest)) = text.split_at_checked(2)
        && let Ok(byte) = u8::from_str_radix(digits, 16)
        && digits.bytes().all(|digit| digit.is_ascii_hexdigit())
    {
        bytes.push(byte);
        return Ok(rest);
    }
    let mut characters = text.chars();
    match characters.next() {
        Some(special @ (' ' | '"' | '#' | '+' | ',' | ';' | '<' | '=' | '>' | '\\')) => {
            bytes.extend_from_slice(special.encode_utf8(&mut [0; 4]).as_bytes());
            Ok(characters.as_str())
        }
        Some(_) | None => Err(InvalidDistinguishedName),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn parsed(text: &str) -> DistinguishedName {
        DistinguishedName::parse(text).unwrap_or_else(|error| panic!("{text}: {error}"))
    }

    #[test]
    fn the_examples_of_rfc_4514_are_read() {
        let name = parsed(r"UID=jsmith,DC=example,DC=net");
        assert_eq!(name.0[0], [("0.9.2342.19200300.100.1.25".to_owned(), "net".to_owned())]);
        assert_eq!(name.0.len(), 3);
        assert_eq!(parsed(r"OU=Sales+CN=J.  Smith,DC=example,DC=net").0[2].len(), 2);
        let inc = parsed(r#"CN=James \"Jim\" Smith\, III,DC=example,DC=net"#);
        assert_eq!(inc.0[2][0].1, r#"James "Jim" Smith, III"#);
        assert_eq!(parsed(r"CN=Before\0dAfter,DC=example,DC=net").0[2][0].1, "Before\rAfter");
        assert_eq!(parsed(r"CN=Lu\C4\8Di\C4\87").0[0][0].1, "Lučić");
        assert!(DistinguishedName::parse("1.3.6.1.4.1.1466.0=#04024869").is_err(), "no text");
        assert_eq!(parsed("1.3.6.1.4.1.1466.0=Hi").0[0][0].0, "1.3.6.1.4.1.1466.0");
    }

    #[test]
    fn what_is_written_differently_is_the_same_name_and_what_is_another_is_not() {
        let name = parsed("CN=worker,OU=Orders+L=Bern,O=Example,C=CH");
        for same in [
            "cn=worker, ou=Orders + l=Bern, o=Example, c=CH",
            "2.5.4.3=worker,L=Bern+OU=Orders,O=Ex\\61mple,C=CH",
            "CN = worker ,OU=Orders+L=Bern,O=Example,C=CH",
        ] {
            assert_eq!(parsed(same), name, "{same}");
        }
        for other in [
            "CN=Worker,OU=Orders+L=Bern,O=Example,C=CH",
            "C=CH,O=Example,OU=Orders+L=Bern,CN=worker",
            "CN=worker,OU=Orders,L=Bern,O=Example,C=CH",
            "CN=worker,OU=Orders+L=Bern,O=Example",
            "CN=worker\\ ,OU=Orders+L=Bern,O=Example,C=CH",
            "CN=worker,CN=worker,OU=Orders+L=Bern,O=Example,C=CH",
        ] {
            assert_ne!(parsed(other), name, "{other}");
        }
    }

    #[test]
    fn what_is_no_name_is_refused() {
        for bad in [
            "",
            "worker",
            "CN=",
            "=worker",
            "CN=a,",
            "CN=a,,O=b",
            "XX=a",
            "CN=a;O=b",
            "CN=\"a\"",
            "CN=a\\",
            "CN=a\\x",
            "CN=\\ff",
            "CN=\\00",
            "CN=a\0",
            "1.02=a",
            "1..2=a",
            "CN=a<b",
            "/CN=a/O=b",
        ] {
            assert!(DistinguishedName::parse(bad).is_err(), "{bad}");
        }
    }

    proptest! {
        #[test]
        fn any_text_is_answered(text in "[A-Za-z=,+\\\\#\" 0-9é]{0,40}") {
            let _answered = DistinguishedName::parse(&text);
        }
    }
}
