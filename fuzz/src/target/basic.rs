//! Basic credentials. Input: `r` and an `Authorization` value, or any other byte and `id:secret` as it stands in
//! base64, which is written by the harness; `@@` stands for the secret.

use crate::input::{CANARY, first_byte, planted};
use crate::verdict::{Verdict, fit_for_a_log, holds, same, silent};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use jeton_proto::wire::client_auth::{
    BasicCredentials, BasicEncoding, InvalidBasic, basic_authorization, parse_basic,
};

pub(crate) fn check(input: &[u8]) -> Verdict {
    check_with(parse_basic, input)
}

fn check_with(parser: impl Fn(&[u8]) -> Result<BasicCredentials, InvalidBasic>, input: &[u8]) -> Verdict {
    let (mode, rest) = first_byte(input);
    let rest = planted(rest);
    let value = if mode == b'r' { rest } else { format!("Basic {}", STANDARD.encode(rest)).into_bytes() };
    let credentials = match parser(&value) {
        Ok(credentials) => credentials,
        Err(error) => return fit_for_a_log(&error),
    };
    let (id, secret) = (credentials.client_id.as_str(), credentials.client_secret.expose().as_str());
    holds(!id.chars().chain(secret.chars()).any(char::is_control), || {
        format!("control characters in {id:?}")
    })?;
    if !id.contains(CANARY) {
        silent(&format!("{credentials:?}"))?;
    }
    same("the credential as the URL standard reads it", &lenient(&value), &Some((id.into(), secret.into())))?;
    let written = basic_authorization(id, &credentials.client_secret, BasicEncoding::FormUrlEncoded);
    let Ok(written) = written else {
        return holds(false, || format!("{id:?} cannot be written"));
    };
    match parser(written.as_bytes()) {
        // What was written plainly may be longer in escapes.
        Err(InvalidBasic::TooLong) => Ok(()),
        again => same("the credential written anew", &again.as_ref(), &Ok(&credentials)),
    }
}

/// RFC 6749 §2.3.1 put together from parts of others.
fn lenient(value: &[u8]) -> Option<(String, String)> {
    let (_, encoded) = value.split_at_checked("Basic ".len())?;
    let joined = STANDARD.decode(encoded.trim_ascii()).ok()?;
    let colon = joined.iter().position(|byte| *byte == b':')?;
    let (id, secret) = joined.split_at_checked(colon)?;
    let decoded = |half: &[u8]| {
        // Neither separator of a form has a meaning here.
        let half: Vec<u8> = half
            .iter()
            .flat_map(|&byte| match byte {
                b'&' => b"%26".to_vec(),
                b'=' => b"%3D".to_vec(),
                plain => vec![plain],
            })
            .collect();
        form_urlencoded::parse(&half).next().map(|(name, _)| name.into_owned()).unwrap_or_default()
    };
    Some((decoded(id), decoded(secret.get(1..)?)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use jeton_proto::secret::Secret;

    #[test]
    fn a_parser_that_splits_at_the_last_colon_or_does_not_decode_is_caught() {
        for good in
            ["jid:@@", "ja%3Ab:c:d", "rBasic YTpi", "rbasic   YTpi ", "j:", "ja=b&c:d+e", "r", "j%zz:a"]
        {
            assert_eq!(check(good.as_bytes()), Ok(()), "{good}");
        }
        let changed = |change: fn(BasicCredentials) -> BasicCredentials| {
            move |value: &[u8]| parse_basic(value).map(change)
        };
        let swap = changed(|c| BasicCredentials {
            client_id: c.client_secret.expose().clone(),
            client_secret: Secret::new(c.client_id),
        });
        assert!(check_with(swap, b"jid:other").is_err());
        let raw = changed(|c| BasicCredentials { client_id: c.client_id.replace(' ', "+"), ..c });
        assert!(check_with(raw, b"ja+b:c").is_err());
    }
}
