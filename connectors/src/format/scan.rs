//! Looks at 16 bytes of a JSON string at once. SSE2 where the processor is known to have it (every x86-64), plain Rust elsewhere;
//! both give the same masks.

/// What 16 bytes contain; bit `i` stands for byte `i`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Masks {
    /// Quotes, backslashes and control characters: where plain text ends.
    pub(super) special: u32,
    /// Bytes outside ASCII.
    pub(super) high: u32,
}

#[cfg(target_arch = "x86_64")]
#[inline(always)]
pub(super) fn masks(chunk: &[u8; 16]) -> Masks {
    use std::arch::x86_64::{
        _mm_cmpeq_epi8, _mm_min_epu8, _mm_movemask_epi8, _mm_or_si128, _mm_set_epi64x, _mm_set1_epi8,
    };
    let bits = u128::from_le_bytes(*chunk);
    // SAFETY: the instructions need SSE2, which every x86-64 processor has; none of them touches memory.
    unsafe {
        let text = _mm_set_epi64x((bits >> 64) as i64, bits as i64);
        let quote = _mm_cmpeq_epi8(text, _mm_set1_epi8(b'"' as i8));
        let backslash = _mm_cmpeq_epi8(text, _mm_set1_epi8(b'\\' as i8));
        let control = _mm_cmpeq_epi8(_mm_min_epu8(text, _mm_set1_epi8(0x1F)), text);
        let special = _mm_or_si128(_mm_or_si128(quote, backslash), control);
        Masks { special: _mm_movemask_epi8(special) as u32, high: _mm_movemask_epi8(text) as u32 }
    }
}

#[cfg(not(target_arch = "x86_64"))]
#[inline(always)]
pub(super) fn masks(chunk: &[u8; 16]) -> Masks {
    portable(chunk)
}

/// The same for 32 bytes: fewer branches where text is only stepped over.
#[inline(always)]
pub(super) fn masks_wide(chunk: &[u8; 32]) -> Masks {
    let (halves, _) = chunk.as_chunks::<16>();
    let [low, high] = halves else { return Masks { special: 0, high: 0 } };
    let (low, high) = (masks(low), masks(high));
    Masks { special: low.special | high.special << 16, high: low.high | high.high << 16 }
}

#[cfg(any(test, not(target_arch = "x86_64")))]
fn portable(chunk: &[u8; 16]) -> Masks {
    let mut masks = Masks { special: 0, high: 0 };
    for (bit, byte) in chunk.iter().enumerate() {
        masks.special |= u32::from(is_special(*byte)) << bit;
        masks.high |= u32::from(*byte >> 7) << bit;
    }
    masks
}

/// Whether plain text of a string ends at this byte.
#[inline]
pub(super) fn is_special(byte: u8) -> bool {
    byte == b'"' || byte == b'\\' || byte < 0x20
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_byte_at_every_place_agrees_with_the_plain_loop() {
        for place in 0..16 {
            for byte in 0..=255 {
                let mut chunk = *b"plain text, okay";
                chunk[place] = byte;
                let expected = portable(&chunk);
                assert_eq!(masks(&chunk), expected, "{byte} at {place}");
                let mut wide = [b'x'; 32];
                wide[16..].copy_from_slice(&chunk);
                let wide = masks_wide(&wide);
                assert_eq!((wide.special >> 16, wide.high >> 16), (expected.special, expected.high));
                assert_eq!((wide.special & 0xFFFF, wide.high & 0xFFFF), (0, 0));
            }
        }
    }
}
