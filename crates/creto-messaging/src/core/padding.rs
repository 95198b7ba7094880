//! Padding: Padmé (Nikitin et al., "Reducing Metadata Leakage from Encrypted Files", PETS 2019, section 4), which leaks O(log log L)
//! bits of the length L and costs at most 12 %. A 0x80 byte and zeros follow the text (ISO/IEC 7816-4), so no length is carried.

use crate::error::MessagingError;

/// Shortest padded text, in bytes.
pub const PADDED_BYTES_MIN: usize = 64;

/// The padded length for a text of `text_bytes`: at least one byte more.
#[must_use]
pub const fn padded_bytes(text_bytes: usize) -> usize {
    let length = text_bytes.saturating_add(1);
    if length <= PADDED_BYTES_MIN {
        return PADDED_BYTES_MIN;
    }
    let exponent = length.ilog2();
    let precision = exponent.ilog2() + 1;
    let mask = (1_usize << exponent.saturating_sub(precision)) - 1;
    length.saturating_add(mask) & !mask
}

/// Appends the padding.
pub fn pad(text: &mut Vec<u8>) {
    let padded = padded_bytes(text.len());
    text.push(0x80);
    text.resize(padded, 0);
}

/// The text's length inside its padding; refuses every padding but the one [`pad`] makes.
pub fn text_bytes(padded: &[u8]) -> Result<usize, MessagingError> {
    let length = padded.iter().rposition(|&byte| byte != 0).ok_or(MessagingError::Undecryptable)?;
    if padded.get(length) == Some(&0x80) && padded_bytes(length) == padded.len() { Ok(length) } else { Err(MessagingError::Undecryptable) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn padding_is_taken_off_exactly_and_costs_little() {
        for length in (0..3000).chain([65_535, 65_536]) {
            let mut text = vec![0xAB; length];
            pad(&mut text);
            assert_eq!(text_bytes(&text).unwrap(), length);
            assert!(text.len() <= 64.max((length + 1) * 112 / 100 + 1), "{length} became {}", text.len());
        }
        assert_eq!((padded_bytes(63), padded_bytes(64), padded_bytes(1024)), (64, 72, 1088));
    }

    #[test]
    fn another_padding_is_refused() {
        for bad in [vec![], vec![0; 64], vec![0x80], [vec![1; 64], vec![0x80]].concat(), [vec![0x80], vec![0; 127]].concat()] {
            assert!(text_bytes(&bad).is_err(), "{bad:?}");
        }
    }
}
