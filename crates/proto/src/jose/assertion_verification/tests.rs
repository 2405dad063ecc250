use super::*;
use crate::jose::assertion_key::AssertionKey;
use crate::jose::client_assertion::ClientAssertion;
use crate::jose::jwk::{ClientKeySet, SigningKey};
use crate::jose::jws::{Algorithm, InvalidJws};
use crate::secret::Secret;
use aws_lc_rs::hmac::{self, HMAC_SHA256};
use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use serde_json::{Value, json};

const NOW: Timestamp = Timestamp::from_unix_seconds(1_800_000_000);
const ISSUER: &str = "https://as.example";
const SECRET: &str = "a secret of at least thirty-two bytes";

/// A client with a key of every kind, and what it signs with.
struct Rig {
    ec: SigningKey,
    rsa: SigningKey,
    keys: ClientKeySet,
    secrets: Vec<AssertionSecret>,
}

impl Rig {
    fn new() -> Self {
        let ec = SigningKey::generate(Algorithm::Es256).unwrap();
        let rsa = SigningKey::generate(Algorithm::Rs256).unwrap();
        let set = json!({ "keys": [ec.public_jwk().to_json(), rsa.public_jwk().to_json()] });
        let keys = ClientKeySet::parse(set.to_string().as_bytes()).unwrap();
        let secrets = vec![AssertionSecret::new(&Secret::from(SECRET))];
        Self { ec, rsa, keys, secrets }
    }

    fn decide(&self, assertion: &str) -> Result<VerifiedAssertion, AssertionRejection> {
        self.decide_at(assertion, NOW)
    }

    fn decide_at(&self, assertion: &str, now: Timestamp) -> Result<VerifiedAssertion, AssertionRejection> {
        let keys = AssertionKeys { public: Some(&self.keys), secrets: &self.secrets };
        let expectations = AssertionExpectations { client_id: "client", audiences: &[ISSUER] };
        verify_own(&UnverifiedAssertion::parse(assertion)?, &expectations, &keys, now)
    }

    fn ec_header(&self) -> Value {
        json!({ "alg": "ES256", "kid": self.ec.key_id() })
    }

    /// Signed with the EC key, whatever the header says.
    fn signed(&self, header: &Value, claims: &str) -> String {
        with_signature(&header.to_string(), claims, |input| self.ec.sign(input).unwrap())
    }

    fn with_claims(&self, claims: &Value) -> Result<VerifiedAssertion, AssertionRejection> {
        self.decide(&self.signed(&self.ec_header(), &claims.to_string()))
    }
}

fn with_signature(header: &str, claims: &str, sign: impl FnOnce(&[u8]) -> Vec<u8>) -> String {
    let input = format!("{}.{}", URL_SAFE_NO_PAD.encode(header), URL_SAFE_NO_PAD.encode(claims));
    let signature = URL_SAFE_NO_PAD.encode(sign(input.as_bytes()));
    format!("{input}.{signature}")
}

fn hs256(key: &[u8]) -> impl FnOnce(&[u8]) -> Vec<u8> {
    let key = hmac::Key::new(HMAC_SHA256, key);
    move |input| hmac::sign(&key, input).as_ref().to_vec()
}

fn claims() -> Value {
    json!({ "iss": "client", "sub": "client", "aud": ISSUER, "jti": "id-1",
        "iat": 1_800_000_000_u64, "exp": 1_800_000_060_u64 })
}

/// The claims with some of them replaced; those that are null are left out.
fn claims_with(changes: &Value) -> Value {
    let mut claims = claims();
    let members = claims.as_object_mut().unwrap();
    for (name, value) in changes.as_object().unwrap() {
        members.insert(name.clone(), value.clone());
    }
    members.retain(|_, value| !value.is_null());
    claims
}

