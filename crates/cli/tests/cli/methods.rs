//! Every way in which a client proves itself, as it goes over the wire, and what is refused before.

use crate::api::{Api, Asked};
use crate::process::{Ended, Home, finish};
use crate::stub::grant;
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use jeton_proto::jose::jwk::SigningKey;
use jeton_proto::jose::jws::{Algorithm, UnverifiedJws};
use serde_json::{Value, json};
use std::collections::BTreeMap;

const SECRET: &str = "canary secret+of more than thirty-two bytes";
const ASSERTION: &str = "eyJhbGciOiJSUzI1NiJ9.eyJzdWIiOiJjYW5hcnkifQ.Y2FuYXJ5";

/// Runs the program as a client of `token_url`.
fn run(home: &Home, token_url: &str, variables: &[(&str, &str)], args: &[&str]) -> Ended {
    let mut command = home.jeton(args);
    command.env("JETON_TOKEN_URL", token_url).env("JETON_CLIENT_ID", "bil+ling");
    command.envs(variables.iter().copied());
    finish(command)
}

fn granting() -> Api {
    Api::start(|number, _| grant(&format!("token-{number}"), 3600))
}

fn parameters(asked: &Asked) -> BTreeMap<String, String> {
    url::form_urlencoded::parse(asked.body.as_bytes()).into_owned().collect()
}

fn part(jwt: &str, number: usize) -> Value {
    serde_json::from_slice(&URL_SAFE_NO_PAD.decode(jwt.split('.').nth(number).unwrap()).unwrap()).unwrap()
}

/// A new key as PEM, and its public half.
fn new_key() -> (String, SigningKey) {
    let key = SigningKey::generate(Algorithm::Es256).unwrap();
    let body = STANDARD.encode(key.to_pkcs8().unwrap().expose());
    (format!("-----BEGIN PRIVATE KEY-----\n{body}\n-----END PRIVATE KEY-----\n"), key)
}

#[test]
fn r4_1_a_secret_goes_in_the_header_in_the_body_or_into_an_assertion() {
    let (home, api) = (Home::new(), granting());
    let secret = home.write_secret("secret", SECRET);
    let source = format!("file:{secret}");
    for extra in [
        &["--basic-encoding", "raw"][..],
        &[],
        &["--auth-method", "client_secret_post"],
        &["--auth-method", "client_secret_jwt", "--assertion-lifetime", "30s"],
    ] {
        let args = [&["token", "--no-cache", "--client-secret", &source], extra].concat();
        run(&home, &api.url("/token"), &[], &args).done();
    }
    let asked = api.asked();
    let basic = |asked: &Asked| {
        let value = asked.field("authorization").unwrap().strip_prefix("Basic ").unwrap();
        String::from_utf8(STANDARD.decode(value).unwrap()).unwrap()
    };
    assert_eq!(basic(&asked[0]), format!("bil+ling:{SECRET}"));
    assert_eq!(basic(&asked[1]), format!("bil%2Bling:{}", SECRET.replace('+', "%2B").replace(' ', "+")));
    assert_eq!((asked[2].field("authorization"), asked[3].field("authorization")), (None, None));
    assert_eq!(parameters(&asked[2])["client_secret"], SECRET);
    let sent = parameters(&asked[3]);
    assert!(!sent.contains_key("client_secret"), "{sent:?}");
    let claims = part(&sent["client_assertion"], 1);
    assert_eq!(part(&sent["client_assertion"], 0)["alg"], "HS256");
    assert_eq!(claims["aud"], api.url("/token"));
    assert_eq!(claims["exp"].as_u64().unwrap() - claims["iat"].as_u64().unwrap(), 30);
}

