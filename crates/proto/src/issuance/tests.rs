use super::*;
use proptest::prelude::*;

const NOW: Timestamp = Timestamp::from_unix_millis(1_800_000_000_999);

fn settings() -> ClientSettings {
    ClientSettings {
        allowed_scope: "orders:read orders:write".parse().unwrap(),
        ..ClientSettings::new("orders-worker")
    }
}

fn client(settings: ClientSettings) -> RegisteredClient {
    RegisteredClient::new(settings, ClientCredentials::from_digest(SecretDigest::new([7; 32]))).unwrap()
}

fn policy() -> IssuancePolicy {
    IssuancePolicy::new("https://as.example".to_owned(), MAX_TOKEN_LIFETIME).unwrap()
}

/// The outcome of `body` as one line: `scope | audience`, or the error code.
fn outcome(client: &RegisteredClient, body: &str) -> String {
    let request = TokenRequest::parse(body.as_bytes()).unwrap();
    match decide(client, &request, &policy(), NOW) {
        Ok(grant) => format!("{} | {}", grant.scope, grant.audience.join(" ")),
        Err(refusal) => refusal.code.to_string(),
    }
}

#[test]
fn only_client_credentials_is_granted() {
    let client = client(settings());
    for (body, expected) in [
        ("grant_type=client_credentials&scope=orders:read", "orders:read | https://as.example"),
        ("grant_type=password", "unsupported_grant_type"),
        ("grant_type=authorization_code", "unsupported_grant_type"),
        ("grant_type=refresh_token", "unsupported_grant_type"),
        ("grant_type=CLIENT_CREDENTIALS", "unsupported_grant_type"),
        ("grant_type=client_credentials%20", "unsupported_grant_type"),
        ("grant_type=", "invalid_request"),
        ("scope=orders:read", "invalid_request"),
    ] {
        assert_eq!(outcome(&client, body), expected, "{body}");
    }
}

#[test]
fn a_scope_is_granted_whole_or_refused() {
    let client = client(settings());
    let asked = |scope: &str| outcome(&client, &format!("grant_type=client_credentials&scope={scope}"));
    assert_eq!(asked("orders:write+orders:read"), "orders:read orders:write | https://as.example");
    for refused in ["orders:delete", "orders:read+admin", "ORDERS:READ", "%22", "a%0Ab", "é"] {
        assert_eq!(asked(refused), "invalid_scope", "{refused}");
    }
}

#[test]
fn without_a_scope_the_default_is_granted() {
    let body = "grant_type=client_credentials";
    assert_eq!(outcome(&client(settings()), body), "orders:read orders:write | https://as.example");
    let default_scope = Some("orders:read".parse().unwrap());
    assert_eq!(
        outcome(&client(ClientSettings { default_scope, ..settings() }), body),
        "orders:read | https://as.example"
    );
    assert_eq!(outcome(&client(ClientSettings::new("bare")), body), " | https://as.example");
}

#[test]
fn a_grant_is_usual_when_naming_nothing_gives_the_same() {
    let audiences = vec!["https://a.example".to_owned(), "https://b.example".to_owned()];
    let all = client(ClientSettings { audiences, ..settings() });
    let default_scope = Some("orders:read".parse().unwrap());
    let some = client(ClientSettings { default_scope, ..settings() });
    for (client, parameters, is_usual) in [
        (&all, "", true),
        (&all, "&scope=orders:read+orders:write", true),
        (&all, "&scope=orders:write+orders:read+orders:read", true),
        (&all, "&resource=https://a.example", true),
        (&all, "&resource=https://a.example&audience=https://a.example", true),
        (&all, "&scope=orders:read", false),
        (&all, "&resource=https://b.example", false),
        (&all, "&resource=https://a.example&resource=https://b.example", false),
        (&all, "&resource=https://b.example&resource=https://a.example", false),
        (&some, "", true),
        (&some, "&scope=orders:read&audience=https://as.example", true),
        (&some, "&scope=orders:read+orders:write", false),
        (&some, "&scope=orders:write", false),
    ] {
        let body = format!("grant_type=client_credentials{parameters}");
        let (request, policy) = (TokenRequest::parse(body.as_bytes()).unwrap(), policy());
        let grant = decide(client, &request, &policy, NOW).unwrap();
        assert_eq!(grant.is_usual, is_usual, "{parameters}");
        // Whatever is kept for the usual grant is good for this one.
        let usual = TokenRequest::parse(b"grant_type=client_credentials").unwrap();
        let usual = decide(client, &usual, &policy, NOW).unwrap();
        assert_eq!(is_usual, (&grant.scope, &grant.audience) == (&usual.scope, &usual.audience));
    }
}