fn assertion_key(algorithm: Algorithm, wanted: AssertionAlgorithm) -> AssertionKey {
    let key = SigningKey::generate(algorithm).unwrap().to_pkcs8().unwrap();
    let pem = format!(
        "-----BEGIN PRIVATE KEY-----\n{}\n-----END PRIVATE KEY-----\n",
        STANDARD.encode(key.expose())
    );
    AssertionKey::from_text(&Secret::new(pem), Some(wanted)).unwrap()
}

#[test]
fn what_the_client_of_this_project_signs_is_taken_with_every_algorithm() {
    for (algorithm, wanted) in [
        (Algorithm::Es256, AssertionAlgorithm::Es256),
        (Algorithm::EdDsa, AssertionAlgorithm::EdDsa),
        (Algorithm::Rs256, AssertionAlgorithm::Rs256),
        (Algorithm::Rs256, AssertionAlgorithm::Ps256),
    ] {
        let key = assertion_key(algorithm, wanted);
        let set = json!({ "keys": [key.public_jwk().unwrap()] });
        let public = ClientKeySet::parse(set.to_string().as_bytes()).unwrap();
        let keys = AssertionKeys { public: Some(&public), secrets: &[] };
        assert_eq!(signed_by(&key, &keys), Ok(VerifiedBy::PublicKey), "{wanted}");
    }
    let key = AssertionKey::from_client_secret(&Secret::from(SECRET));
    let secrets = ["another", SECRET].map(|secret| AssertionSecret::new(&Secret::from(secret)));
    let keys = AssertionKeys { public: None, secrets: &secrets };
    assert_eq!(signed_by(&key, &keys), Ok(VerifiedBy::Secret(1)));
}

fn signed_by(key: &AssertionKey, keys: &AssertionKeys<'_>) -> Result<VerifiedBy, AssertionRejection> {
    let assertion = ClientAssertion {
        client_id: "client",
        audience: ISSUER,
        issued_at: NOW,
        lifetime: AssertionLifetime::LONGEST,
        jwt_id: "id-1",
    };
    let assertion = assertion.sign(key).unwrap();
    let expectations = AssertionExpectations { client_id: "client", audiences: &[ISSUER] };
    let verified = verify_own(&UnverifiedAssertion::parse(assertion.expose())?, &expectations, keys, NOW)?;
    assert_eq!((&*verified.jwt_id, verified.made_at_earliest()), ("id-1", NOW));
    assert_eq!(verified.usable_until(), Timestamp::from_unix_seconds(1_800_000_330));
    Ok(verified.by)
}

#[test]
fn t38_claims_that_are_good_are_taken() {
    let rig = Rig::new();
    for changes in [
        json!({}),
        json!({ "aud": [ISSUER] }),
        json!({ "aud": [ISSUER, ISSUER] }),
        json!({ "iat": null }),
        json!({ "exp": 1_800_000_300_u64 }),
        json!({ "exp": 1_800_000_330_u64, "iat": null }),
        json!({ "exp": 1_799_999_971_u64, "iat": null }),
        json!({ "exp": 1_800_000_060.75, "iat": 1_800_000_000.25 }),
        json!({ "iat": 1_800_000_030_u64 }),
        json!({ "nbf": 1_800_000_030_u64 }),
        json!({ "jti": "x".repeat(MAX_JWT_ID_BYTES) }),
        json!({ "unknown": { "nested": [[[1]]] } }),
    ] {
        let verified = rig.with_claims(&claims_with(&changes));
        assert!(verified.is_ok(), "{changes}: {verified:?}");
    }
}