#[test]
fn r4_1_a_private_key_signs_what_the_settings_file_says() {
    let (home, api, (pem, key)) = (Home::new(), granting(), new_key());
    home.write_secret(".config/jeton/key.pem", &pem);
    let text = format!(
        "[client.a]\ntoken_url = \"{}\"\nissuer = \"https://issuer.example\"\nclient_id = \"billing\"\n\
         private_key = \"file:key.pem\"\nkey_id = \"2026-11\"\nassertion_lifetime = \"120s\"\n",
        api.url("/token")
    );
    home.write(".config/jeton/jeton.toml", &text);
    home.run(&["token", "--client", "a"]).done();
    let other = ["--assertion-audience", "https://audience.example", "--key-id", "other"];
    home.run(&[&["login", "--renew", "--client", "a"], &other[..]].concat()).done();
    let asked = api.asked();
    let verified = |asked: &Asked| {
        let sent = parameters(asked);
        assert_eq!(sent["client_id"], "billing");
        assert!(asked.field("authorization").is_none() && !sent.contains_key("client_secret"), "{sent:?}");
        let jws = UnverifiedJws::parse(&sent["client_assertion"]).unwrap();
        let claims = jws.verify(&key.public_jwk().verification_key().unwrap()).unwrap();
        (jws.key_id().map(str::to_owned), serde_json::from_slice::<Value>(&claims).unwrap())
    };
    let (key_id, claims) = verified(&asked[0]);
    assert_eq!((key_id.as_deref(), &claims["aud"]), (Some("2026-11"), &json!("https://issuer.example")));
    assert_eq!((&claims["iss"], &claims["sub"]), (&json!("billing"), &json!("billing")));
    assert_eq!(claims["exp"].as_u64().unwrap() - claims["iat"].as_u64().unwrap(), 120);
    let (key_id, claims) = verified(&asked[1]);
    assert_eq!((key_id.as_deref(), &claims["aud"]), (Some("other"), &json!("https://audience.example")));
    // Another key is another credential: what the first one brought is not given out.
    home.run(&["token", "--client", "a"]).done();
    assert_eq!(api.asked().len(), 2);
    home.write_secret(".config/jeton/key.pem", &new_key().0);
    home.run(&["token", "--client", "a"]).done();
    assert_eq!(api.asked().len(), 3);
}

#[test]
fn r4_1_x5t_s256_names_the_certificate_beside_the_key() {
    let keys = concat!(env!("CARGO_MANIFEST_DIR"), "/../../testdata/keys");
    let read = |name: &str| std::fs::read_to_string(format!("{keys}/{name}")).unwrap();
    let (home, api) = (Home::new(), granting());
    let both = home.write_secret("both.pem", &(read("p256-pkcs8.pem") + &read("p256-certificate.pem")));
    let variables = [("JETON_PRIVATE_KEY", &*format!("file:{both}")), ("JETON_X5T_S256", "true")];
    run(&home, &api.url("/token"), &variables, &["token"]).done();
    let header = part(&parameters(&api.asked()[0])["client_assertion"], 0);
    assert_eq!(header["x5t#S256"].as_str().unwrap().len(), 43, "{header}");
}

#[test]
fn r4_1_an_assertion_of_the_platform_is_sent_as_it_is_and_its_successor_finds_the_kept_token() {
    let (home, api) = (Home::new(), granting());
    let path = home.write_secret("run/token", &format!("{ASSERTION}\n"));
    let variables = [("JETON_CLIENT_ASSERTION", "file:run/token")];
    let token = |args: &[&str]| run(&home, &api.url("/token"), &variables, args);
    assert_eq!(token(&["token"]).done(), "token-0\n");
    let sent = parameters(&api.asked()[0]);
    assert_eq!((&*sent["client_assertion"], &*sent["client_id"]), (ASSERTION, "bil+ling"));
    let next = ASSERTION.replace("canary", "another");
    std::fs::write(&path, format!("{next}XY")).unwrap();
    assert_eq!(token(&["token"]).done(), "token-0\n", "the token of the hour before is kept");
    token(&["login", "--renew"]).done();
    assert_eq!(parameters(&api.asked()[1])["client_assertion"], format!("{next}XY"));
    // Another place may be that of another client.
    let other = home.write_secret("run/other", ASSERTION);
    let other = [("JETON_CLIENT_ASSERTION", &*format!("file:{other}"))];
    assert_eq!(run(&home, &api.url("/token"), &other, &["token"]).done(), "token-2\n");
    std::fs::remove_file(path).unwrap();
    token(&["token"]).failed(5, &["run/token"]);
}

#[test]
fn r4_3_the_previous_secret_serves_while_the_server_does_not_know_the_new_one() {
    let home = Home::new();
    let old = STANDARD.encode("bil%2Bling:canary-old");
    let api = Api::start(move |_, asked| {
        if asked.field("authorization") == Some(&format!("Basic {old}")) {
            return grant("old", 3600);
        }
        let refusal = "{\"error\":\"invalid_client\"}".to_owned();
        ("401 Unauthorized\r\ncontent-type: application/json".to_owned(), refusal)
    });
    let (new, old) = (home.write_secret("new", "canary-new"), home.write_secret("old", "canary-old"));
    let (new, old) = (format!("file:{new}"), format!("file:{old}"));
    let args = ["token", "--client-secret", &new, "--client-secret-previous", &old];
    let ended = run(&home, &api.url("/token"), &[], &args);
    assert_eq!(ended.done(), "old\n");
    assert!(!ended.stderr.contains("canary") && api.asked().len() == 2, "{ended}");
    run(&home, &api.url("/token"), &[], &["token", "--no-cache", "--client-secret", &new])
        .failed(3, &["invalid_client"]);
}

