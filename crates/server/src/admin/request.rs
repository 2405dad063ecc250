//! What a request says besides its path: parameters, conditions and a body, each taken strictly.

use super::operation::Operation;
use super::problem::{Code, PATCH_TYPES, Problem};
use crate::store::ChangeNumber;
use http::header::{CONTENT_TYPE, HeaderMap, IF_MATCH};
use jeton_proto::issuance::MAX_CLIENT_ID_BYTES;
use jeton_proto::jose::jws::parse_object;
use jeton_proto::wire::error_response::printable;
use serde_json::{Map, Value};
use std::collections::BTreeMap;
use std::ops::RangeInclusive;

/// The most clients in one page, and the most secrets that are told of at once.
pub(super) const PAGE_LIMITS: RangeInclusive<u64> = 1..=100;
pub(super) const DEFAULT_PAGE_LIMIT: u64 = 50;
/// The bounds of the ages that are asked for.
pub(super) const DAYS: RangeInclusive<u64> = 0..=3650;

/// The parameters of a query, each once and each known.
#[derive(Debug)]
pub(super) struct Parameters(BTreeMap<String, String>);

impl Parameters {
    /// Takes a query of these parameters apart.
    pub(super) fn parse(query: Option<&str>, known: &[&str]) -> Result<Self, Problem> {
        let mut parameters = BTreeMap::new();
        for (name, value) in url::form_urlencoded::parse(query.unwrap_or_default().as_bytes()) {
            if !known.contains(&&*name) {
                let what = format!("there is no parameter {}", printable(&name));
                return Err(Problem::new(Code::InvalidRequest, what));
            }
            if parameters.insert(name.to_string(), value.into_owned()).is_some() {
                let what = format!("the parameter {name} is there twice");
                return Err(Problem::new(Code::InvalidRequest, what));
            }
        }
        Ok(Self(parameters))
    }

    /// A whole number within `bounds`.
    pub(super) fn number(
        &self,
        name: &str,
        bounds: RangeInclusive<u64>,
        default: u64,
    ) -> Result<u64, Problem> {
        let Some(text) = self.0.get(name) else { return Ok(default) };
        let number = text.bytes().all(|byte| byte.is_ascii_digit()).then(|| text.parse().ok()).flatten();
        number.filter(|number| bounds.contains(number)).ok_or_else(|| {
            let what = format!("{name}: it is a whole number from {} to {}", bounds.start(), bounds.end());
            Problem::new(Code::InvalidRequest, what)
        })
    }

    /// The client id after which a page begins; empty for the first page.
    pub(super) fn after(&self) -> Result<&str, Problem> {
        let Some(after) = self.0.get("after") else { return Ok("") };
        let is_id = (1..=MAX_CLIENT_ID_BYTES).contains(&after.len())
            && after.bytes().all(|byte| matches!(byte, b' '..=b'~'));
        is_id.then_some(after.as_str()).ok_or_else(|| {
            Problem::new(Code::InvalidRequest, "after: it is a client id, such as next of the page before")
        })
    }
}

/// Which state of a client a change is for (RFC 9110 §13.1.1).
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum IfMatch {
    /// Whatever there is.
    Anything,
    /// One of these. A tag that is none of ours is of no state.
    States(Vec<ChangeNumber>),
}

impl IfMatch {
    /// The condition of a request.
    pub(super) fn parse(headers: &HeaderMap) -> Result<Self, Problem> {
        let malformed = || {
            Problem::new(Code::InvalidRequest, "If-Match: it is * or a list of entity tags, such as \"7\"")
        };
        let mut lines = headers.get_all(IF_MATCH).iter().peekable();
        if lines.peek().is_none() {
            return Ok(Self::Anything);
        }
        let lines: Result<Vec<&str>, _> = lines.map(|line| line.to_str().map_err(|_| malformed())).collect();
        let lines = lines?.join(",");
        if lines.trim() == "*" {
            return Ok(Self::Anything);
        }
        let (mut states, mut is_empty) = (Vec::new(), true);
        // A comma inside a tag would end it early, and none of ours has one.
        for tag in lines.split(',').map(str::trim).filter(|tag| !tag.is_empty()) {
            let (is_weak, quoted) = tag.strip_prefix("W/").map_or((false, tag), |rest| (true, rest));
            let opaque = quoted.strip_prefix('"').and_then(|rest| rest.strip_suffix('"'));
            let opaque = opaque.ok_or_else(malformed)?;
            // The comparison is the strong one (RFC 9110 §13.1.1), by which a weak tag is equal to none.
            let number = opaque.parse().ok().filter(|number: &u64| number.to_string() == opaque);
            states.extend(number.filter(|_| !is_weak).map(ChangeNumber));
            is_empty = false;
        }
        if is_empty {
            return Err(malformed());
        }
        Ok(Self::States(states))
    }

