//! Private keys in JSON (RFC 7517, RFC 7518 §6, RFC 8037 §2).

use super::{AssertionAlgorithm, InvalidAssertionKey, Loaded};
use crate::jose::jwk::{KeyError, KeyPair, check_modulus};
use crate::jose::jws::MAX_KEY_ID_BYTES;
use crate::secret::Secret;
use aws_lc_rs::rsa::{KeyPairComponents, PublicKeyComponents};
use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair, RsaKeyPair};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::Deserialize;
use serde::de::IgnoredAny;
use zeroize::Zeroizing;

/// A JWK or a JWK Set. The type, and not a [`serde_json::Value`], holds the private members, so that they are wiped
/// whether or not the text turns out to be a key.
#[derive(Deserialize)]
struct Document {
    /// Set in a JWK Set alone.
    keys: Option<Vec<Document>>,
    kty: Option<String>,
    crv: Option<String>,
    kid: Option<String>,
    alg: Option<String>,
    #[serde(rename = "use")]
    purpose: Option<String>,
    key_ops: Option<Vec<String>>,
    x: Option<String>,
    y: Option<String>,
    n: Option<String>,
    e: Option<String>,
    d: Option<Secret<String>>,
    p: Option<Secret<String>>,
    q: Option<Secret<String>>,
    dp: Option<Secret<String>>,
    dq: Option<Secret<String>>,
    qi: Option<Secret<String>>,
    oth: Option<IgnoredAny>,
}

/// Reads a JWK with a private part, or a JWK Set with exactly one.
pub(super) fn read(text: &str) -> Result<Loaded, InvalidAssertionKey> {
    let document: Document = serde_json::from_str(text)
        .map_err(|error| InvalidAssertionKey::Json { line: error.line(), column: error.column() })?;
    let Some(keys) = &document.keys else {
        return document.load();
    };
    let mut private = keys.iter().filter(|key| key.d.is_some());
    match (private.next(), private.next()) {
        (Some(key), None) => key.load(),
        (Some(_), Some(_)) => Err(InvalidAssertionKey::SeveralKeys),
        (None, _) => Err(InvalidAssertionKey::EmptySet),
    }
}

impl Document {
    fn load(&self) -> Result<Loaded, InvalidAssertionKey> {
        self.check_use()?;
        let curve = self.crv.as_deref();
        let pair = match self.kty.as_deref() {
            None => return Err(member("kty")),
            Some("oct") => return Err(InvalidAssertionKey::Symmetric),
            Some("EC" | "OKP" | "RSA") if self.d.is_none() => return Err(InvalidAssertionKey::PublicOnly),
            Some("EC") if curve == Some("P-256") => self.p256()?,
            Some("OKP") if curve == Some("Ed25519") => self.ed25519()?,
            Some("RSA") => self.rsa()?,
            Some("EC") => return Err(InvalidAssertionKey::Kind("EC with another curve")),
            Some("OKP") => return Err(InvalidAssertionKey::Kind("OKP with another curve")),
            Some(_) => return Err(InvalidAssertionKey::Kind("another kty")),
        };
        let algorithm = match self.alg.as_deref() {
            None => None,
            Some(name) => {
                let named: Option<AssertionAlgorithm> = name.parse().ok();
                Some(named.ok_or(InvalidAssertionKey::AlgorithmOfJwk)?)
            }
        };
        let key_id = self.kid.as_deref().filter(|key_id| !key_id.is_empty());
        if key_id.is_some_and(|key_id| key_id.len() > MAX_KEY_ID_BYTES) {
            return Err(member("kid"));
        }
        Ok(Loaded { pair, algorithm, key_id: key_id.map(Box::from), certificate: None })
    }

    /// RFC 7517 §4.2 and §4.3: `use` and `key_ops` may be missing; when they are there, they must allow to sign.
    fn check_use(&self) -> Result<(), InvalidAssertionKey> {
        let reserved = |name| Err(InvalidAssertionKey::Jwk(KeyError::Reserved(name)));
        if self.purpose.as_deref().is_some_and(|purpose| purpose != "sig") {
            return reserved("use");
        }
        if self.key_ops.as_ref().is_some_and(|operations| !operations.iter().any(|one| one == "sign")) {
            return reserved("key_ops");
        }
        Ok(())
    }

