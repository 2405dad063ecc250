use super::*;
use crate::jose::jwk::Jwk;
use proptest::prelude::*;

macro_rules! fixture {
    ($name:literal) => {
        include_str!(concat!("../../../../../testdata/keys/", $name, ".pem"))
    };
}

fn read(text: &str) -> Result<AssertionKey, InvalidAssertionKey> {
    AssertionKey::from_text(&Secret::from(text), None)
}

fn refused(text: &str) -> InvalidAssertionKey {
    read(text).unwrap_err()
}

fn rfc7515(section: &str) -> Value {
    let file: Value =
        serde_json::from_str(include_str!("../../../../../testdata/rfc/rfc7515-appendix-a.json")).unwrap();
    file["examples"].as_array().unwrap().iter().find(|one| one["section"] == section).unwrap().clone()
}

/// The private JWK of an example.
fn private_jwk(section: &str) -> Value {
    let example = rfc7515(section);
    let mut jwk = example["key"].clone();
    for (name, value) in example["private_members"].as_object().unwrap() {
        jwk[name] = value.clone();
    }
    jwk
}

fn with(jwk: &Value, name: &str, value: Value) -> Result<AssertionKey, InvalidAssertionKey> {
    let mut jwk = jwk.clone();
    jwk[name] = value;
    read(&jwk.to_string())
}

fn header_of(key: &AssertionKey) -> Value {
    let signed = key.sign_payload("{}").unwrap();
    let (header, _) = signed.expose().split_once('.').unwrap();
    serde_json::from_slice(&URL_SAFE_NO_PAD.decode(header).unwrap()).unwrap()
}

#[test]
fn every_form_of_a_private_key_is_read_as_the_same_key() {
    let ec = read(fixture!("p256-pkcs8")).unwrap();
    assert_eq!(ec.algorithm(), AssertionAlgorithm::Es256);
    assert_eq!(read(fixture!("p256-sec1")).unwrap().thumbprint(), ec.thumbprint(), "after EC PARAMETERS");
    let rsa = read(fixture!("rsa2048-pkcs8")).unwrap();
    assert_eq!(rsa.algorithm(), AssertionAlgorithm::Rs256);
    assert_eq!(read(fixture!("rsa2048-pkcs1")).unwrap().thumbprint(), rsa.thumbprint());
    assert_eq!(read(fixture!("ed25519-pkcs8")).unwrap().algorithm(), AssertionAlgorithm::EdDsa);
    for odd in [
        fixture!("p256-pkcs8").replace('\n', "\r\n"),
        format!("\u{feff}  \nkey of the client\n{}", fixture!("p256-pkcs8")),
        fixture!("p256-pkcs8").replace('\n', "\n    ").trim_end().to_owned(),
        format!("{}{}", fixture!("p256-public"), fixture!("p256-pkcs8")),
    ] {
        assert_eq!(read(&odd).unwrap().thumbprint(), ec.thumbprint());
    }
}