#[test]
fn audiences_are_those_of_the_client_and_never_the_client_itself() {
    let audiences = vec!["https://a.example".to_owned(), "https://b.example".to_owned()];
    let client = client(ClientSettings { audiences, ..ClientSettings::new("worker") });
    let asked = |parameters: &str| outcome(&client, &format!("grant_type=client_credentials{parameters}"));
    assert_eq!(asked(""), " | https://a.example");
    assert_eq!(asked("&resource=https://b.example"), " | https://b.example");
    assert_eq!(asked("&audience=https://b.example"), " | https://b.example");
    assert_eq!(
        asked("&resource=https://b.example&resource=https://a.example&audience=https://b.example"),
        " | https://b.example https://a.example"
    );
    for refused in ["https://as.example", "https://a.example/", "https://A.example", "worker"] {
        assert_eq!(asked(&format!("&resource={refused}")), "invalid_target", "{refused}");
        assert_eq!(asked(&format!("&audience={refused}&resource=https://a.example")), "invalid_target");
    }
}

#[test]
fn t37_descriptions_repeat_nothing_that_the_caller_sent() {
    let client = client(settings());
    for body in [
        "grant_type=canary",
        "grant_type=client_credentials&scope=canary",
        "grant_type=client_credentials&resource=canary",
    ] {
        let request = TokenRequest::parse(body.as_bytes()).unwrap();
        let refusal = decide(&client, &request, &policy(), NOW).unwrap_err();
        assert!(!refusal.description.contains("canary"), "{body}");
        assert!(refusal.detail.contains("canary"), "{body}");
    }
}

fn authenticated(client: Option<&RegisteredClient>, digest: u8) -> Result<&str, AuthenticationFailure> {
    authenticate(client, &SecretDigest::new([digest; 32]), NOW).map(|secret| secret.name.as_str())
}

#[test]
fn t35_every_failed_authentication_has_its_reason_for_the_log() {
    let enabled = client(settings());
    let disabled = client(ClientSettings { status: ClientStatus::Disabled, ..settings() });
    assert_eq!(authenticated(Some(&enabled), 7), Ok("default"));
    assert_eq!(authenticated(Some(&enabled), 8), Err(AuthenticationFailure::WrongSecret));
    assert_eq!(authenticated(Some(&disabled), 8), Err(AuthenticationFailure::WrongSecret));
    assert_eq!(authenticated(Some(&disabled), 7), Err(AuthenticationFailure::Disabled));
    assert_eq!(authenticated(None, 7), Err(AuthenticationFailure::UnknownClient));
}

#[test]
fn the_dummy_digest_opens_nothing() {
    assert_eq!(authenticated(None, 0), Err(AuthenticationFailure::UnknownClient));
    assert_eq!(authenticated(Some(&client(settings())), 0), Err(AuthenticationFailure::WrongSecret));
    let without = RegisteredClient::new(settings(), ClientCredentials::default()).unwrap();
    assert_eq!(authenticated(Some(&without), 0), Err(AuthenticationFailure::WrongSecret));
}

#[test]
fn each_of_two_secrets_is_good_in_its_term() {
    let secret = |name: &str, digest| NamedSecret::new(name, SecretDigest::new([digest; 32]), NOW);
    let second = Duration::from_secs(1);
    let with = |old: NamedSecret, new: NamedSecret| {
        let credentials = ClientCredentials { secrets: vec![old, new], ..ClientCredentials::default() };
        RegisteredClient::new(settings(), credentials).unwrap()
    };
    let both = with(
        NamedSecret { expires_at: Some(NOW.saturating_add(second)), ..secret("old", 1) },
        NamedSecret { not_before: Some(NOW), ..secret("new", 2) },
    );
    assert_eq!((authenticated(Some(&both), 1), authenticated(Some(&both), 2)), (Ok("old"), Ok("new")));
    assert_eq!(authenticated(Some(&both), 3), Err(AuthenticationFailure::WrongSecret));
    let neither = with(
        NamedSecret { expires_at: Some(NOW), ..secret("old", 1) },
        NamedSecret { not_before: Some(NOW.saturating_add(second)), ..secret("new", 2) },
    );
    assert_eq!(authenticated(Some(&neither), 1), Err(AuthenticationFailure::SecretExpired));
    assert_eq!(authenticated(Some(&neither), 2), Err(AuthenticationFailure::SecretNotYet));
}

#[test]
fn labels_are_bounded() {
    let labelled = |name: &str, value: &str| {
        let labels = [(name.to_owned(), value.to_owned())].into();
        RegisteredClient::new(ClientSettings { labels, ..settings() }, ClientCredentials::default())
    };
    assert!(labelled("example.com/team", "Zahlungen & Co").is_ok());
    for (name, value) in
        [("", "a"), ("a b", "a"), ("a", "a\nb"), (&"a".repeat(64), "a"), ("a", &"a".repeat(257))]
    {
        assert_eq!(labelled(name, value).unwrap_err(), InvalidClientSettings::Labels, "{name:?} {value:?}");
    }
}

