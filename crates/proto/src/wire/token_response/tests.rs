use super::*;
use proptest::prelude::*;

fn token(body: &str) -> TokenResponse {
    match parse(200, body.as_bytes()) {
        Ok(TokenAnswer::Granted(response)) => response,
        other => panic!("{body}: {other:?}"),
    }
}

fn fault(status: u16, body: &str) -> MalformedAnswer {
    match parse(status, body.as_bytes()) {
        Err(fault) => fault,
        Ok(answer) => panic!("{body}: {answer:?}"),
    }
}

fn code(status: u16, body: &str) -> ErrorCode {
    match parse(status, body.as_bytes()) {
        Ok(TokenAnswer::Refused(response)) => response.error,
        other => panic!("{body}: {other:?}"),
    }
}

#[test]
fn the_example_of_rfc_6749_section_4_4_3() {
    let response = token(
        r#"{"access_token":"2YotnFZFEjr1zCsicMWpAA","token_type":"example","expires_in":3600,"example_parameter":"v"}"#
            .replace("\"example\"", "\"bearer\"")
            .as_str(),
    );
    assert_eq!(response.access_token.expose(), "2YotnFZFEjr1zCsicMWpAA");
    assert_eq!(response.expires_in, ExpiresIn::Stated(Duration::from_secs(3600)));
    assert_eq!(response.scope, None);
}