#[test]
fn what_is_no_key_to_sign_with_says_what_it_is() {
    let damaged = fixture!("p256-pkcs8").replace("MIG", "MI!");
    let cut = fixture!("p256-pkcs8").split_once("-----END").unwrap().0.to_owned();
    let one_line = fixture!("p256-pkcs8").replace('\n', " ");
    let escaped = fixture!("p256-pkcs8").replace('\n', "\\n");
    let two = fixture!("p256-pkcs8").repeat(2);
    let other_end = fixture!("p256-pkcs8").replace("END PRIVATE", "END EC PRIVATE");
    let nested = fixture!("p256-pkcs8").replace("-----BEGIN", "-----BEGIN CERTIFICATE-----\n-----BEGIN");
    let many = "-----BEGIN X-----\n-----END X-----\n".repeat(pem::MAX_SECTIONS + 1);
    let mislabelled = fixture!("p256-pkcs8").replace("PRIVATE KEY", "RSA PRIVATE KEY");
    let short = InvalidAssertionKey::Rsa(KeyError::ModulusLength { bits: 1024 });
    for (text, expected) in [
        ("", InvalidAssertionKey::NoKey),
        ("hunter2", InvalidAssertionKey::NoKey),
        ("[]", InvalidAssertionKey::NoKey),
        ("-----BEGIN X-----\n-----END X-----", InvalidAssertionKey::NoKey),
        (fixture!("encrypted-pkcs8"), InvalidAssertionKey::Encrypted),
        (fixture!("encrypted-sec1"), InvalidAssertionKey::Encrypted),
        (fixture!("openssh"), InvalidAssertionKey::OpenSsh),
        (fixture!("p256-public"), InvalidAssertionKey::PublicOnly),
        (fixture!("p256-certificate"), InvalidAssertionKey::PublicOnly),
        (fixture!("p384-pkcs8"), InvalidAssertionKey::Kind("EC with P-384")),
        (fixture!("p384-sec1"), InvalidAssertionKey::Kind("EC with P-384")),
        (fixture!("ed448-pkcs8"), InvalidAssertionKey::Kind("Ed448")),
        (fixture!("x25519-pkcs8"), InvalidAssertionKey::Kind("X25519")),
        (fixture!("rsa-pss-pkcs8"), InvalidAssertionKey::Kind("RSASSA-PSS")),
        (fixture!("rsa1024-pkcs1"), short),
        (fixture!("rsa1024-pkcs8"), short),
        (&damaged, InvalidAssertionKey::Pem { line: 1 }),
        (&cut, InvalidAssertionKey::Pem { line: 1 }),
        (&other_end, InvalidAssertionKey::Pem { line: 1 }),
        (&nested, InvalidAssertionKey::Pem { line: 1 }),
        (&one_line, InvalidAssertionKey::LineBreaks),
        (&escaped, InvalidAssertionKey::LineBreaks),
        (&two, InvalidAssertionKey::SeveralKeys),
        (&many, InvalidAssertionKey::Sections),
        (&mislabelled, InvalidAssertionKey::Numbers),
    ] {
        assert_eq!(refused(text), expected, "{text:.60}");
    }
    let long = " ".repeat(MAX_KEY_TEXT_BYTES + 1);
    assert_eq!(refused(&long), InvalidAssertionKey::TooLong { bytes: long.len() });
}

#[test]
fn a_private_jwk_signs_as_the_rfcs_print_it() {
    for (section, algorithm) in [("A.2", AssertionAlgorithm::Rs256), ("A.3", AssertionAlgorithm::Es256)] {
        let example = rfc7515(section);
        let key = read(&private_jwk(section).to_string()).unwrap();
        assert_eq!((key.algorithm(), key.key_id()), (algorithm, None));
        let public = Jwk::from_json(example["key"].as_object().unwrap()).unwrap();
        assert_eq!(key.thumbprint().unwrap(), public.thumbprint());
        let (input, printed) = example["jws"].as_str().unwrap().rsplit_once('.').unwrap();
        let signature = key.signature(input.as_bytes()).unwrap();
        assert!(
            public.verification_key().unwrap().verifies(input.as_bytes(), signature.as_ref()),
            "{section}"
        );
        if algorithm == AssertionAlgorithm::Rs256 {
            assert_eq!(URL_SAFE_NO_PAD.encode(signature), printed);
        }
    }
    let example = rfc7515("A.1");
    let key = URL_SAFE_NO_PAD.decode(example["key"]["k"].as_str().unwrap()).unwrap();
    let (input, printed) = example["jws"].as_str().unwrap().rsplit_once('.').unwrap();
    let signature = AssertionKey::from_secret_bytes(&key).signature(input.as_bytes()).unwrap();
    assert_eq!(URL_SAFE_NO_PAD.encode(signature), printed);

    let example: Value =
        serde_json::from_str(include_str!("../../../../../testdata/rfc/rfc8037-appendix-a.json")).unwrap();
    let key = with(&example["key"], "d", example["private_member_d"].clone()).unwrap();
    let (input, printed) = example["jws"].as_str().unwrap().rsplit_once('.').unwrap();
    assert_eq!(URL_SAFE_NO_PAD.encode(key.signature(input.as_bytes()).unwrap()), printed);
}

