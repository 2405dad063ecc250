use super::*;

fn faults(text: &str) -> Vec<String> {
    match read("a.toml", text, Path::new("")) {
        Ok(clients) => panic!("{clients:?}"),
        Err(faults) => faults.iter().map(ToString::to_string).collect(),
    }
}

fn clients(text: &str) -> Vec<DeclaredClient> {
    read("a.toml", text, Path::new("")).unwrap_or_else(|faults| panic!("{faults:?}"))
}

const WHOLE: &str = r#"
[[client]]
client_id = "billing"
scope = "invoices:read invoices:write"
default_scope = "invoices:read"
audience = ["https://billing.example", "https://other.example"]
token_lifetime_seconds = 900
signing_algorithm = "EdDSA"
status = "disabled"
labels = { team = "billing", "cost/center" = "7" }
jwks_uri = "https://billing.example/jwks"
tls_client_auth_san_dns = "billing.example"
certificates = ["AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"]

[[client.workloads]]
issuer = "https://ci.example"
audience = "https://id.example"
subject = "repo:acme/billing:*"
claims = { ref = "refs/heads/main" }

[[client.secret_digests]]
name = "2026"
digest = "hmac-sha256:00000001:abababababababababababababababababababababababababababababababab"
expires_at = 2027-01-31T00:00:00Z

[[client]]
client_id = "plain"
audience = "https://one.example"
"#;

#[test]
fn a_file_has_everything_that_a_client_has() {
    let [billing, plain] = <[_; 2]>::try_from(clients(WHOLE)).unwrap();
    assert_eq!(billing.settings.allowed_scope.to_string(), "invoices:read invoices:write");
    assert_eq!(billing.settings.default_scope.unwrap().to_string(), "invoices:read");
    assert_eq!(billing.settings.audiences.len(), 2);
    assert_eq!(billing.settings.token_lifetime, Duration::from_mins(15));
    assert_eq!(billing.settings.signing_algorithm, Some(Algorithm::EdDsa));
    assert_eq!(billing.status, Some(ClientStatus::Disabled));
    assert_eq!(billing.settings.labels["cost/center"], "7");
    assert_eq!(billing.credentials.keys, Some(ClientKeys::Url("https://billing.example/jwks".to_owned())));
    assert_eq!(billing.credentials.tls_subject, Some(TlsSubject::Dns("billing.example".to_owned())));
    assert_eq!(billing.credentials.certificates[0].0, [0; 32]);
    assert_eq!(billing.credentials.workloads[0].claims.len(), 1);
    let DeclaredSecrets::These(secrets) = billing.secrets else { panic!() };
    assert_eq!((secrets[0].key_id, secrets[0].digest.as_bytes()), ([0, 0, 0, 1], &[0xab; 32]));
    assert_eq!(secrets[0].expires_at, Some(Timestamp::from_unix_seconds(1_801_353_600)));
    assert_eq!((plain.secrets, plain.status), (DeclaredSecrets::InRegistry, None));
    assert_eq!(plain.settings.audiences, ["https://one.example"]);
    assert_eq!(plain.place.to_string(), "a.toml:27");
}

#[test]
fn one_client_needs_no_table() {
    let [client] = <[_; 1]>::try_from(clients("client_id = 'a'\nscope = 'x'")).unwrap();
    assert_eq!(client.settings.client_id, "a");
}

#[test]
fn every_fault_is_told_with_its_line() {
    let text = "client_id = 'a'\nscope = 'a\"b'\nlifetime = 7\ntoken_lifetime_seconds = '1h'\nstatus = 'off'\n\
                signing_algorithm = 'none'\njwks = {}\njwks_uri = 'x'\n";
    let told = faults(text);
    for (at, words) in [
        ("a.toml:2: ", "scope"),
        ("a.toml:3: ", "there is no key lifetime"),
        ("a.toml:4: ", "token_lifetime_seconds: invalid type"),
        ("a.toml:5: ", "enabled or disabled"),
        ("a.toml:6: ", "ES256"),
        ("a.toml:8: ", "has one of them"),
    ] {
        assert!(
            told.iter().any(|fault| fault.starts_with(at) && fault.contains(words)),
            "{at}{words}: {told:?}"
        );
    }
}

#[test]
fn what_does_not_hold_together_is_told_where_it_stands() {
    for (text, fault) in [
        ("scope = ''", "a.toml:1: client_id is missing"),
        ("client_id = ''", "a.toml:1: a client id has"),
        ("client_id = 'a'\n\ntoken_lifetime_seconds = 0", "a.toml:3: a token lifetime"),
        ("client_id = 'a'\nscope = 'a'\ndefault_scope = 'b'", "a.toml:3: the default scope"),
        ("client_id = 'a'\naudience = ['a']", "a.toml:2: the client id cannot be"),
        ("client_id = 'a'\njwks_uri = 'http://a.example'", "a.toml:2: the jwks_uri"),
        ("client_id = 'a'\nworkloads = [{ issuer = 'https://a', audience = 'b' }]", "a.toml:2: a workload"),
        ("client_id = 'a'\n[[client]]\nclient_id = 'b'", "a.toml:1: client_id: beside [[client]]"),
        ("client = 7", "a.toml:1: client: several clients"),
        ("client_id = 'a'\ncertificates = ['AAAA']", "a.toml:2: certificates: each is"),
        ("client_id = 'a'\nscope = = 'a'", "a.toml:2: "),
    ] {
        let told = faults(text);
        assert!(told[0].starts_with(fault), "{text}: {told:?}");
    }
}

#[test]
fn a_secret_in_a_file_is_refused_and_not_told_again() {
    let told = faults("client_id = 'a'\nsecret_digests = [{ name = 'x', digest = 'canary' }]");
    assert!(told[0].starts_with("a.toml:2: digest: it is what `jeton client hash"), "{told:?}");
    let told = [told, faults("client_id = 'a'\nclient_secret = 'canary'")].concat();
    assert!(told.iter().all(|fault| !fault.contains("canary")), "{told:?}");
}

proptest::proptest! {
    #[test]
    fn no_text_makes_it_panic(text in "(client_id|scope|\\[\\[client\\]\\]|[a-z=\\[\\]{}'\"\n., 0-9é])*") {
        let _read = read("a.toml", &text, Path::new(""));
    }
}