    fn p256(&self) -> Result<KeyPair, InvalidAssertionKey> {
        let (x, y) = (public(self.x.as_deref(), "x")?, public(self.y.as_deref(), "y")?);
        let d = private(self.d.as_ref(), member("d"))?;
        // RFC 7518 §6.2: all three have the full 32 bytes, leading zeros included.
        for (number, name) in [(&x, "x"), (&y, "y"), (&*d, "d")] {
            if number.len() != 32 {
                return Err(member(name));
            }
        }
        let point = [&[0x04], x.as_slice(), y.as_slice()].concat();
        EcdsaKeyPair::from_private_key_and_public_key(&ECDSA_P256_SHA256_FIXED_SIGNING, &d, &point)
            .map(KeyPair::P256)
            .map_err(|_| InvalidAssertionKey::Numbers)
    }

    fn ed25519(&self) -> Result<KeyPair, InvalidAssertionKey> {
        let x = public(self.x.as_deref(), "x")?;
        let d = private(self.d.as_ref(), member("d"))?;
        if d.len() != 32 {
            return Err(member("d"));
        }
        Ed25519KeyPair::from_seed_and_public_key(&d, &x)
            .map(KeyPair::Ed25519)
            .map_err(|_| InvalidAssertionKey::Numbers)
    }

    fn rsa(&self) -> Result<KeyPair, InvalidAssertionKey> {
        if self.oth.is_some() {
            return Err(InvalidAssertionKey::ManyPrimes);
        }
        let unpadded =
            |number: Vec<u8>| -> Vec<u8> { number.into_iter().skip_while(|&byte| byte == 0).collect() };
        let n = unpadded(public(self.n.as_deref(), "n")?);
        let e = unpadded(public(self.e.as_deref(), "e")?);
        check_modulus(&n).map_err(InvalidAssertionKey::Rsa)?;
        let prime = |member: &Option<Secret<String>>, name| {
            private(member.as_ref(), InvalidAssertionKey::NoPrimes(name))
        };
        let components = KeyPairComponents {
            public_key: PublicKeyComponents { n: n.as_slice(), e: e.as_slice() },
            d: private(self.d.as_ref(), member("d"))?,
            p: prime(&self.p, "p")?,
            q: prime(&self.q, "q")?,
            dP: prime(&self.dp, "dp")?,
            dQ: prime(&self.dq, "dq")?,
            qInv: prime(&self.qi, "qi")?,
        };
        RsaKeyPair::from_components(&components).map(KeyPair::Rsa).map_err(|_| InvalidAssertionKey::Numbers)
    }
}

fn member(name: &'static str) -> InvalidAssertionKey {
    InvalidAssertionKey::Jwk(KeyError::Member(name))
}

fn public(text: Option<&str>, name: &'static str) -> Result<Vec<u8>, InvalidAssertionKey> {
    let decoded = text.and_then(|text| URL_SAFE_NO_PAD.decode(text).ok());
    decoded.filter(|bytes| !bytes.is_empty()).ok_or(member(name))
}

/// The bytes of a private member, or the error `otherwise`.
fn private(
    text: Option<&Secret<String>>,
    otherwise: InvalidAssertionKey,
) -> Result<Zeroizing<Vec<u8>>, InvalidAssertionKey> {
    let text = text.ok_or(otherwise)?.expose();
    // Room for all of it at once: what grows leaves copies behind.
    let mut decoded = Zeroizing::new(Vec::with_capacity(base64::decoded_len_estimate(text.len())));
    match URL_SAFE_NO_PAD.decode_vec(text, &mut decoded) {
        Ok(()) if !decoded.is_empty() => Ok(decoded),
        Ok(()) | Err(_) => Err(otherwise),
    }
}
