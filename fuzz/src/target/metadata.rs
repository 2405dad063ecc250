//! Authorization server metadata. Input: the issuer that was asked, a line break, the document.

use crate::input::{first_line, planted, text};
use crate::verdict::{Verdict, fit_for_a_log, holds, same};
use jeton_proto::wire::metadata::{AuthorizationServerMetadata, InvalidMetadata, well_known_urls};
use serde_json::{Map, Value};
use url::Url;

type Parsed = Result<AuthorizationServerMetadata, InvalidMetadata>;

pub(crate) fn check(input: &[u8]) -> Verdict {
    check_with(AuthorizationServerMetadata::parse, input)
}

fn check_with(parser: impl Fn(&[u8], &str) -> Parsed, input: &[u8]) -> Verdict {
    let (issuer, document) = first_line(input);
    let (issuer, document) = (text(issuer), planted(document));
    locations_are_at_the_issuer(&issuer)?;
    let parsed = parser(&document, &issuer);
    let Ok(metadata) = &parsed else {
        let taken = serde_json::from_slice(&document).is_ok_and(|members| is_plain(&members, &issuer));
        holds(!taken, || format!("a good document was refused: {parsed:?}"))?;
        return parsed.err().map_or(Ok(()), |error| fit_for_a_log(&error));
    };
    same("the issuer", &metadata.issuer, &issuer)?;
    let json = metadata.to_json().unwrap_or_default();
    same("the document written anew", &parser(&json, &issuer).as_ref(), &Ok(metadata))?;
    if let Ok(Value::Object(members)) = serde_json::from_slice(&document) {
        let endpoint = members.get("token_endpoint").and_then(Value::as_str);
        same(
            "the token endpoint as serde_json reads it",
            &endpoint,
            &Some(metadata.token_endpoint.as_str()),
        )?;
    }
    Ok(())
}

/// Whether a document has the members that are needed and none else: such a one must be taken.
fn is_plain(members: &Map<String, Value>, issuer: &str) -> bool {
    members.len() == 2
        && members.get("issuer").and_then(Value::as_str) == Some(issuer)
        && members.get("token_endpoint").is_some_and(Value::is_string)
}

/// Metadata is asked for at the host of the issuer and at no other, as a URL parser of its own reads them.
fn locations_are_at_the_issuer(issuer: &str) -> Verdict {
    let Some(locations) = well_known_urls(issuer) else {
        return Ok(());
    };
    let Ok(issuer) = Url::parse(issuer) else {
        return Ok(());
    };
    for location in locations {
        let Ok(location) = Url::parse(&location) else {
            return holds(false, || format!("{location:?} is no URL, {issuer} is one"));
        };
        same("the origin of the metadata", &location.origin(), &issuer.origin())?;
        holds(location.query().is_none() && location.fragment().is_none(), || {
            format!("{location} has more than a path")
        })?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_parser_that_takes_another_issuer_or_misses_a_good_document_is_caught() {
        let good = b"https://a\n{\"issuer\":\"https://a\",\"token_endpoint\":\"https://a/t\"}";
        let other = b"https://a/\n{\"issuer\":\"https://a\",\"token_endpoint\":\"https://a/t\"}";
        assert_eq!((check(good), check(other)), (Ok(()), Ok(())));
        let lenient = |document: &[u8], issuer: &str| {
            AuthorizationServerMetadata::parse(document, issuer.trim_end_matches('/'))
        };
        assert!(check_with(lenient, other).is_err());
        assert!(check_with(|_, _| Err(InvalidMetadata::Issuer), good).is_err());
    }
}
