//! A page of the list of revoked tokens, before a guard. Input: one byte for the way, then
//! - `r`: a page as it is;
//! - anything else: a header, a line break and claims, which the harness signs with the key of RFC 8037 appendix A; an empty
//!   header stands for the usual one. `@@` stands for what is no business of a log.

use super::verification::{ISSUER, KEYS, SIGNER, token};
use crate::input::{first_byte, first_line, planted, text};
use crate::verdict::{Verdict, fit_for_a_log, holds, same};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jeton_proto::jose::jwk::SigningKey;
use jeton_proto::jose::jws::MAX_JWS_BYTES;
use jeton_proto::revocation::{
    FEED_MEDIA_TYPE, InvalidFeed, MAX_PAGE_ENTRIES, More, RevocationPage, RevokedTokens, VerifiedPage,
};
use jeton_proto::time::Timestamp;
use serde_json::{Map, Value, json};

const NOW_SECONDS: u64 = 1_700_000_000;
const SKEW_SECONDS: u64 = 60;
const ENTRY_BYTES: usize = 21;

type Read = Result<VerifiedPage, InvalidFeed>;

pub(crate) fn check(input: &[u8]) -> Verdict {
    check_with(read, input)
}

/// What a guard reads of a page.
fn read(compact: &str) -> Read {
    RevocationPage::verify(compact, &KEYS, ISSUER, Timestamp::from_unix_seconds(NOW_SECONDS))
}

fn check_with(read: impl Fn(&str) -> Read, input: &[u8]) -> Verdict {
    let (way, rest) = first_byte(input);
    if way == b'r' {
        return raw(&read, &text(rest)).map(drop);
    }
    let (header, payload) = first_line(rest);
    let payload = planted(payload);
    let usual =
        json!({ "alg": "EdDSA", "typ": FEED_MEDIA_TYPE, "kid": SIGNER.as_ref().map(SigningKey::key_id) });
    let usual = usual.to_string().into_bytes();
    let header = if header.is_empty() { &usual } else { header };
    if let Some(page) = token(header, &payload) {
        raw(&read, &page)?;
    }
    // Written anew by `serde_json` there are no repeated members, and the model says exactly what must come out.
    let Ok(claims) = serde_json::from_slice::<Map<String, Value>>(&payload) else { return Ok(()) };
    let Some(page) = token(&usual, Value::Object(claims.clone()).to_string().as_bytes()) else {
        return Ok(());
    };
    let verified = raw(&read, &page)?;
    let expected = expected(&claims).filter(|_| page.len() <= MAX_JWS_BYTES);
    same("whether the page is taken", &verified.is_some(), &expected.is_some())?;
    let (Some(VerifiedPage { page, .. }), Some(packed)) = (verified, expected) else { return Ok(()) };
    let number = |name: &str| claims.get(name).and_then(Value::as_u64);
    same("since", &Some(page.since), &number("since"))?;
    same("through", &Some(page.through), &number("through"))?;
    let mark = page.mark.map(|mark| mark.to_string());
    same("mark", &mark.as_deref(), &claims.get("mark").and_then(Value::as_str))?;
    same("more", &(page.more == More::Follows), &(claims.get("more") == Some(&Value::Bool(true))))?;
    let entries = page.entries.iter().flat_map(|entry| {
        let seconds = entry.until.as_unix_seconds().to_be_bytes();
        entry.id.as_bytes().iter().copied().chain(seconds.into_iter().skip(3)).collect::<Vec<_>>()
    });
    same("the entries", &entries.collect::<Vec<_>>(), &packed)
}

/// A page that is taken is the same when it is signed again, and does what it says to a follower and nothing else.
fn raw(read: &impl Fn(&str) -> Read, compact: &str) -> Result<Option<VerifiedPage>, crate::verdict::Broken> {
    let verified = match read(compact) {
        Ok(verified) => verified,
        Err(invalid) => return fit_for_a_log(&invalid).map(|()| None),
    };
    let VerifiedPage { page, .. } = &verified;
    holds(page.entries.len() <= MAX_PAGE_ENTRIES, || format!("{} entries", page.entries.len()))?;
    let now = Timestamp::from_unix_seconds(NOW_SECONDS);
    let again = SIGNER.as_ref().and_then(|signer| page.sign(signer, ISSUER, now, now).ok());
    let again = again.and_then(|again| self::read(&again).ok()).map(|again| again.page);
    same("the page that is signed again", &again.as_ref(), &Some(page))?;
    let mut known = RevokedTokens::default();
    let told = page.entries.len();
    let expected = if known.take_in(&verified, None).is_ok() {
        holds(page.since == 0, || format!("a gap of {} was taken", page.since))?;
        holds(known.is_empty() == (told == 0) && known.len() <= told, || format!("{known:?} of {page:?}"))?;
        (page.through, page.mark)
    } else {
        holds(known.is_empty(), || "a page that was refused is known".to_owned())?;
        (0, None)
    };
    let position = known.position();
    same("where the follower stands", &(position.through, position.mark), &expected)?;
    Ok(Some(verified))
}

/// The packed entries, if the page is to be taken: the claims as their description has them, written in another way.
fn expected(claims: &Map<String, Value>) -> Option<Vec<u8>> {
    let number = |name: &str| claims.get(name).and_then(Value::as_u64);
    let decoded = |value: &Value| URL_SAFE_NO_PAD.decode(value.as_str()?).ok();
    let packed = claims.get("revoked").and_then(decoded)?;
    let good = claims.get("iss") == Some(&Value::from(ISSUER))
        && number("iat")? <= NOW_SECONDS + SKEW_SECONDS
        && NOW_SECONDS < number("exp")?.saturating_add(SKEW_SECONDS)
        && number("since").and(number("through")).is_some()
        && claims.get("more").is_none_or(Value::is_boolean)
        && claims.get("mark").is_none_or(|mark| decoded(mark).is_some_and(|mark| mark.len() == 9))
        && packed.len() % ENTRY_BYTES == 0
        && packed.len() / ENTRY_BYTES <= MAX_PAGE_ENTRIES;
    good.then_some(packed)
}

#[cfg(test)]
mod tests {
    use super::*;

    const PAGE: &[u8] = include_bytes!("../../seeds/revocation_page/page");

    #[test]
    fn a_reader_that_is_lenient_in_any_of_these_ways_is_caught() {
        assert_eq!(check(PAGE), Ok(()));
        let good = || {
            let (_, rest) = first_byte(PAGE);
            let (_, payload) = first_line(rest);
            let header =
                json!({ "alg": "EdDSA", "typ": FEED_MEDIA_TYPE, "kid": SIGNER.as_ref().unwrap().key_id() });
            read(&token(header.to_string().as_bytes(), payload).unwrap()).unwrap()
        };
        assert_eq!(good().page.entries.len(), 2);
        assert!(check_with(|_| Err(InvalidFeed::Times), PAGE).is_err(), "nothing is taken");
        let old = String::from_utf8_lossy(PAGE).replace("1700000120", "1699999940");
        assert_eq!(check(old.as_bytes()), Ok(()));
        assert!(check_with(|_| Ok(good()), old.as_bytes()).is_err(), "no time is checked");
        let changes: [fn(&mut RevocationPage); 5] = [
            |page| page.mark = None,
            |page| page.since += 1,
            |page| page.through += 1,
            |page| page.more = More::Follows,
            |page| page.entries.truncate(1),
        ];
        for change in changes {
            let lenient = |compact: &str| {
                let mut verified = read(compact)?;
                change(&mut verified.page);
                Ok(verified)
            };
            assert!(check_with(lenient, PAGE).is_err());
        }
    }
}