#[test]
fn t38_claims_that_are_not_good_are_refused() {
    use InvalidAssertionClaims::{Missing, Value as Wrong};
    let rig = Rig::new();
    let bad = AssertionRejection::Claims;
    let at = Timestamp::from_unix_seconds;
    for (changes, expected) in [
        (json!({ "aud": "https://other.example" }), AssertionRejection::WrongAudience),
        (json!({ "aud": "https://as.example/" }), AssertionRejection::WrongAudience),
        (json!({ "aud": [ISSUER, "https://other.example"] }), AssertionRejection::WrongAudience),
        (json!({ "aud": null }), bad(Missing("aud"))),
        (json!({ "aud": [] }), bad(Wrong("aud"))),
        (json!({ "aud": [[ISSUER]] }), bad(Wrong("aud"))),
        (json!({ "aud": vec![ISSUER; 9] }), bad(Wrong("aud"))),
        (json!({ "iss": "other" }), AssertionRejection::NotOfClient),
        (json!({ "sub": "other" }), AssertionRejection::NotOfClient),
        (json!({ "iss": "other", "sub": "other" }), AssertionRejection::NotOfClient),
        (json!({ "sub": null }), bad(Missing("sub"))),
        (json!({ "sub": "" }), bad(Wrong("sub"))),
        (json!({ "jti": null }), bad(Missing("jti"))),
        (json!({ "jti": 7 }), bad(Wrong("jti"))),
        (json!({ "jti": "" }), bad(Wrong("jti"))),
        (json!({ "jti": "x".repeat(MAX_JWT_ID_BYTES + 1) }), bad(Wrong("jti"))),
        (json!({ "exp": null }), bad(Missing("exp"))),
        (json!({ "exp": "1800000060" }), bad(Wrong("exp"))),
        (json!({ "exp": -1 }), bad(Wrong("exp"))),
        (json!({ "exp": 1e300 }), bad(Wrong("exp"))),
        (json!({ "exp": u64::MAX }), bad(Wrong("exp"))),
        (json!({ "exp": 1_799_999_970_u64 }), AssertionRejection::Expired { at: at(1_799_999_970) }),
        (json!({ "exp": 1_800_000_331_u64 }), AssertionRejection::LivesTooLong { at: at(1_800_000_331) }),
        (json!({ "iat": 1_799_999_700_u64 }), AssertionRejection::LivesTooLong { at: at(1_800_000_060) }),
        (json!({ "iat": 1_800_000_031_u64 }), AssertionRejection::IssuedInFuture { at: at(1_800_000_031) }),
        (json!({ "nbf": 1_800_000_031_u64 }), AssertionRejection::NotYetValid { at: at(1_800_000_031) }),
        (json!({ "nbf": "soon" }), bad(Wrong("nbf"))),
    ] {
        assert_eq!(rig.with_claims(&claims_with(&changes)).err(), Some(expected), "{changes}");
    }
}

