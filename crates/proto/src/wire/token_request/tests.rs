use super::*;
use proptest::prelude::*;

fn parse(body: &str) -> Result<TokenRequest<'_>, TokenRequestError> {
    TokenRequest::parse(body.as_bytes())
}

#[test]
fn every_known_parameter_is_read() {
    let request = parse(
        "grant_type=client_credentials&client_id=a%3Ab&client_secret=p%C3%A9+%2B&scope=x%20y&audience=urn%3Aa\
         &resource=https://a.example&resource=https%3A%2F%2Fb.example&client_assertion_type=t&client_assertion=j&foreign=1",
    )
    .unwrap();
    assert_eq!(
        request,
        TokenRequest {
            grant_type: Some("client_credentials".into()),
            client_id: Some("a:b".into()),
            client_secret: Some(Secret::from("pé +")),
            client_assertion_type: Some("t".into()),
            client_assertion: Some(Secret::from("j")),
            scope: Some("x y".into()),
            resources: vec!["https://a.example".into(), "https://b.example".into()],
            audience: Some("urn:a".into()),
        }
    );
}

#[test]
fn a_parameter_without_a_value_is_as_if_it_were_not_sent() {
    assert_eq!(parse("scope=&client_id&resource=&&client_secret=&").unwrap(), TokenRequest::default());
    assert_eq!(parse("").unwrap(), TokenRequest::default());
}

#[test]
fn t36_repeated_parameters_are_invalid_request() {
    for (body, name) in [
        ("scope=a&scope=a", Some("scope")),
        ("scope=&scope=a", Some("scope")),
        ("grant_type=a&grant%5Ftype=a", Some("grant_type")),
        ("client_secret=a&x=1&client_secret=b", Some("client_secret")),
        ("foreign=1&foreign=2", None),
        ("=1&=2", None),
    ] {
        assert_eq!(parse(body), Err(TokenRequestError::Repeated { name }), "{body}");
    }
    let text = parse("c%61nary=1&canary=2").unwrap_err().to_string();
    assert!(!text.contains("canary"), "{text}");
}

#[test]
fn t36_broken_encodings_are_invalid_request() {
    for (body, error) in [
        (&b"scope=%"[..], TokenRequestError::PercentEncoding),
        (b"scope=%4", TokenRequestError::PercentEncoding),
        (b"scope=%zz", TokenRequestError::PercentEncoding),
        (b"scope=%+1", TokenRequestError::PercentEncoding),
        (b"%=1", TokenRequestError::PercentEncoding),
        (b"scope=%ff", TokenRequestError::Utf8),
        (b"scope=\xff", TokenRequestError::Utf8),
        (b"scope=%C3", TokenRequestError::Utf8),
        (b"scope=%ED%A0%80", TokenRequestError::Utf8),
        (b"scope=a%00b", TokenRequestError::Nul),
        (b"scope=a\0b", TokenRequestError::Nul),
        (b"a%00=b", TokenRequestError::Nul),
    ] {
        assert_eq!(TokenRequest::parse(body), Err(error), "{}", body.escape_ascii());
    }
}

#[test]
fn t36_sizes_and_counts_are_bounded() {
    let many = |count: usize| (0..count).map(|at| format!("p{at}=1")).collect::<Vec<_>>().join("&");
    assert!(parse(&many(MAX_PARAMETERS)).is_ok());
    assert_eq!(parse(&many(MAX_PARAMETERS + 1)), Err(TokenRequestError::TooManyParameters));
    assert_eq!(parse(&many(10_000)), Err(TokenRequestError::BodyTooLong { bytes: many(10_000).len() }));
    assert!(parse(&format!("scope={}", "a".repeat(MAX_VALUE_BYTES))).is_ok());
    for body in [
        format!("scope={}", "a".repeat(MAX_VALUE_BYTES + 1)),
        format!("{}=1", "a".repeat(MAX_NAME_BYTES + 1)),
    ] {
        assert_eq!(parse(&body), Err(TokenRequestError::ParameterTooLong));
    }
}

#[test]
fn t34_debug_shows_no_secret() {
    let request = parse("client_secret=canary&client_assertion=canary").unwrap();
    let debug = format!("{request:?}");
    assert!(!debug.contains("canary"), "{debug}");
}

