//! The list of revoked tokens as a server publishes it: pages in the order of the revocations, each a JWT.
//!
//! | claim | |
//! |---|---|
//! | `iss` | the issuer of the tokens, as in its metadata |
//! | `iat`, `exp` | when the page was signed, and until when it may be believed to be the newest |
//! | `since` | the page has what came after this number; 0: from the beginning |
//! | `through` | up to this number, with which the next page is asked for |
//! | `mark` | the mark of that number, with which it is asked for too; left out where there is none |
//! | `more` | `true` when there is a next page already; left out otherwise |
//! | `revoked` | entries of 21 bytes each, one after the other, in base64url: 16 of the SHA-256 of `jti`, and 5 with the second until which it is to be remembered, most significant first |

use super::{ChangeMark, RevokedId};
use crate::jose::jwk::{JwkSet, KeyError, SigningKey};
use crate::jose::jws::{self, InvalidJson, UnverifiedJws, json::parse_object};
use crate::time::Timestamp;
use crate::verification::{MAX_CLOCK_SKEW, Rejection, verified_payload};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Map, Value, json};

/// The `typ` of a page.
pub const FEED_MEDIA_TYPE: &str = "jeton-revocations+jwt";

/// The most entries of one page. A page of them is a JWT under [`jws::MAX_JWS_BYTES`].
pub const MAX_PAGE_ENTRIES: usize = 1500;

const SECONDS_BYTES: usize = 5;
const ENTRY_BYTES: usize = RevokedId::BYTES + SECONDS_BYTES;

/// A piece of the list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RevocationPage {
    /// The page has what came after this number; 0: from the beginning.
    pub since: u64,
    /// The number of the last revocation that is known up to here.
    pub through: u64,
    /// The mark of that number; `None` where nothing is known up to it, or a server draws no marks.
    pub mark: Option<ChangeMark>,
    /// Whether there is more already.
    pub more: More,
    /// At most [`MAX_PAGE_ENTRIES`].
    pub entries: Vec<RevocationEntry>,
}

/// Whether a page is the last one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum More {
    /// There are revocations after it.
    Follows,
    /// It reaches to the end.
    None,
}

/// A token that was revoked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RevocationEntry {
    /// Which.
    pub id: RevokedId,
    /// Until when it is to be remembered, in whole seconds.
    pub until: Timestamp,
}

/// A page whose signature is good.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VerifiedPage {
    /// The page.
    pub page: RevocationPage,
    /// `iat`: what the clock of the issuer showed.
    pub issued_at: Timestamp,
}

impl RevocationPage {
    /// The page as a JWT that may be believed from `issued_at` to `expires_at`.
    ///
    /// # Errors
    /// [`KeyError::Signing`] when the cryptographic library fails.
    pub fn sign(
        &self,
        key: &SigningKey,
        issuer: &str,
        issued_at: Timestamp,
        expires_at: Timestamp,
    ) -> Result<String, KeyError> {
        let mut packed = Vec::with_capacity(self.entries.len() * ENTRY_BYTES);
        self.entries.iter().for_each(|entry| pack(&mut packed, entry));
        let mut claims = json!({
            "iss": issuer,
            "iat": issued_at.as_unix_seconds(),
            "exp": expires_at.as_unix_seconds(),
            "since": self.since,
            "through": self.through,
            "revoked": URL_SAFE_NO_PAD.encode(packed),
        });
        if let Value::Object(claims) = &mut claims {
            claims.extend(self.mark.map(|mark| ("mark".to_owned(), mark.to_string().into())));
            match self.more {
                More::Follows => drop(claims.insert("more".to_owned(), true.into())),
                More::None => {}
            }
        }
        jws::sign(key, FEED_MEDIA_TYPE, claims.to_string().as_bytes())
    }

