//! What an RSA modulus must be like before any signature is believed.

use super::KeyError;
use std::ops::RangeInclusive;

/// The lengths that are taken, in bytes without leading zeros: 2048 to 8192 bits.
const MODULUS_BYTES: RangeInclusive<usize> = 256..=1024;
/// The generator of the residues that a modulus of CVE-2017-15361 is made of.
const GENERATOR: u32 = 65_537;
/// The last of the primes that every such modulus of 2048 bits or more shows the pattern for.
const LAST_PRIME: u32 = 701;

/// Refuses a modulus of another length, and one whose factors are known to be computable.
pub(in crate::jose) fn check_modulus(modulus: &[u8]) -> Result<(), KeyError> {
    let full = modulus.len() > 256 || modulus.first() >= Some(&0x80);
    if !MODULUS_BYTES.contains(&modulus.len()) || !full {
        return Err(KeyError::ModulusLength { bits: modulus.len().saturating_mul(8) });
    }
    if is_factorable(modulus) { Err(KeyError::Factorable) } else { Ok(()) }
}

/// Whether the modulus is of the faulty generator of CVE-2017-15361 ("ROCA"). That makes primes which are powers of
/// 65537 modulo each small prime, so the modulus is one too; of other moduli one in 2^167 is by chance.
fn is_factorable(modulus: &[u8]) -> bool {
    odd_primes().all(|prime| {
        let residue = modulus.iter().fold(0, |residue, &byte| (residue * 256 + u32::from(byte)) % prime);
        is_power_of_generator(residue, prime)
    })
}

fn is_power_of_generator(residue: u32, prime: u32) -> bool {
    let powers = std::iter::successors(Some(1), |power| Some(power * GENERATOR % prime));
    // The powers repeat after at most `prime - 1` steps.
    powers.take(prime as usize).any(|power| power == residue)
}

fn odd_primes() -> impl Iterator<Item = u32> {
    (3..=LAST_PRIME).step_by(2).filter(|number| {
        (3..)
            .step_by(2)
            .take_while(|divisor| divisor * divisor <= *number)
            .all(|divisor| number % divisor != 0)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_are_125_odd_primes_up_to_the_last() {
        assert_eq!(odd_primes().take(6).collect::<Vec<_>>(), [3, 5, 7, 11, 13, 17]);
        assert_eq!((odd_primes().count(), odd_primes().last()), (125, Some(LAST_PRIME)));
    }

    #[test]
    fn the_powers_of_the_generator_modulo_11_and_13() {
        let powers = |prime| (0..prime).filter(move |&residue| is_power_of_generator(residue, prime));
        // 65537 is 10 modulo 11, which is -1, and 4 modulo 13, whose order is 6.
        assert!(powers(11).eq([1, 10]));
        assert!(powers(13).eq([1, 3, 4, 9, 10, 12]));
    }

    #[test]
    fn a_modulus_must_have_2048_to_8192_bits() {
        for (length, first, taken) in [
            (255, 0xff, false),
            (256, 0x7f, false),
            (256, 0x80, true),
            (257, 1, true),
            (1024, 0xff, true),
            (1025, 1, false),
        ] {
            let mut modulus = vec![0xab; length];
            modulus[0] = first;
            assert_eq!(check_modulus(&modulus).is_ok(), taken, "{length} {first}");
        }
        assert_eq!(check_modulus(&[]), Err(KeyError::ModulusLength { bits: 0 }));
    }
}