#[test]
fn two_things_to_prove_a_client_with_are_refused_and_the_nearest_section_has_all_of_it() {
    let (home, api) = (Home::new(), granting());
    let secret = home.write_secret("secret", "canary-secret");
    let key = home.write_secret("key", &new_key().0);
    let (secret, key) = (format!("file:{secret}"), format!("file:{key}"));
    let url = api.url("/token");
    run(&home, &url, &[], &["token", "--client-secret", &secret, "--private-key", &key])
        .failed(2, &["--private-key: a client secret is set too, by --client-secret"]);
    let both = [("JETON_CLIENT_SECRET", "canary-secret"), ("JETON_CLIENT_CERTIFICATE", &*key)];
    run(&home, &url, &both, &["token"])
        .failed(5, &["JETON_CLIENT_CERTIFICATE: a client secret is set too, by JETON_CLIENT_SECRET"]);
    for (flag, with) in [
        ("--client-secret-previous", "a client secret"),
        ("--client-certificate-key", "a client certificate"),
    ] {
        run(&home, &url, &both[..1], &["token", flag, &key]).failed(2, &[flag, "it goes with", with]);
    }
    let file = format!("client_secret = \"{secret}\"\nclient_assertion = \"{key}\"\n");
    home.write(".config/jeton/jeton.toml", &file);
    run(&home, &url, &[], &["token"]).failed(5, &[":2:20: client_assertion: ", ":1:17: client_secret"]);
    assert_eq!(api.asked().len(), 0);
    // A flag supplies all of it, and what is further away is not looked at.
    run(&home, &url, &both[..1], &["token", "--private-key", &key]).done();
    assert!(parameters(&api.asked()[0]).contains_key("client_assertion"));
}

#[test]
fn what_stands_beside_another_server_is_not_sent_to_this_one() {
    let (home, api) = (Home::new(), granting());
    home.write_secret(".config/jeton/key.pem", &new_key().0);
    let own = api.url("/token");
    for (top, profile, place) in [
        ("token_url = \"https://top.example/t\"", format!("token_url = \"{own}\""), "token_url: "),
        ("issuer = \"https://top.example\"", format!("token_url = \"{own}\""), "token_url: "),
        ("token_url = \"https://top.example/t\"", format!("issuer = \"{}\"", api.url("")), "issuer: "),
        ("issuer = \"https://top.example\"", format!("issuer = \"{}\"", api.url("")), "issuer: "),
    ] {
        let text =
            format!("{top}\nprivate_key = \"file:key.pem\"\n[client.a]\nclient_id = \"a\"\n{profile}\n");
        home.write(".config/jeton/jeton.toml", &text);
        let words =
            [place, "the private key at the top of the file is for the", "write private_key in the profile"];
        home.run(&["token", "--client", "a"]).failed(5, &words);
    }
    // The endpoint of one server and the issuer of another do not come together either.
    let text = format!(
        "token_url = \"{own}\"\n[client.a]\nclient_id = \"a\"\nissuer = \"{}\"\nprivate_key = \"file:key.pem\"\n",
        api.url("/issuer")
    );
    home.write(".config/jeton/jeton.toml", &text);
    let _no_metadata = home.run(&["token", "--client", "a"]);
    let asked = api.asked();
    assert!(!asked.is_empty() && asked.iter().all(|asked| asked.line.starts_with("GET ")), "{asked:?}");
}

