//! What must not be found in a store: each has characters that another encoding writes in another way.

use super::Broken;
use aws_lc_rs::rand::fill;

/// The client id.
pub const CLIENT_ID: &str = "canary client+17/%";
/// Its secret.
pub const SECRET: &str = "canary secret:p&w=+/%?17~";
/// How every token begins.
pub const TOKEN: &str = "canary-token~+/";
/// How every scope begins.
pub const SCOPE: &str = "canary/scope+read%";

/// The scope of one key.
pub fn scope(key: usize) -> String {
    format!("{SCOPE}:{key}")
}

/// A token; nobody could guess it, and its number is for the trials alone.
pub fn token(serial: u64) -> Result<String, Broken> {
    Ok(format!("{TOKEN}.{serial}.{}", random_hex::<24>()?))
}

/// The number of a token.
pub fn serial_of(token: &str) -> Option<u64> {
    token.strip_prefix(TOKEN)?.split('.').nth(1)?.parse().ok()
}

/// A store key.
pub fn store_key() -> Result<String, Broken> {
    random_hex::<32>()
}

fn random_hex<const N: usize>() -> Result<String, Broken> {
    let mut bytes = [0; N];
    fill(&mut bytes).map_err(|_| Broken::Nonsense("the system has no random numbers".to_owned()))?;
    Ok(hex(&bytes))
}

/// As hexadecimal digits.
pub fn hex(bytes: &[u8]) -> String {
    let digit = |value: u8| char::from_digit(u32::from(value), 16).unwrap_or('0');
    bytes.iter().flat_map(|byte| [digit(byte >> 4), digit(byte & 15)]).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_tells_its_number() {
        assert_eq!(serial_of(&token(42).unwrap()), Some(42));
        assert_eq!(serial_of("token-42"), None);
        assert_eq!(hex(&[0, 0xab, 0x0f]), "00ab0f");
    }
}