    /// Reads a page of `issuer` and checks it with its keys at `now`, allowing for [`MAX_CLOCK_SKEW`].
    ///
    /// # Errors
    /// [`InvalidFeed`]. [`Rejection::UnknownKey`] in it may be cured by fetching the keys again.
    pub fn verify(
        compact: &str,
        keys: &JwkSet,
        issuer: &str,
        now: Timestamp,
    ) -> Result<VerifiedPage, InvalidFeed> {
        let jws = UnverifiedJws::parse(compact)
            .map_err(|malformed| InvalidFeed::Signature(Rejection::Malformed(malformed)))?;
        if jws.media_type() != Some(FEED_MEDIA_TYPE) {
            return Err(InvalidFeed::Type);
        }
        let payload = verified_payload(&jws, keys).map_err(InvalidFeed::Signature)?;
        let claims = parse_object(&payload).map_err(InvalidFeed::Json)?;
        if claims.get("iss").and_then(Value::as_str) != Some(issuer) {
            return Err(InvalidFeed::Issuer);
        }
        let issued_at = Timestamp::from_unix_seconds(number(&claims, "iat")?);
        let expires_at = Timestamp::from_unix_seconds(number(&claims, "exp")?);
        if now.saturating_add(MAX_CLOCK_SKEW) < issued_at || now >= expires_at.saturating_add(MAX_CLOCK_SKEW)
        {
            return Err(InvalidFeed::Times);
        }
        let page = Self {
            since: number(&claims, "since")?,
            through: number(&claims, "through")?,
            mark: mark(&claims)?,
            more: more(&claims)?,
            entries: unpack(&claims)?,
        };
        Ok(VerifiedPage { page, issued_at })
    }
}

/// Why a text is no page of the list.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidFeed {
    /// It is no JWS, or not signed by a key of the issuer.
    #[error("the list of revoked tokens is not signed as it must be: {0}")]
    Signature(Rejection),
    /// `typ` is another: somebody else's JWT of the same issuer.
    #[error("the header parameter \"typ\" of the list of revoked tokens is not \"{FEED_MEDIA_TYPE}\"")]
    Type,
    /// The payload is no JSON object of the strict kind.
    #[error("the list of revoked tokens {0}")]
    Json(InvalidJson),
    /// `iss` is another.
    #[error("the list of revoked tokens is of another issuer")]
    Issuer,
    /// It is too old, or from the future.
    #[error(
        "the list of revoked tokens is too old or from the future; is a proxy keeping it, or is a clock wrong?"
    )]
    Times,
    /// A claim is missing or has no valid value.
    #[error("the claim \"{0}\" of the list of revoked tokens has no valid value")]
    Claim(&'static str),
}

fn pack(packed: &mut Vec<u8>, entry: &RevocationEntry) {
    // Rounded up, and with 5 bytes good until the year 36812.
    let seconds = entry.until.as_unix_millis().div_ceil(1000).min((1 << (8 * SECONDS_BYTES)) - 1);
    packed.extend_from_slice(entry.id.as_bytes());
    packed.extend(seconds.to_be_bytes().iter().skip(8 - SECONDS_BYTES));
}

fn unpack(claims: &Map<String, Value>) -> Result<Vec<RevocationEntry>, InvalidFeed> {
    let invalid = InvalidFeed::Claim("revoked");
    let Some(packed) = claims.get("revoked").and_then(Value::as_str) else { return Err(invalid) };
    let Ok(packed) = URL_SAFE_NO_PAD.decode(packed) else { return Err(invalid) };
    let (entries, []) = packed.as_chunks::<ENTRY_BYTES>() else { return Err(invalid) };
    if entries.len() > MAX_PAGE_ENTRIES {
        return Err(invalid);
    }
    let entry = |bytes: &[u8; ENTRY_BYTES]| {
        let mut id = [0; RevokedId::BYTES];
        id.iter_mut().zip(bytes).for_each(|(to, from)| *to = *from);
        let seconds = bytes.iter().skip(RevokedId::BYTES).fold(0, |sum, byte| sum << 8 | u64::from(*byte));
        RevocationEntry { id: RevokedId(id), until: Timestamp::from_unix_seconds(seconds) }
    };
    Ok(entries.iter().map(entry).collect())
}

fn number(claims: &Map<String, Value>, name: &'static str) -> Result<u64, InvalidFeed> {
    claims.get(name).and_then(Value::as_u64).ok_or(InvalidFeed::Claim(name))
}

fn mark(claims: &Map<String, Value>) -> Result<Option<ChangeMark>, InvalidFeed> {
    let Some(mark) = claims.get("mark") else { return Ok(None) };
    let mark = mark.as_str().and_then(ChangeMark::parse);
    mark.map(Some).ok_or(InvalidFeed::Claim("mark"))
}

fn more(claims: &Map<String, Value>) -> Result<More, InvalidFeed> {
    match claims.get("more") {
        None | Some(Value::Bool(false)) => Ok(More::None),
        Some(Value::Bool(true)) => Ok(More::Follows),
        Some(_) => Err(InvalidFeed::Claim("more")),
    }
}