#[test]
fn what_does_not_go_together_is_told_with_both_places() {
    let (home, api) = (Home::new(), granting());
    let key = home.write_secret("key", &new_key().0);
    let secret = home.write_secret("secret", "canary-secret");
    let (key, secret) = (format!("file:{key}"), format!("file:{secret}"));
    let url = api.url("/token");
    let refused = |variables: &[(&str, &str)], args: &[&str], code: i32, words: &[&str]| {
        let ended = run(&home, &url, variables, &[&["token"], args].concat());
        ended.failed(code, words);
        assert!(!ended.stderr.contains("canary"), "{ended}");
    };
    let method = [("JETON_AUTH_METHOD", "client_secret_post")];
    let words =
        ["JETON_AUTH_METHOD: client_secret_post does not go with the private key", "by --private-key"];
    refused(&method, &["--private-key", &key], 5, &words);
    refused(
        &[],
        &["--private-key", &key, "--auth-method", "mtls"],
        2,
        &["--auth-method: ", "tls_client_auth"],
    );
    for (setting, value) in [("--key-id", "k"), ("--x5t-s256", "true"), ("--basic-encoding", "raw")] {
        let source = if setting == "--basic-encoding" {
            ["--private-key", &key]
        } else {
            ["--client-secret", &secret]
        };
        refused(&[], &[&source[..], &[setting, value]].concat(), 2, &[setting, "it has no use with the "]);
    }
    for (setting, value, words) in [
        ("--assertion-lifetime", "6m", "from 1s to 300s"),
        ("--assertion-algorithm", "none", "ES256"),
        ("--x5t-s256", "yes", "true or false"),
        ("--credential-period", "0s", "from 1 s to 24 h"),
        ("--rotation-due-after", "5000d", "ten years"),
    ] {
        let code = 2;
        refused(&[], &["--private-key", &key, setting, value], code, &[&format!("{setting}: "), words]);
    }
    // What is further away than the key is for others.
    let text = format!(
        "basic_encoding = \"raw\"\n[client.a]\nclient_id = \"a\"\ntoken_url = \"{url}\"\nprivate_key = \"{key}\"\n"
    );
    home.write(".config/jeton/jeton.toml", &text);
    home.run(&["token", "--client", "a"]).done();
    refused(&[], &["--private-key", &secret], 5, &["private key"]);
    let certificate = ["--client-certificate", &key];
    refused(&[], &certificate, 5, &["mutual TLS wants a token URL with https"]);
}

#[test]
fn t34_what_is_no_place_is_not_told_whatever_the_setting() {
    let (home, (pem, _)) = (Home::new(), new_key());
    let canary = pem.lines().nth(1).unwrap();
    let beginning: String = canary.chars().take(20).collect();
    for (variable, flag, key) in [
        ("JETON_PRIVATE_KEY", "--private-key", "private_key"),
        ("JETON_CLIENT_ASSERTION", "--client-assertion", "client_assertion"),
        ("JETON_CLIENT_CERTIFICATE", "--client-certificate", "client_certificate"),
        ("JETON_CLIENT_CERTIFICATE_KEY", "--client-certificate-key", "client_certificate_key"),
        ("JETON_CLIENT_SECRET_PREVIOUS", "--client-secret-previous", "client_secret_previous"),
    ] {
        for text in [pem.as_str(), canary] {
            let by_variable = run(&home, "https://id.example/t", &[(variable, text)], &["token"]);
            by_variable.failed(5, &[variable, "file:PATH"]);
            let by_flag = run(&home, "https://id.example/t", &[], &["token", flag, text]);
            by_flag.failed(2, &[flag, "file:PATH"]);
            home.write("jeton.toml", &format!("{key} = '''{text}'''"));
            let in_file = run(&home, "https://id.example/t", &[("JETON_CONFIG", "jeton.toml")], &["token"]);
            in_file.failed(5, &["jeton.toml:1:", &format!("{key} = \"file:PATH\"")]);
            for ended in [by_variable, by_flag, in_file] {
                assert!(!ended.stderr.contains(&beginning), "{ended}");
            }
        }
    }
}

#[test]
fn a_key_or_certificate_that_cannot_be_used_is_found_by_a_check() {
    let (home, (pem, _)) = (Home::new(), new_key());
    home.write_secret(".config/jeton/key", &pem);
    home.write_secret(".config/jeton/secret", "canary-secret");
    let profile = |name: &str, rest: &str| {
        format!("[client.{name}]\ntoken_url = \"https://id.example/t\"\nclient_id = \"x\"\n{rest}\n")
    };
    let text = profile("a", "private_key = \"file:key\"")
        + &profile("b", "private_key = \"file:secret\"")
        + &profile("c", "client_certificate = \"file:key\"")
        + &profile("d", "private_key = \"file:key\"\nassertion_algorithm = \"RS256\"");
    home.write(".config/jeton/jeton.toml", &text);
    let ended = home.run(&["profile", "check", "--output", "json"]);
    assert_eq!(ended.code, 5, "{ended}");
    let report = ended.json();
    let told = |number: usize| {
        let one = &report["profiles"][number];
        (one["status"].as_str().unwrap(), one["faults"][0]["message"].as_str().unwrap_or_default())
    };
    assert_eq!(told(0), ("ok", ""), "{report}");
    for (number, words) in [(1, "private_key: "), (2, "client_certificate: "), (3, "private_key: ")] {
        let (status, message) = told(number);
        assert!(status == "faulty" && message.contains(words), "{message}");
    }
    assert_eq!(report["profiles"][0]["token_endpoint_auth_method"], "private_key_jwt");
    assert!(!ended.stdout.contains("canary"), "{ended}");
}