#[test]
fn what_a_jwk_says_of_itself_is_obeyed() {
    let (rsa, ec) = (private_jwk("A.2"), private_jwk("A.3"));
    let as_text = |jwk: &Value, wanted| AssertionKey::from_text(&Secret::new(jwk.to_string()), Some(wanted));
    let both = [AssertionAlgorithm::Rs256, AssertionAlgorithm::Ps256];
    assert_eq!(read(&rsa.to_string()).unwrap().possible_algorithms(), both);
    assert_eq!(as_text(&rsa, AssertionAlgorithm::Ps256).unwrap().algorithm(), AssertionAlgorithm::Ps256);
    let pss = with(&rsa, "alg", json!("PS256")).unwrap();
    assert_eq!(pss.possible_algorithms(), [AssertionAlgorithm::Ps256]);
    assert_eq!(pss.public_jwk().unwrap()["alg"], "PS256");
    let mismatch = |wanted, own| InvalidAssertionKey::Algorithm { wanted, own };
    assert_eq!(
        pss.with_algorithm(AssertionAlgorithm::Rs256).unwrap_err(),
        mismatch(AssertionAlgorithm::Rs256, AssertionAlgorithm::Ps256)
    );
    assert_eq!(
        as_text(&ec, AssertionAlgorithm::EdDsa).unwrap_err(),
        mismatch(AssertionAlgorithm::EdDsa, AssertionAlgorithm::Es256)
    );
    for foreign in ["RS256", "HS256", "ES384", "none", ""] {
        let refused = with(&ec, "alg", json!(foreign)).unwrap_err();
        assert_eq!(refused, InvalidAssertionKey::AlgorithmOfJwk, "{foreign}");
    }
    let key = with(&ec, "kid", json!("k 1\"")).unwrap();
    assert_eq!(header_of(&key), json!({ "alg": "ES256", "typ": "JWT", "kid": "k 1\"" }));
    assert!(with(&ec, "use", json!("sig")).is_ok() && with(&ec, "key_ops", json!(["sign"])).is_ok());
    let jwk = InvalidAssertionKey::Jwk;
    assert_eq!(with(&ec, "use", json!("enc")).unwrap_err(), jwk(KeyError::Reserved("use")));
    assert_eq!(with(&ec, "key_ops", json!(["verify"])).unwrap_err(), jwk(KeyError::Reserved("key_ops")));
    assert_eq!(with(&ec, "kid", json!("k".repeat(300))).unwrap_err(), jwk(KeyError::Member("kid")));
}

#[test]
fn a_set_is_taken_when_it_has_one_private_key() {
    let (rsa, ec) = (private_jwk("A.2"), private_jwk("A.3"));
    let public = rfc7515("A.2")["key"].clone();
    let set = |keys: &[&Value]| read(&json!({ "keys": keys }).to_string());
    assert_eq!(set(&[&public, &ec, &json!({})]).unwrap().algorithm(), AssertionAlgorithm::Es256);
    assert_eq!(set(&[&rsa, &ec]).unwrap_err(), InvalidAssertionKey::SeveralKeys);
    assert_eq!(set(&[&public]).unwrap_err(), InvalidAssertionKey::EmptySet);
    assert_eq!(set(&[]).unwrap_err(), InvalidAssertionKey::EmptySet);
}