#[test]
fn settings_that_do_not_hold_together_make_no_client() {
    let refused = |settings: ClientSettings| {
        RegisteredClient::new(settings, ClientCredentials::from_digest(SecretDigest::new([7; 32])))
            .unwrap_err()
    };
    for client_id in ["", "é", "a\nb", "a\u{7f}", &"a".repeat(MAX_CLIENT_ID_BYTES + 1)] {
        assert_eq!(refused(ClientSettings::new(client_id)), InvalidClientSettings::ClientId, "{client_id:?}");
    }
    let default_scope = Some("admin".parse().unwrap());
    assert_eq!(refused(ClientSettings { default_scope, ..settings() }), InvalidClientSettings::DefaultScope);
    let tokens = (0..2000).map(|at| format!("scope-{at}"));
    let allowed_scope = Scope::from_tokens(tokens).unwrap();
    assert_eq!(refused(ClientSettings { allowed_scope, ..settings() }), InvalidClientSettings::AllowedScope);
    let with_audiences = |audiences: Vec<String>| refused(ClientSettings { audiences, ..settings() });
    assert_eq!(with_audiences(vec!["orders-worker".to_owned()]), InvalidClientSettings::AudienceIsClient);
    for audience in ["", "a b", "é", "a\tb", &"a".repeat(MAX_AUDIENCE_BYTES + 1)] {
        assert_eq!(
            with_audiences(vec![audience.to_owned()]),
            InvalidClientSettings::Audience,
            "{audience:?}"
        );
    }
    let many = (0..=MAX_AUDIENCES).map(|at| format!("urn:{at}")).collect();
    assert_eq!(with_audiences(many), InvalidClientSettings::TooManyAudiences);
    for millis in [0, 999, 1500, 30 * 24 * 3600 * 1000 + 1000] {
        let token_lifetime = Duration::from_millis(millis);
        assert_eq!(
            refused(ClientSettings { token_lifetime, ..settings() }),
            InvalidClientSettings::TokenLifetime
        );
        assert_eq!(
            IssuancePolicy::new("urn:a".to_owned(), token_lifetime),
            Err(InvalidPolicy::LongestLifetime)
        );
    }
    assert_eq!(
        IssuancePolicy::new("a b".to_owned(), MAX_TOKEN_LIFETIME),
        Err(InvalidPolicy::DefaultAudience)
    );
}

#[test]
fn t34_debug_of_a_client_shows_no_digest() {
    let debug = format!("{:?}", client(settings()));
    assert!(debug.contains("NamedSecret") && !debug.contains("7, 7"), "{debug}");
}

proptest! {
    #[test]
    fn no_grant_is_ever_more_than_the_client_may_have(
        allowed in proptest::collection::btree_set("[a-e]", 0..4),
        asked in proptest::collection::vec("[a-f]", 0..4),
        audiences in proptest::collection::btree_set("urn:[a-c]", 0..3),
        resources in proptest::collection::vec("urn:[a-d]", 0..3),
        seconds in 1_u64..=2_592_000, longest in 1_u64..=2_592_000, now_ms in any::<u64>(),
    ) {
        let client = client(ClientSettings {
            allowed_scope: Scope::from_tokens(&allowed).unwrap(),
            audiences: audiences.iter().cloned().collect(),
            token_lifetime: Duration::from_secs(seconds),
            ..ClientSettings::new("property")
        });
        let request = TokenRequest {
            grant_type: Some(CLIENT_CREDENTIALS.into()),
            scope: (!asked.is_empty()).then(|| asked.join(" ").into()),
            resources: resources.iter().map(Into::into).collect(),
            ..TokenRequest::default()
        };
        let policy = IssuancePolicy::new("urn:default".to_owned(), Duration::from_secs(longest)).unwrap();
        let now = Timestamp::from_unix_millis(now_ms);
        let may_have_scope = asked.iter().all(|token| allowed.contains(token));
        let may_have_audience = resources.iter().all(|resource| audiences.contains(resource));
        match decide(&client, &request, &policy, now) {
            Ok(grant) => {
                prop_assert!(may_have_scope && may_have_audience);
                prop_assert!(grant.scope.is_subset_of(&client.settings().allowed_scope));
                prop_assert!(!grant.audience.is_empty());
                for audience in &grant.audience {
                    prop_assert!(audiences.contains(*audience) || (audiences.is_empty() && *audience == "urn:default"));
                }
                prop_assert!((MIN_TOKEN_LIFETIME..=MAX_TOKEN_LIFETIME).contains(&grant.lifetime));
                prop_assert!(grant.lifetime <= Duration::from_secs(longest));
                prop_assert!(grant.issued_at <= now && grant.expires_at() >= grant.issued_at);
            }
            Err(refusal) => {
                prop_assert!(!(may_have_scope && may_have_audience));
                prop_assert!(matches!(refusal.code, ErrorCode::InvalidScope | ErrorCode::InvalidTarget));
            }
        }
    }
}