    /// Refuses what is not in one of the states.
    pub(super) fn check(&self, change: ChangeNumber) -> Result<(), Problem> {
        match self {
            Self::Anything => Ok(()),
            Self::States(states) if states.contains(&change) => Ok(()),
            Self::States(_) => Err(Problem::new(
                Code::PreconditionFailed,
                "the client is not as If-Match has it: read it again, and decide anew",
            )),
        }
    }
}

/// The entity tag of a client that this commit wrote.
pub(super) fn entity_tag(change: ChangeNumber) -> String {
    format!("\"{}\"", change.0)
}

/// Refuses a body of another type than `operation` takes.
pub(super) fn check_type(operation: Operation, headers: &HeaderMap) -> Result<(), Problem> {
    let mut types = headers.get_all(CONTENT_TYPE).iter();
    let (one, more) = (types.next(), types.next());
    let essence = one.and_then(|one| one.as_bytes().split(|byte| *byte == b';').next());
    let essence = essence.unwrap_or_default().trim_ascii().to_ascii_lowercase();
    let (taken, told): (&[&[u8]], _) = match operation {
        Operation::ChangeClient => (&[b"application/merge-patch+json", b"application/json"], PATCH_TYPES),
        Operation::Description
        | Operation::ListClients
        | Operation::AddClient
        | Operation::ShowClient
        | Operation::RemoveClient
        | Operation::AddSecret
        | Operation::RevokeSecret
        | Operation::DueSecrets
        | Operation::ListKeys
        | Operation::RotateKeys => (&[b"application/json"], "application/json"),
    };
    if more.is_none() && taken.contains(&essence.as_slice()) {
        return Ok(());
    }
    Err(Problem::new(Code::ContentType, format!("the body is one of: {told}")))
}

/// The object in a body.
pub(super) fn object(body: &[u8]) -> Result<Map<String, Value>, Problem> {
    parse_object(body).map_err(|error| Problem::new(Code::InvalidRequest, format!("the body {error}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn if_match(lines: &[&str]) -> Result<IfMatch, Code> {
        let mut headers = HeaderMap::new();
        for line in lines {
            headers.append(IF_MATCH, line.parse().unwrap());
        }
        IfMatch::parse(&headers).map_err(|problem| problem.code)
    }

    #[test]
    fn conditions_are_lists_of_tags() {
        let states =
            |numbers: &[u64]| Ok(IfMatch::States(numbers.iter().copied().map(ChangeNumber).collect()));
        assert_eq!(if_match(&[]), Ok(IfMatch::Anything));
        assert_eq!(if_match(&["*"]), Ok(IfMatch::Anything));
        assert_eq!(if_match(&["\"7\""]), states(&[7]));
        assert_eq!(if_match(&["\"7\", \"8\"", "\"9\""]), states(&[7, 8, 9]));
        assert_eq!(if_match(&["W/\"7\""]), states(&[]), "a weak tag is equal to none");
        assert_eq!(if_match(&["\"07\", \"+7\", \"x\""]), states(&[]));
        for bad in ["", ",", "7", "\"7", "\"7\" \"8\"x", "*, \"7\""] {
            assert_eq!(if_match(&[bad]), Err(Code::InvalidRequest), "{bad}");
        }
    }

    #[test]
    fn parameters_are_known_and_there_once() {
        let number = |query| {
            let parameters = Parameters::parse(Some(query), &["limit", "after"])?;
            parameters.after()?;
            parameters.number("limit", PAGE_LIMITS, DEFAULT_PAGE_LIMIT)
        };
        assert_eq!(number("").unwrap(), DEFAULT_PAGE_LIMIT);
        assert_eq!(number("limit=7&after=a%20b").unwrap(), 7);
        for bad in [
            "limit=0",
            "limit=101",
            "limit=+7",
            "limit=",
            "limit=1&limit=1",
            "Limit=1",
            "after=",
            "after=%C3%A9",
        ] {
            assert_eq!(number(bad).unwrap_err().code, Code::InvalidRequest, "{bad}");
        }
    }
}