#[test]
fn t36_what_is_no_assertion_is_refused_before_any_key_is_looked_at() {
    let rig = Rig::new();
    let repeated = claims().to_string().replace(r#""jti":"id-1""#, r#""jti":"id-1","jti":"id-2""#);
    assert!(repeated.contains("id-2"));
    let deep = claims_with(&json!({ "deep": null })).to_string();
    let deep = deep.replacen('{', &format!("{{\"deep\":{}{},", "[".repeat(4000), "]".repeat(4000)), 1);
    for payload in [repeated.as_str(), &deep, "", "[]", "null", "{\"iss\":"] {
        let refused = rig.decide(&rig.signed(&rig.ec_header(), payload)).unwrap_err();
        let json = matches!(refused, AssertionRejection::Claims(InvalidAssertionClaims::Json(_)));
        assert!(json, "{payload:.60}: {refused:?}");
    }
    let long = rig.signed(&rig.ec_header(), &claims_with(&json!({ "x": "x".repeat(17_000) })).to_string());
    assert!(matches!(rig.decide(&long), Err(AssertionRejection::TooLong { .. })));
    for (header, expected) in [
        (json!({ "alg": "ES256", "typ": "at+jwt" }), AssertionRejection::WrongType),
        (json!({ "alg": "ES256", "typ": "dpop+jwt" }), AssertionRejection::WrongType),
        (json!({ "alg": "ES256", "typ": "application/secevent+jwt" }), AssertionRejection::WrongType),
        (
            json!({ "alg": "ES256", "typ": 1 }),
            AssertionRejection::Malformed(InvalidJws::HeaderParameter("typ")),
        ),
        (
            json!({ "alg": "ES256", "kid": ["a"] }),
            AssertionRejection::Malformed(InvalidJws::HeaderParameter("kid")),
        ),
        (
            json!({ "alg": "ES256", "crit": ["exp"] }),
            AssertionRejection::Malformed(InvalidJws::Extension("crit")),
        ),
        (
            json!({ "alg": "ES256", "b64": false }),
            AssertionRejection::Malformed(InvalidJws::Extension("b64")),
        ),
        (json!({}), AssertionRejection::Algorithm),
    ] {
        let refused = rig.decide(&rig.signed(&header, &claims().to_string()));
        assert_eq!(refused.err(), Some(expected), "{header}");
    }
    for typ in ["JWT", "jwt", "application/jwt", "client-authentication+jwt", "JOSE"] {
        let header = json!({ "alg": "ES256", "typ": typ, "kid": rig.ec.key_id() });
        assert!(rig.decide(&rig.signed(&header, &claims().to_string())).is_ok(), "{typ}");
    }
    for text in ["", ".", "..", "a.b.c", "....", "{\"payload\":\"\"}", "é.é.é"] {
        assert!(matches!(rig.decide(text), Err(AssertionRejection::Malformed(_))), "{text}");
    }
}

#[test]
fn t43_no_algorithm_is_taken_for_another() {
    let rig = Rig::new();
    let claims = claims().to_string();
    for alg in ["none", "None", "NONE", "nOnE", "", "HS384", "HS512", "RS1", "ES384", "es256", "ES256K"] {
        let unsigned = with_signature(&json!({ "alg": alg }).to_string(), &claims, |_| Vec::new());
        assert_eq!(rig.decide(&unsigned).err(), Some(AssertionRejection::Algorithm), "{alg}");
    }
    // The public key, as anybody has it, is no secret.
    let header = json!({ "alg": "HS256", "kid": rig.rsa.key_id() }).to_string();
    let jwk = rig.rsa.public_jwk().to_json();
    let modulus = URL_SAFE_NO_PAD.decode(jwk["n"].as_str().unwrap()).unwrap();
    let texts = [jwk.to_string(), format!("{jwk:#}"), jwk["n"].as_str().unwrap().to_owned()];
    for key in texts.iter().map(String::as_bytes).chain([modulus.as_slice(), b"", &[0; 32]]) {
        let forged = with_signature(&header, &claims, hs256(key));
        assert_eq!(rig.decide(&forged).err(), Some(AssertionRejection::BadSignature));
        let keys = AssertionKeys { public: Some(&rig.keys), secrets: &[] };
        let forged = UnverifiedAssertion::parse(&forged).unwrap();
        let expectations = AssertionExpectations { client_id: "client", audiences: &[ISSUER] };
        let refused = verify_own(&forged, &expectations, &keys, NOW);
        assert!(matches!(refused, Err(AssertionRejection::UnknownKey { .. })), "{refused:?}");
    }
    // A signature by one key under the name of another, and of another kind.
    for (alg, kid) in [("RS256", rig.rsa.key_id()), ("PS256", rig.rsa.key_id()), ("EdDSA", rig.ec.key_id())] {
        let forged = rig.signed(&json!({ "alg": alg, "kid": kid }), &claims);
        assert!(rig.decide(&forged).is_err(), "{alg}");
    }
    let good = with_signature(&header, &claims, hs256(SECRET.as_bytes()));
    assert_eq!(rig.decide(&good).unwrap().by, VerifiedBy::Secret(0));
}

#[test]
fn t43_keys_in_the_header_are_not_looked_at() {
    let rig = Rig::new();
    let mallory = SigningKey::generate(Algorithm::Es256).unwrap();
    let own = mallory.public_jwk().to_json();
    for (header, unknown) in [
        (json!({ "alg": "ES256", "jwk": own }), true),
        (json!({ "alg": "ES256", "jwk": own, "kid": rig.ec.key_id() }), false),
        (json!({ "alg": "ES256", "jku": "http://127.0.0.1:1/keys", "kid": mallory.key_id() }), true),
        (json!({ "alg": "ES256", "x5u": "http://127.0.0.1:1/chain" }), true),
        (json!({ "alg": "ES256", "x5c": ["MIIB"], "kid": "../../../dev/null" }), true),
    ] {
        let forged =
            with_signature(&header.to_string(), &claims().to_string(), |input| mallory.sign(input).unwrap());
        let refused = rig.decide(&forged).unwrap_err();
        assert_eq!(
            matches!(refused, AssertionRejection::UnknownKey { .. }),
            unknown,
            "{header}: {refused:?}"
        );
    }
}

#[test]
fn a_signature_of_something_else_is_refused() {
    let rig = Rig::new();
    let good = rig.signed(&rig.ec_header(), &claims().to_string());
    assert!(rig.decide(&good).is_ok());
    let other = rig.signed(&rig.ec_header(), &claims_with(&json!({ "jti": "id-2" })).to_string());
    let (input, _) = good.rsplit_once('.').unwrap();
    let (_, signature) = other.rsplit_once('.').unwrap();
    for signature in [signature, "", &URL_SAFE_NO_PAD.encode([0; 64]), &URL_SAFE_NO_PAD.encode([0; 4000])] {
        assert_eq!(rig.decide(&format!("{input}.{signature}")).err(), Some(AssertionRejection::BadSignature));
    }
}

#[test]
fn an_rsa_key_is_good_for_what_its_alg_says() {
    let key = assertion_key(Algorithm::Rs256, AssertionAlgorithm::Ps256);
    for (alg, taken) in [(None, true), (Some("PS256"), true), (Some("RS256"), false), (Some("RS512"), false)]
    {
        let mut jwk = key.public_jwk().unwrap();
        jwk.as_object_mut().unwrap().remove("alg");
        if let Some(alg) = alg {
            jwk["alg"] = json!(alg);
        }
        let public = ClientKeySet::parse(json!({ "keys": [jwk] }).to_string().as_bytes()).unwrap();
        let verified = signed_by(&key, &AssertionKeys { public: Some(&public), secrets: &[] });
        assert_eq!(verified.is_ok(), taken, "{alg:?}: {verified:?}");
    }
}

#[test]
fn ed25519_goes_by_both_of_its_names() {
    let key = SigningKey::generate(Algorithm::EdDsa).unwrap();
    for (of_key, of_header) in [("EdDSA", "Ed25519"), ("Ed25519", "EdDSA"), ("Ed25519", "Ed25519")] {
        let mut jwk = key.public_jwk().to_json();
        jwk["alg"] = json!(of_key);
        let public = ClientKeySet::parse(json!({ "keys": [jwk] }).to_string().as_bytes()).unwrap();
        let header = json!({ "alg": of_header }).to_string();
        let signed = with_signature(&header, &claims().to_string(), |input| key.sign(input).unwrap());
        let keys = AssertionKeys { public: Some(&public), secrets: &[] };
        let expectations = AssertionExpectations { client_id: "client", audiences: &[ISSUER] };
        let verified = verify_own(&UnverifiedAssertion::parse(&signed).unwrap(), &expectations, &keys, NOW);
        assert!(verified.is_ok(), "{of_key} {of_header}: {verified:?}");
    }
}

#[test]
fn a_symmetric_key_in_a_set_is_left_out() {
    let set = json!({ "keys": [
        { "kty": "oct", "k": URL_SAFE_NO_PAD.encode(SECRET), "alg": "HS256" },
        { "kty": "oct", "k": URL_SAFE_NO_PAD.encode(SECRET), "alg": "RS256" },
        SigningKey::generate(Algorithm::Es256).unwrap().public_jwk().to_json(),
    ] });
    let public = ClientKeySet::parse(set.to_string().as_bytes()).unwrap();
    assert_eq!((public.len(), public.skipped().len()), (1, 2));
    let forged = with_signature(r#"{"alg":"HS256"}"#, &claims().to_string(), hs256(SECRET.as_bytes()));
    let keys = AssertionKeys { public: Some(&public), secrets: &[] };
    let expectations = AssertionExpectations { client_id: "client", audiences: &[ISSUER] };
    let refused = verify_own(&UnverifiedAssertion::parse(&forged).unwrap(), &expectations, &keys, NOW);
    assert!(matches!(refused, Err(AssertionRejection::UnknownKey { .. })));
}

#[test]
fn the_certificates_of_a_set_are_known_by_their_thumbprints() {
    let jwk = |x5c: Value| json!({ "kty": "EC", "crv": "P-384", "x5c": x5c });
    let set =
        json!({ "keys": [jwk(json!([STANDARD.encode(b"der"), "!"])), jwk(json!(["%"])), jwk(json!("x"))] });
    let public = ClientKeySet::parse(set.to_string().as_bytes()).unwrap();
    let thumbprint = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, b"der");
    assert_eq!(public.certificates().len(), 1);
    assert_eq!(public.certificates()[0], thumbprint.as_ref());
}

#[test]
fn a_workload_is_believed_for_what_its_platform_says() {
    let rig = Rig::new();
    let conditions = [("kubernetes.io/namespace".to_owned(), "prod".to_owned())];
    let expectations = WorkloadExpectations {
        issuer: "https://k8s.example",
        audience: ISSUER,
        subject: Some("system:serviceaccount:prod:*"),
        claims: &conditions,
    };
    let token = |changes: Value| {
        let mut claims = json!({
            "iss": "https://k8s.example", "sub": "system:serviceaccount:prod:worker", "aud": [ISSUER, "https://other.example"],
            "iat": 1_799_999_000_u64, "exp": 1_800_003_600_u64, "kubernetes.io": { "namespace": "prod" },
        });
        claims.as_object_mut().unwrap().extend(changes.as_object().unwrap().clone());
        claims.to_string()
    };
    let decide = |token: &str| {
        verify_workload(&UnverifiedAssertion::parse(token).unwrap(), &expectations, Some(&rig.keys), NOW)
    };
    assert_eq!(decide(&rig.signed(&rig.ec_header(), &token(json!({})))), Ok(()));
    for (changes, expected) in [
        (json!({ "iss": "https://evil.example" }), AssertionRejection::UntrustedIssuer),
        (json!({ "aud": "https://other.example" }), AssertionRejection::WrongAudience),
        (json!({ "sub": "system:serviceaccount:dev:worker" }), AssertionRejection::UntrustedSubject),
        (json!({ "sub": "system:serviceaccount:prod:a:b" }), AssertionRejection::UntrustedSubject),
        (
            json!({ "kubernetes.io": { "namespace": "dev" } }),
            AssertionRejection::UntrustedClaim("kubernetes.io/namespace".to_owned()),
        ),
        (
            json!({ "exp": 1_799_999_970_u64 }),
            AssertionRejection::Expired { at: Timestamp::from_unix_seconds(1_799_999_970) },
        ),
        (
            json!({ "exp": 1_800_090_000_u64, "iat": 1_800_000_000_u64 }),
            AssertionRejection::LivesTooLong { at: Timestamp::from_unix_seconds(1_800_090_000) },
        ),
    ] {
        let refused = decide(&rig.signed(&rig.ec_header(), &token(changes.clone())));
        assert_eq!(refused, Err(expected), "{changes}");
    }
    let symmetric = with_signature(r#"{"alg":"HS256"}"#, &token(json!({})), hs256(SECRET.as_bytes()));
    assert_eq!(decide(&symmetric), Err(AssertionRejection::Algorithm));
    let token = rig.signed(&rig.ec_header(), &token(json!({})));
    let no_keys = verify_workload(&UnverifiedAssertion::parse(&token).unwrap(), &expectations, None, NOW);
    assert!(matches!(no_keys, Err(AssertionRejection::UnknownKey { .. })));
}
