//! Why a text is no key for client assertions.

use super::{AssertionAlgorithm, MAX_KEY_TEXT_BYTES};
use crate::jose::jwk::KeyError;
use crate::jose::jws::MAX_KEY_ID_BYTES;

/// Why a key cannot sign client assertions. No variant carries anything of the key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidAssertionKey {
    /// Longer than [`MAX_KEY_TEXT_BYTES`].
    #[error("the key text is {bytes} bytes long, the limit is {MAX_KEY_TEXT_BYTES}")]
    TooLong {
        /// The length found.
        bytes: usize,
    },
    /// Neither PEM nor a JSON object.
    #[error("the key is neither a private key in PEM (\"-----BEGIN PRIVATE KEY-----\") nor a JWK")]
    NoKey,
    /// A PEM text whose lines are not lines any more.
    #[error("the PEM text has lost its line breaks; keep the key in a file as it was made")]
    LineBreaks,
    /// A section of a PEM text that is not base64, or has no end.
    #[error("the section of the PEM text that begins in line {line} is damaged")]
    Pem {
        /// The line, from 1.
        line: usize,
    },
    /// More sections in a PEM text than a key with its certificates has.
    #[error("the PEM text has more than {} sections", super::pem::MAX_SECTIONS)]
    Sections,
    /// A private key under a passphrase.
    #[error(
        "the private key is encrypted; decrypt it with \"openssl pkey -in KEY -out PLAIN\" and guard the plain file"
    )]
    Encrypted,
    /// A private key in the format of OpenSSH.
    #[error("the private key is in the OpenSSH format; convert it with \"ssh-keygen -p -m PKCS8 -f KEY\"")]
    OpenSsh,
    /// A public key or a certificate, and no private key.
    #[error("there is a public key or certificate and no private key; the private one is needed to sign")]
    PublicOnly,
    /// More private keys than one.
    #[error("there are several private keys; give one")]
    SeveralKeys,
    /// A kind of key that no algorithm of the list signs with.
    #[error("the key is of the kind {0}; supported are EC with P-256, Ed25519 and RSA")]
    Kind(&'static str),
    /// A symmetric JWK.
    #[error("the JWK is a symmetric one (kty oct); a shared secret signs by client_secret_jwt")]
    Symmetric,
    /// Damaged, or with numbers that are not of one key.
    #[error("the private key is damaged: its numbers are not those of one valid key")]
    Numbers,
    /// A JSON text that is damaged, or a JWK with a member that is repeated or of another type.
    #[error("the JWK is damaged, has a repeated member or one of a wrong type: line {line}, column {column}")]
    Json {
        /// The line of the fault, from 1.
        line: usize,
        /// The column of the fault, from 1.
        column: usize,
    },
    /// A JWK Set without a private key.
    #[error("the JWK Set has no private key")]
    EmptySet,
    /// A member of a JWK is missing, has no valid value, or reserves the key for another use.
    #[error("the JWK cannot sign: {0}")]
    Jwk(KeyError),
    /// An RSA JWK without the numbers that RFC 7518 §6.3.2 lets a producer leave out.
    #[error("the RSA JWK has no member \"{0}\"; p, q, dp, dq and qi are needed, export the key with them")]
    NoPrimes(&'static str),
    /// An RSA key of more than two primes (RFC 7518 §6.3.2.7).
    #[error("the RSA key has more than two primes, which is not supported")]
    ManyPrimes,
    /// An RSA key of a length or an origin that is refused.
    #[error("the RSA key is refused: {0}")]
    Rsa(KeyError),
    /// The algorithm asked for is not one of the key.
    #[error("the key cannot sign {wanted}; it is for {own}")]
    Algorithm {
        /// What was asked for.
        wanted: AssertionAlgorithm,
        /// What the key signs.
        own: AssertionAlgorithm,
    },
    /// The `alg` of a JWK is none that its kind of key signs with.
    #[error("the member \"alg\" of the JWK names no algorithm that this kind of key can sign here")]
    AlgorithmOfJwk,
    /// A certificate that cannot be read.
    #[error("the certificate is damaged")]
    Certificate,
    /// No certificate among those given is of the key.
    #[error("the certificate is of another key than the private one")]
    CertificateOfAnotherKey,
    /// The thumbprint of a certificate is asked for, and there is none.
    #[error("x5t#S256 needs the certificate; put it into the PEM text of the key, or give it beside")]
    NoCertificate,
    /// A key id that is empty or longer than [`MAX_KEY_ID_BYTES`].
    #[error("the key id must have from 1 to {MAX_KEY_ID_BYTES} bytes")]
    KeyId,
}
