//! URLs that a secret may be sent to; metadata names some. Input: the URL; `@@` stands for a secret in its query.

use crate::input::{planted, text};
use crate::verdict::{Verdict, fit_for_a_log, holds, same, silent};
use http::Uri;
use jeton::http::{EndpointUrl, InvalidUrl, PlainHttp};
use std::net::IpAddr;
use url::Url;

pub(crate) fn check(input: &[u8]) -> Verdict {
    check_with(|text| EndpointUrl::parse(text, &PlainHttp::to_loopback()), input)
}

fn check_with(parser: impl Fn(&str) -> Result<EndpointUrl, InvalidUrl>, input: &[u8]) -> Verdict {
    let with_secret = text(&planted(input));
    let endpoint = match parser(&with_secret) {
        Ok(endpoint) => endpoint,
        Err(error) => {
            // A host is named in the error, and a secret in the place of a host was sent to the resolver anyway.
            let named = matches!(&error, InvalidUrl::PlainHttp { .. } | InvalidUrl::Syntax(_));
            return if named { Ok(()) } else { fit_for_a_log(&error) };
        }
    };
    same("the URL read again", &parser(endpoint.as_str()).as_ref(), &Ok(&endpoint))?;
    let (Ok(url), Ok(uri)) = (Url::parse(endpoint.as_str()), endpoint.as_str().parse::<Uri>()) else {
        return holds(false, || format!("{endpoint:?} is no URL for others"));
    };
    let host = url.host_str().unwrap_or_default();
    let bare = host.trim_start_matches('[').trim_end_matches(']');
    let loopback = bare == "localhost" || bare.parse::<IpAddr>().is_ok_and(|address| address.is_loopback());
    holds(url.scheme() == "https" || (url.scheme() == "http" && loopback), || {
        format!("a secret would travel openly to {endpoint:?}")
    })?;
    holds(url.username().is_empty() && url.password().is_none(), || {
        format!("user information: {endpoint:?}")
    })?;
    // The connection is made by what `http` reads, the check above by what `url` reads.
    same("the host as http reads it", &uri.host(), &Some(host))?;
    same("the port as http reads it", &uri.port_u16(), &url.port())?;
    let before_query = endpoint.as_str().split('?').next().unwrap_or_default();
    if silent(before_query).is_ok() {
        silent(&format!("{endpoint:?}"))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_parser_that_sends_secrets_openly_is_caught() {
        for good in
            ["https://id.example/token?a=@@", "http://127.0.0.1:8/", "http://[::1]/", "http://x/", "no"]
        {
            assert_eq!(check(good.as_bytes()), Ok(()), "{good}");
        }
        let open = |text: &str| EndpointUrl::parse(text, &PlainHttp::to_loopback().and_to("id.example"));
        assert!(check_with(open, b"http://id.example/token").is_err());
    }
}