#[test]
fn t3_every_spelling_of_expires_in() {
    let stated = |seconds| ExpiresIn::Stated(Duration::from_secs(seconds));
    for (value, expected) in [
        ("3600", stated(3600)),
        ("\"3600\"", stated(3600)),
        ("\" 3600 \"", stated(3600)),
        ("3599.0", stated(3599)),
        ("3599.9", stated(3599)),
        ("\"3599.5\"", stated(3599)),
        ("1", stated(1)),
        ("99999999999999999999999999", stated(u64::MAX)),
        ("18446744073709551615", stated(u64::MAX)),
        ("0", ExpiresIn::NotStated),
        ("\"0\"", ExpiresIn::NotStated),
        ("0.5", ExpiresIn::NotStated),
        ("-1", ExpiresIn::NotStated),
        ("-1e300", ExpiresIn::NotStated),
        ("null", ExpiresIn::NotStated),
    ] {
        let body = format!(r#"{{"access_token":"a","token_type":"Bearer","expires_in":{value}}}"#);
        assert_eq!(token(&body).expires_in, expected, "{value}");
    }
    assert_eq!(token(r#"{"access_token":"a","token_type":"Bearer"}"#).expires_in, ExpiresIn::NotStated);
    // Beyond what JSON numbers mean to a float: refused by the parser, with its place.
    let beyond = r#"{"access_token":"a","token_type":"Bearer","expires_in":1e400}"#;
    assert!(matches!(fault(200, beyond), MalformedAnswer::Json { line: 1, .. }));
    for value in
        ["\"soon\"", "\"\"", "true", "[]", "{}", "\"NaN\"", "\"inf\"", "\"Infinity\"", "\"-inf\"", "\"0x10\""]
    {
        let body = format!(r#"{{"access_token":"a","token_type":"Bearer","expires_in":{value}}}"#);
        assert_eq!(fault(200, &body), MalformedAnswer::ExpiresIn, "{value}");
    }
}

#[test]
fn t15_the_body_decides_not_the_status_or_the_content_type() {
    let good = r#"{"access_token":"a","token_type":"Bearer","expires_in":60}"#;
    assert!(matches!(parse(201, good.as_bytes()), Ok(TokenAnswer::Granted(_))));
    assert!(matches!(parse(200, format!("\u{feff}\r\n {good} ").as_bytes()), Ok(TokenAnswer::Granted(_))));
    assert_eq!(token("access_token=a%2Bb&token_type=bearer&expires_in=60").access_token.expose(), "a+b");
    assert_eq!(code(200, r#"{"error":"invalid_client"}"#), ErrorCode::InvalidClient);
    assert_eq!(code(400, r#"{"error":"invalid_client"}"#), ErrorCode::InvalidClient);
    assert_eq!(code(500, r#"{"error":"invalid_scope"}"#), ErrorCode::InvalidScope);
    assert_eq!(code(400, "error=invalid_scope&error_description=x"), ErrorCode::InvalidScope);
    assert_eq!(code(400, r#"{"error":"slow_down"}"#), ErrorCode::Other("slow_down".into()));
    assert_eq!(code(200, r#"{"error":"invalid_scope","access_token":"a"}"#), ErrorCode::InvalidScope);
    assert_eq!(token(r#"{"error":"","access_token":"a","token_type":"Bearer"}"#).access_token.expose(), "a");
    assert_eq!(
        token(r#"{"error":null,"access_token":"a","token_type":"Bearer"}"#).access_token.expose(),
        "a"
    );
}

#[test]
fn r3_8_every_malformed_answer_says_what_was_wrong() {
    use MalformedAnswer as M;
    assert_eq!(fault(200, ""), M::Empty { status: 200 });
    assert_eq!(fault(502, " \r\n"), M::Empty { status: 502 });
    assert_eq!(fault(400, "<html>no</html>"), M::NeitherJsonNorForm { status: 400 });
    assert_eq!(fault(200, "[]"), M::NeitherJsonNorForm { status: 200 });
    assert_eq!(fault(200, "null"), M::NeitherJsonNorForm { status: 200 });
    assert_eq!(fault(200, r#"{"access_token":"a","#), M::CutShort { status: 200 });
    assert_eq!(fault(200, r#"{"access_token":"a","access_token":"b"}"#), M::Repeated { status: 200 });
    assert_eq!(fault(200, "access_token=a&token_type=Bearer&access_token=b"), M::Repeated { status: 200 });
    assert_eq!(fault(200, "{\n'access_token':'a'}"), M::Json { status: 200, line: 2, column: 1 });
    for parameter in ["access_token", "error"] {
        let body = format!(r#"{{"{parameter}":{{"a":[1]}}}}"#);
        assert_eq!(fault(200, &body), M::NotAString { status: 200, parameter });
    }
    for parameter in ["token_type", "scope"] {
        let body = r#"{"access_token":"a","token_type":"Bearer","scope":"s"}"#;
        let body = body.replace(&format!("\"{parameter}\":"), &format!("\"{parameter}\":1,\"x\":"));
        assert_eq!(fault(200, &body), M::NotAString { status: 200, parameter });
    }
    assert_eq!(fault(200, "{}"), M::NoAccessToken { status: 200 });
    assert_eq!(
        fault(200, r#"{"access_token":null,"token_type":"Bearer"}"#),
        M::NoAccessToken { status: 200 }
    );
    assert_eq!(
        fault(500, r#"{"access_token":"a","token_type":"Bearer"}"#),
        M::TokenUnderErrorStatus { status: 500 }
    );
    assert_eq!(fault(200, r#"{"access_token":"a"}"#), M::NoTokenType);
    assert!(matches!(
        fault(200, r#"{"access_token":"a","token_type":"Bearer","scope":"a\u0000b"}"#),
        M::Scope(_)
    ));
}

#[test]
fn t24_an_error_that_can_be_read_is_not_hidden_by_what_is_wrong_beside_it() {
    for beside in [
        r#""error_description":["no"]"#,
        r#""error_description":{"text":"no"}"#,
        r#""error_description":7"#,
        r#""access_token":{}"#,
        r#""token_type":1,"scope":["a"]"#,
    ] {
        let body = format!(r#"{{"error":"invalid_client",{beside}}}"#);
        assert_eq!(code(400, &body), ErrorCode::InvalidClient, "{body}");
    }
}

#[test]
fn t15_a_token_that_no_header_can_carry_is_refused() {
    for bad in ["", "a b", "a\\r\\nb", "a\\u0000", "é", "\\u007f", "a\\tb"] {
        let body = format!(r#"{{"access_token":"{bad}","token_type":"Bearer"}}"#);
        assert_eq!(fault(200, &body), MalformedAnswer::AccessToken, "{bad}");
    }
    let long = "a".repeat(MAX_ACCESS_TOKEN_BYTES + 1);
    let body = format!(r#"{{"access_token":"{long}","token_type":"Bearer"}}"#);
    assert_eq!(fault(200, &body), MalformedAnswer::AccessToken);
}

#[test]
fn t16_the_type_is_bearer_in_any_case_and_nothing_else() {
    for good in ["Bearer", "bearer", "BEARER"] {
        token(&format!(r#"{{"access_token":"a","token_type":"{good}"}}"#));
    }
    for bad in ["", "mac", "DPoP", "Bearer "] {
        let body = format!(r#"{{"access_token":"a","token_type":"{bad}"}}"#);
        assert_eq!(fault(200, &body), MalformedAnswer::TokenType, "{bad}");
    }
}

#[test]
fn t34_neither_answers_nor_faults_show_a_token() {
    let answer = parse(200, br#"{"access_token":"canary","token_type":"Bearer"}"#);
    assert!(!format!("{answer:?}").contains("canary"));
    for body in
        [r#"{"access_token":"canary"}"#, r#"{"access_token":"canary","token_type":3}"#, "canary", "{canary"]
    {
        let fault = fault(200, body);
        assert!(!format!("{fault:?} {fault}").contains("canary"), "{body}");
    }
}

proptest! {
    #[test]
    fn any_bytes_are_answered(status in 100_u16..600, body in proptest::collection::vec(any::<u8>(), 0..400)) {
        let _answered = parse(status, &body);
    }
}