#[test]
fn a_form_has_what_was_asked_for_and_no_more() {
    let render = |form: TokenRequestForm<'_>| form.render().unwrap().expose().clone();
    assert_eq!(render(TokenRequestForm::default()), "grant_type=client_credentials");
    let empty = Scope::empty();
    assert_eq!(
        render(TokenRequestForm { scope: Some(&empty), ..TokenRequestForm::default() }),
        "grant_type=client_credentials"
    );
    let (scope, secret) = ("b a".parse().unwrap(), Secret::from("s & =é"));
    assert_eq!(
        render(TokenRequestForm {
            scope: Some(&scope),
            resources: &["https://a.example/".to_owned(), "urn:b".to_owned()],
            audience: Some("c d"),
            credential: Some(BodyCredential::Secret { client_id: "i:d", client_secret: &secret }),
            extra: &[("tenant".to_owned(), "1".to_owned())],
        }),
        "grant_type=client_credentials&scope=a+b&resource=https%3A%2F%2Fa.example%2F&resource=urn%3Ab&audience=c+d\
         &tenant=1&client_id=i%3Ad&client_secret=s+%26+%3D%C3%A9"
    );
}

#[test]
fn t36_a_form_carries_one_way_of_authentication() {
    let render = |credential| {
        let form = TokenRequestForm { credential: Some(credential), ..TokenRequestForm::default() };
        let rendered = form.render().unwrap().expose().clone();
        rendered.strip_prefix("grant_type=client_credentials&").unwrap().to_owned()
    };
    let assertion = Secret::from("a.b-_.c");
    let type_and_assertion = "client_assertion_type=urn%3Aietf%3Aparams%3Aoauth%3Aclient-assertion-type%3Ajwt-bearer\
                              &client_assertion=a.b-_.c";
    assert_eq!(
        render(BodyCredential::Assertion { client_id: Some("i d"), assertion: &assertion }),
        format!("client_id=i+d&{type_and_assertion}")
    );
    assert_eq!(
        render(BodyCredential::Assertion { client_id: None, assertion: &assertion }),
        type_and_assertion
    );
    assert_eq!(render(BodyCredential::ClientId { client_id: "i d" }), "client_id=i+d");
    assert_eq!(
        render(BodyCredential::Secret { client_id: "i", client_secret: &Secret::from("s") }),
        "client_id=i&client_secret=s"
    );
}

#[test]
fn an_extra_parameter_cannot_stand_in_for_a_known_one() {
    for name in [
        "grant_type",
        "scope",
        "client_id",
        "client_secret",
        "client_assertion_type",
        "client_assertion",
        "resource",
        "audience",
    ] {
        let extra = [(name.to_owned(), "1".to_owned())];
        let refused = TokenRequestForm { extra: &extra, ..TokenRequestForm::default() }.render().unwrap_err();
        assert_eq!(refused.name, name);
    }
}

proptest! {
    #[test]
    fn no_body_makes_the_parser_panic_and_what_it_reads_has_no_nul(body in proptest::collection::vec(any::<u8>(), 0..300)) {
        if let Ok(request) = TokenRequest::parse(&body) {
            prop_assert!(!request.scope.unwrap_or_default().contains('\0'));
        }
    }

    #[test]
    fn what_a_client_writes_the_server_reads(
        id in "[^\0]{1,20}", secret in "[^\0]{1,20}", audience in "[^\0]{1,20}",
        resources in proptest::collection::vec("[^\0]{1,20}", 0..4), value in "[^\0]{0,20}",
    ) {
        let secret = Secret::new(secret);
        let body = TokenRequestForm {
            audience: Some(&audience),
            resources: &resources,
            credential: Some(BodyCredential::Secret { client_id: &id, client_secret: &secret }),
            extra: &[("vendor &=+%é".to_owned(), value)],
            ..TokenRequestForm::default()
        }.render().unwrap();
        let request = TokenRequest::parse(body.expose().as_bytes()).unwrap();
        prop_assert_eq!(request.grant_type.as_deref(), Some(CLIENT_CREDENTIALS));
        prop_assert_eq!(request.client_id.as_deref(), Some(id.as_str()));
        prop_assert_eq!(request.client_secret, Some(secret));
        prop_assert_eq!(request.audience.as_deref(), Some(audience.as_str()));
        prop_assert_eq!(request.resources, resources);
        prop_assert_eq!(request.scope, None);
    }
}
