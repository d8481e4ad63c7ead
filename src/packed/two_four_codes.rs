//! The codes of a packed 2:4 core: which two of a group's four columns are kept, in three bits.
//!
//! The lowest two bits of a code are the column of the group's first packed value. [`SECOND_COLUMNS`] gives the column of
//! the second value, which is one or two columns further, modulo four; so three bits distinguish all six masks. Ten
//! codes share a 32-bit word, the code of the first group in the lowest bits, and a cache line holds a word for each row
//! of a panel.

use crate::kernels::cache_line::CacheLine;

/// Groups whose codes share a word.
pub(super) const GROUPS_PER_WORD: usize = 10;

/// Column of the second value by code; the second half repeats the first, as tables of sixteen words need it.
pub(super) const SECOND_COLUMNS: CacheLine = CacheLine([1, 2, 3, 0, 2, 3, 0, 1, 1, 2, 3, 0, 2, 3, 0, 1]);

/// The code of a group, and the order in which its values are packed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct GroupCode {
    pub code: u32,
    /// Whether the value of the higher column comes first.
    pub swapped: bool,
}

/// Gives the code of a mask, bit j for column j.
///
/// # Panics
/// If the mask does not keep two of four columns.
pub(super) fn code(mask: u8) -> GroupCode {
    let code = match mask {
        0b0011 => 0,
        0b0110 => 1,
        0b1100 => 2,
        0b1001 => 3,
        0b0101 => 4,
        0b1010 => 5,
        other => panic!("the mask {other:#06b} does not keep two of four columns"),
    };
    GroupCode { code, swapped: SECOND_COLUMNS.0[code as usize] < first_column(code) }
}

/// Gives the column of the first value of the group whose code is in the lowest bits of `codes`.
#[inline(always)]
pub(super) fn first_column(codes: u32) -> u32 {
    codes & 3
}

/// Gives the column of the second value of the group whose code is in the lowest bits of `codes`, without a table.
#[inline(always)]
pub(super) fn second_column(codes: u32) -> u32 {
    (codes + 1 + (codes >> 2 & 1)) & 3
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::factors::groups::columns;
    use crate::factors::pattern::Pattern;

    #[test]
    fn every_mask_is_decoded_to_its_columns() {
        let mut codes = Vec::new();
        for mask in (0..16).filter(|&mask| Pattern::TWO_FOUR.admits(mask)) {
            let GroupCode { code, swapped } = code(mask);
            let kept: Vec<u32> = columns(mask).map(|column| column as u32).collect();
            let mut decoded = [first_column(code), second_column(code)];
            assert_eq!(decoded[1], SECOND_COLUMNS.0[code as usize], "{mask:#06b}");
            if swapped {
                decoded.reverse();
            }
            assert_eq!(decoded[..], kept, "{mask:#06b}");
            codes.push(code);
        }
        codes.sort_unstable();
        assert_eq!(codes, [0, 1, 2, 3, 4, 5]);
    }
}
