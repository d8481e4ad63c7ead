//! Groups of the core: which columns a mask keeps, and groups as dense rows.

use crate::factors::pattern::Pattern;
use crate::kernels::cache_line::CacheLine;
use crate::kernels::instructions::{InstructionSet, Kernel};
use crate::kernels::lanes::{Lanes, SixteenLanes};

/// Lists the kept columns of a group, ascending.
pub(crate) fn columns(mask: u8) -> impl Iterator<Item = usize> {
    (0..8).filter(move |j| mask >> j & 1 == 1)
}

/// Writes groups as dense rows.
pub(crate) fn expand_groups(pattern: Pattern, masks: &[u8], values: &[f32], out: &mut [f32]) {
    let done = match pattern {
        Pattern::TWO_FOUR => {
            InstructionSet::best().dispatch(CacheLine::LEN, TwoFourExpansion { masks, values, out: &mut *out })
        }
        _ => 0,
    };
    let (n, m) = (pattern.n(), pattern.m());
    let dense = out[done * m..].chunks_exact_mut(m);
    for ((&mask, values), dense) in masks[done..].iter().zip(values[done * n..].chunks_exact(n)).zip(dense) {
        dense.fill(0.0);
        for (column, &value) in columns(mask).zip(values) {
            dense[column] = value;
        }
    }
}

/// Groups of 2:4 that are written as dense rows, four groups, which are one cache line, at once.
struct TwoFourExpansion<'a> {
    masks: &'a [u8],
    values: &'a [f32],
    out: &'a mut [f32],
}

impl Kernel for TwoFourExpansion<'_> {
    /// Groups that were written: none where the instruction set cannot expand a line; else all but the last three at
    /// most.
    type Output = usize;

    #[inline(always)]
    fn run<S: Lanes>(self, simd: S) -> usize {
        let (masks, values) = (self.masks.as_chunks::<4>().0, self.values.as_chunks::<8>().0);
        for ((masks, values), dense) in masks.iter().zip(values).zip(self.out.as_chunks_mut().0) {
            let nibbles = u32::from_le_bytes(*masks);
            let bytes = (nibbles | nibbles >> 4) & 0x00ff_00ff;
            let kept = (bytes | bytes >> 8) as u16;
            match simd.sixteen().expand(kept, values) {
                Some(line) => *dense = line,
                None => return 0,
            }
        }
        4 * masks.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn groups_of_every_mask_are_expanded_in_any_number() {
        for (n, m) in [(2, 4), (1, 4), (4, 8), (1, 2)] {
            let pattern = Pattern::new(n, m).expect("valid");
            let all: Vec<u8> = (0..=u8::MAX).filter(|&mask| pattern.admits(mask)).collect();
            for count in 0..40 {
                let masks: Vec<u8> = (0..count).map(|i| all[i * 7 % all.len()]).collect();
                let values: Vec<f32> = (0..count * n).map(|i| i as f32 + 1.0).collect();
                let mut dense = vec![f32::NAN; count * m];
                expand_groups(pattern, &masks, &values, &mut dense);
                let mut kept = values.iter();
                for (index, &entry) in dense.iter().enumerate() {
                    let expected = if masks[index / m] >> (index % m) & 1 == 1 { kept.next() } else { None };
                    assert_eq!(entry, expected.copied().unwrap_or(0.0), "{n}:{m}, entry {index} of {count} groups");
                }
            }
        }
    }
}
