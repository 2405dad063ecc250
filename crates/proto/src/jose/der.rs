//! As much of DER (X.690) as keys and certificates are opened with.

/// The tag of a `SEQUENCE`.
pub(in crate::jose) const SEQUENCE: u8 = 0x30;
/// The tag of an `INTEGER`.
pub(in crate::jose) const INTEGER: u8 = 0x02;
/// The tag of a `BIT STRING`.
pub(in crate::jose) const BIT_STRING: u8 = 0x03;
/// The tag of an `OCTET STRING`.
pub(in crate::jose) const OCTET_STRING: u8 = 0x04;
/// The tag of an `OBJECT IDENTIFIER`.
pub(in crate::jose) const OBJECT_IDENTIFIER: u8 = 0x06;

/// The content of the element with this tag at the start of `der`, and what follows it.
pub(in crate::jose) fn element(der: &[u8], tag: u8) -> Option<(&[u8], &[u8])> {
    let (&found, rest) = der.split_first()?;
    let (&first, rest) = rest.split_first()?;
    // X.690 §8.1.3: below 0x80 the byte is the length, else the number of length bytes that follow.
    let (length, rest) = if first < 0x80 {
        (usize::from(first), rest)
    } else {
        // 0x80 has an end that only BER knows.
        let count = Some(usize::from(first & 0x7f)).filter(|count| *count > 0)?;
        let (bytes, rest) = rest.split_at_checked(count)?;
        (
            bytes
                .iter()
                .try_fold(0_usize, |length, &byte| length.checked_mul(256)?.checked_add(usize::from(byte)))?,
            rest,
        )
    };
    // X.690 §8.1.2.4: the tag goes on in the next byte, which was taken for the length here.
    let is_long = found & 0x1f == 0x1f;
    (found == tag && !is_long).then(|| rest.split_at_checked(length))?
}

/// The content of the element with this tag, when `der` is that element and nothing more.
pub(in crate::jose) fn whole(der: &[u8], tag: u8) -> Option<&[u8]> {
    element(der, tag).and_then(|(content, rest)| rest.is_empty().then_some(content))
}

/// A DER integer without the zero byte that keeps a high first bit from being a sign.
pub(in crate::jose) fn unsigned(integer: &[u8]) -> Box<[u8]> {
    integer.iter().copied().skip_while(|&byte| byte == 0).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn elements_are_taken_off_one_by_one() {
        assert_eq!(element(&[0x02, 1, 5, 9], INTEGER), Some((&[5][..], &[9][..])));
        assert_eq!(element(&[0x02, 0x81, 1, 5], INTEGER), Some((&[5][..], &[][..])));
        assert_eq!(whole(&[0x02, 1, 5], INTEGER), Some(&[5][..]));
        for bad in [
            &[][..],
            &[2],
            &[2, 1],
            &[2, 2, 5],
            &[2, 0x82, 1],
            &[2, 0x80, 0, 0],
            &[3, 1, 5],
            &[2, 0x89, 1, 0, 0, 0, 0, 0, 0, 0, 1],
        ] {
            assert_eq!(element(bad, INTEGER), None, "{bad:?}");
        }
        assert_eq!(element(&[0x3f, 1, 5], 0x3f), None, "a tag of two bytes");
        assert_eq!(whole(&[0x02, 1, 5, 9], INTEGER), None);
        assert_eq!(unsigned(&[0, 0x80]).as_ref(), [0x80]);
    }
}
