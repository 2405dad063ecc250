//! What making and checking an access token costs, beside its limit in the same run: the bare signature of the same
//! bytes by the same key, and its bare verification. Target for making one with ES256: at most 1.08 times the limit.

#![allow(clippy::expect_used, reason = "a benchmark that cannot set itself up ends")]
#![allow(clippy::print_stdout, reason = "its result is what it prints")]

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED, ECDSA_P256_SHA256_FIXED_SIGNING, ED25519, EcdsaKeyPair, Ed25519KeyPair, KeyPair,
    ParsedPublicKey, RSA_PKCS1_2048_8192_SHA256, RSA_PKCS1_SHA256, RsaKeyPair,
};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jeton_proto::jose::access_token::{AccessTokenClaims, AccessTokenSigner};
use jeton_proto::jose::jwk::{JwkSet, SigningKey};
use jeton_proto::jose::jws::Algorithm;
use jeton_proto::time::Timestamp;
use jeton_proto::verification::{Expectations, decide};
use jeton_proto::wire::scope::Scope;
use std::hint::black_box;
use std::time::{Duration, Instant};

const ROUNDS: usize = 101;
/// How long one side of a round lasts; all of them together take about 8 s.
const TURN: Duration = Duration::from_millis(6);
const NOW: Timestamp = Timestamp::from_unix_seconds(1_700_000_000);

fn main() {
    println!("access tokens, median of {ROUNDS} interleaved rounds");
    for algorithm in Algorithm::ALL {
        let key = SigningKey::generate(algorithm).expect("a key");
        let pkcs8 = key.to_pkcs8().expect("its private part");
        let bench = Bench::new(key, &claims(&scope()));
        match algorithm {
            Algorithm::Es256 => {
                let pair = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, pkcs8.expose());
                let (pair, random) = (pair.expect("a pair"), SystemRandom::new());
                bench.sign(" (target <= 1.08)", |message| {
                    black_box(pair.sign(&random, message).expect("a signature"));
                });
                bench.verify(
                    &ParsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, pair.public_key()).expect("a key"),
                );
            }
            Algorithm::EdDsa => {
                let pair = Ed25519KeyPair::from_pkcs8(pkcs8.expose()).expect("a pair");
                bench.sign("", |message| {
                    black_box(pair.try_sign(message).expect("a signature"));
                });
                bench.verify(&ParsedPublicKey::new(&ED25519, pair.public_key()).expect("a key"));
            }
            Algorithm::Rs256 => {
                let pair = RsaKeyPair::from_pkcs8(pkcs8.expose()).expect("a pair");
                let random = SystemRandom::new();
                bench.sign("", |message| {
                    let mut signature = [0; 256];
                    pair.sign(&RSA_PKCS1_SHA256, &random, message, &mut signature).expect("a signature");
                    black_box(signature);
                });
                let public = ParsedPublicKey::new(&RSA_PKCS1_2048_8192_SHA256, pair.public_key());
                bench.verify(&public.expect("a key"));
            }
        }
    }
}

/// One token and what is needed to make and to check it.
struct Bench {
    signer: AccessTokenSigner,
    keys: JwkSet,
    expectations: Expectations,
    token: String,
}

impl Bench {
    fn new(key: SigningKey, claims: &AccessTokenClaims<'_>) -> Self {
        let signer = AccessTokenSigner::new(key);
        let keys = JwkSet::from_keys([signer.key().public_jwk()]).expect("a set");
        let expectations =
            Expectations::new("https://as.example", ["https://api.example"]).expect("settings");
        let token = signer.sign(claims).expect("a token");
        Self { signer, keys, expectations, token }
    }

    /// What is signed, and the signature in base64url.
    fn parts(&self) -> (&str, &str) {
        self.token.rsplit_once('.').expect("three parts")
    }

    fn sign(&self, target: &str, bare: impl Fn(&[u8])) {
        let (message, _) = self.parts();
        let scope = scope();
        let claims = claims(&scope);
        self.print(
            "sign",
            target,
            || bare(black_box(message).as_bytes()),
            || {
                black_box(self.signer.sign(black_box(&claims)).expect("a token"));
            },
        );
    }

    fn verify(&self, bare: &ParsedPublicKey) {
        let (message, signature) = self.parts();
        let signature = URL_SAFE_NO_PAD.decode(signature).expect("a signature");
        let limit = || bare.verify_sig(black_box(message).as_bytes(), &signature).expect("a good signature");
        self.print("verify", "", limit, || {
            black_box(decide(black_box(&self.token), &self.keys, &self.expectations, NOW).expect("claims"));
        });
    }

    fn print(&self, what: &str, target: &str, limit: impl Fn(), whole: impl Fn()) {
        let calls = calls_per_turn(&limit);
        let (mut limits, mut wholes, mut ratios) = (Vec::new(), Vec::new(), Vec::new());
        for _ in 0..ROUNDS {
            let (limit, whole) = (micros_per_call(calls, &limit), micros_per_call(calls, &whole));
            limits.push(limit);
            wholes.push(whole);
            ratios.push(whole / limit);
        }
        println!(
            "  {what:6} {:5}   limit {:7.2} us   jeton {:7.2} us   ratio {:.3}{target}",
            self.signer.key().algorithm(),
            median(limits),
            median(wholes),
            median(ratios),
        );
    }
}

fn scope() -> Scope {
    "orders:read orders:write".parse().expect("a scope")
}

fn claims(scope: &Scope) -> AccessTokenClaims<'_> {
    AccessTokenClaims {
        issuer: "https://as.example",
        audience: &["https://api.example"],
        subject: "reporting",
        client_id: "reporting",
        scope: Some(scope),
        issued_at: NOW,
        expires_at: NOW.saturating_add(Duration::from_hours(1)),
        jwt_id: "bUvBDNRkSbxhTYBbV1HsYw",
        confirmation: None,
    }
}

fn calls_per_turn(call: impl Fn()) -> u32 {
    let (started, mut calls) = (Instant::now(), 0);
    while started.elapsed() < TURN {
        call();
        calls += 1;
    }
    calls
}

fn micros_per_call(calls: u32, call: impl Fn()) -> f64 {
    let started = Instant::now();
    for _ in 0..calls {
        call();
    }
    started.elapsed().as_secs_f64() * 1e6 / f64::from(calls)
}

fn median(mut series: Vec<f64>) -> f64 {
    series.sort_unstable_by(f64::total_cmp);
    series.get(series.len() / 2).copied().expect("rounds")
}