#[test]
fn a_jwk_that_is_no_key_is_refused() {
    let (rsa, ec) = (private_jwk("A.2"), private_jwk("A.3"));
    let member = |name| InvalidAssertionKey::Jwk(KeyError::Member(name));
    for (jwk, name, value, expected) in [
        (&ec, "crv", json!("P-384"), InvalidAssertionKey::Kind("EC with another curve")),
        (&ec, "kty", json!("oct"), InvalidAssertionKey::Symmetric),
        (&ec, "kty", json!("AKP"), InvalidAssertionKey::Kind("another kty")),
        (&ec, "kty", json!(null), member("kty")),
        (&ec, "d", json!(null), InvalidAssertionKey::PublicOnly),
        (&ec, "d", json!("AQAB"), member("d")),
        (&ec, "d", ec["x"].clone(), InvalidAssertionKey::Numbers),
        (&ec, "y", ec["x"].clone(), InvalidAssertionKey::Numbers),
        (&ec, "x", json!("+/=="), member("x")),
        (&rsa, "d", json!(null), InvalidAssertionKey::PublicOnly),
        (&rsa, "d", json!("AQAB"), InvalidAssertionKey::Numbers),
        (&rsa, "p", rsa["q"].clone(), InvalidAssertionKey::Numbers),
        (&rsa, "q", json!(null), InvalidAssertionKey::NoPrimes("q")),
        (&rsa, "qi", json!("AQAB"), InvalidAssertionKey::Numbers),
        (&rsa, "oth", json!([]), InvalidAssertionKey::ManyPrimes),
        (&rsa, "e", json!("AA"), InvalidAssertionKey::Numbers),
        (&rsa, "n", json!("AQAB"), InvalidAssertionKey::Rsa(KeyError::ModulusLength { bits: 24 })),
    ] {
        assert_eq!(with(jwk, name, value.clone()).unwrap_err(), expected, "{name} {value}");
    }
    let twice = ec.to_string().replacen('{', r#"{"d":"AA","#, 1);
    for bad in
        ["{", "{}x", r#"{"d":1}"#, r#"{"keys":{}}"#, &twice, &format!("{{\"keys\":{}", "[".repeat(5000))]
    {
        assert!(matches!(refused(bad), InvalidAssertionKey::Json { line: 1, .. }), "{bad:.40}");
    }
}

#[test]
fn the_header_has_the_thumbprint_of_the_keys_own_certificate_where_asked_for() {
    const OF_P256: &str = "VOWBUq7V8AYDarsnNkOiaTjcUcDd4paA5LRhnFJhBns";
    let (own, other) = (fixture!("p256-certificate"), fixture!("rsa2048-certificate"));
    let text = format!("{other}{}{own}", fixture!("p256-pkcs8"));
    let key = read(&text).unwrap();
    assert_eq!(key.certificate_thumbprint(), Some(OF_P256));
    assert_eq!(header_of(&key), json!({ "alg": "ES256", "typ": "JWT" }));
    let key = key.with_certificate_thumbprint(CertificateThumbprint::X5tS256).unwrap();
    assert_eq!(header_of(&key)["x5t#S256"], OF_P256);
    let beside = read(fixture!("p256-pkcs8")).unwrap();
    let asked = |key: AssertionKey| key.with_certificate_thumbprint(CertificateThumbprint::X5tS256);
    assert_eq!(asked(beside.clone()).unwrap_err(), InvalidAssertionKey::NoCertificate);
    let key = asked(beside.clone().with_certificate(&format!("{own}{other}")).unwrap()).unwrap();
    assert_eq!(header_of(&key)["x5t#S256"], OF_P256);
    for (key, certificate) in [
        (fixture!("ed25519-pkcs8"), fixture!("ed25519-certificate")),
        (fixture!("rsa2048-pkcs1"), fixture!("rsa2048-certificate")),
    ] {
        assert!(read(key).unwrap().with_certificate(certificate).is_ok());
        let mismatch = InvalidAssertionKey::CertificateOfAnotherKey;
        assert_eq!(read(key).unwrap().with_certificate(own).unwrap_err(), mismatch);
        assert_eq!(refused(&format!("{key}{own}")), mismatch);
    }
    assert_eq!(beside.clone().with_certificate("").unwrap_err(), InvalidAssertionKey::NoCertificate);
    let damaged = "-----BEGIN CERTIFICATE-----\nMAA=\n-----END CERTIFICATE-----\n";
    assert_eq!(beside.with_certificate(damaged).unwrap_err(), InvalidAssertionKey::Certificate);
}

#[test]
fn the_key_id_and_the_type_are_the_callers_to_choose() {
    let key = with(&private_jwk("A.3"), "kid", json!("own")).unwrap();
    let named = key.clone().with_key_id(Some("other".to_owned())).unwrap();
    assert_eq!(header_of(&named)["kid"], "other");
    assert_eq!(named.public_jwk().unwrap()["kid"], "other");
    let none =
        key.clone().with_key_id(None).unwrap().with_media_type(AssertionMediaType::ClientAuthenticationJwt);
    assert_eq!(header_of(&none), json!({ "alg": "ES256", "typ": "client-authentication+jwt" }));
    for bad in [String::new(), "k".repeat(MAX_KEY_ID_BYTES + 1)] {
        assert_eq!(key.clone().with_key_id(Some(bad)).unwrap_err(), InvalidAssertionKey::KeyId);
    }
}

#[test]
fn a_client_secret_that_is_too_short_is_taken_and_told() {
    let of = |bytes: usize| AssertionKey::from_client_secret(&Secret::new("s".repeat(bytes)));
    assert_eq!((of(31).is_shorter_than_its_hash(), of(32).is_shorter_than_its_hash()), (true, false));
    assert_eq!(of(1).algorithm(), AssertionAlgorithm::Hs256);
    assert_eq!((of(1).thumbprint(), of(1).public_jwk()), (None, None));
    assert!(of(32).with_algorithm(AssertionAlgorithm::Rs256).is_err());
    assert!(!read(fixture!("p256-pkcs8")).unwrap().is_shorter_than_its_hash());
}

#[test]
fn t34_debug_of_an_assertion_key_shows_how_it_signs_alone() {
    let shown = format!("{:?}", AssertionKey::from_client_secret(&Secret::from("canary")));
    assert_eq!(shown, "AssertionKey { algorithm: Hs256, key_id: None, .. }");
    let key = with(&private_jwk("A.3"), "kid", json!("own")).unwrap();
    assert_eq!(format!("{key:?}"), "AssertionKey { algorithm: Es256, key_id: Some(\"own\"), .. }");
}

proptest! {
    #[test]
    fn any_text_is_answered(text in "\\PC{0,200}") {
        prop_assert!(read(&text).is_err());
        let braced = format!("{{{text}");
        prop_assert!(read(&braced).is_err());
        let _answered = read(&format!("-----BEGIN PRIVATE KEY-----\n{text}\n-----END PRIVATE KEY-----"));
    }

    #[test]
    fn any_der_is_answered(der in proptest::collection::vec(any::<u8>(), 0..200), at in 0_usize..1200, byte: u8) {
        prop_assert!(private_der::pkcs8(&der).is_err());
        prop_assert!(private_der::sec1(&der).is_err());
        prop_assert!(private_der::pkcs1(&der).is_err());
        let pair = private_der::pkcs8(&sections_of(fixture!("p256-pkcs8"))).unwrap();
        prop_assert!(certificate::thumbprint_of([der.as_slice()], &pair).is_err());
        for (text, reader) in [
            (fixture!("p256-pkcs8"), private_der::pkcs8 as fn(&[u8]) -> _),
            (fixture!("ed25519-pkcs8"), private_der::pkcs8),
            (fixture!("rsa2048-pkcs1"), private_der::pkcs1),
        ] {
            let mut changed = sections_of(text);
            if let Some(place) = changed.get_mut(at) {
                *place = byte;
            }
            if let Ok(pair) = reader(&changed) {
                prop_assert!(pair.sign(b"message", RsaPadding::Pss).is_ok());
            }
        }
    }
}

fn sections_of(pem: &str) -> Vec<u8> {
    pem::sections(pem).unwrap()[0].der.expose().clone()
}
