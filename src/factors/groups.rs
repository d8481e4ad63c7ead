//! Groups of the core: which columns a mask keeps, and groups as dense rows.

use crate::factors::pattern::Pattern;

/// The kept columns of a group, ascending.
pub(crate) fn columns(mask: u8) -> impl Iterator<Item = usize> {
    (0..8).filter(move |j| mask >> j & 1 == 1)
}

/// Writes groups as dense rows.
pub(crate) fn expand_groups(pattern: Pattern, masks: &[u8], values: &[f32], out: &mut [f32]) {
    let mut done = 0;
    #[cfg(target_arch = "x86_64")]
    if pattern == Pattern::TWO_FOUR
        && let Some(simd) = pulp::x86::V4::try_new()
    {
        simd.vectorize(
            #[inline(always)]
            || expand_two_of_four(simd, masks, values, out),
        );
        done = masks.len() / 4 * 4;
    }
    let (n, m) = (pattern.n(), pattern.m());
    let dense = out[done * m..].chunks_exact_mut(m);
    for ((&mask, values), dense) in masks[done..].iter().zip(values[done * n..].chunks_exact(n)).zip(dense) {
        dense.fill(0.0);
        for (column, &value) in columns(mask).zip(values) {
            dense[column] = value;
        }
    }
}

/// Writes groups of 2:4 as dense rows, four groups (one AVX-512 register) at once; up to three are left.
#[cfg(target_arch = "x86_64")]
#[inline(always)]
fn expand_two_of_four(simd: pulp::x86::V4, masks: &[u8], values: &[f32], out: &mut [f32]) {
    let registers = masks.as_chunks::<4>().0.iter().zip(values.as_chunks::<8>().0).zip(out.as_chunks_mut::<16>().0);
    for ((masks, values), dense) in registers {
        let nibbles = u32::from_le_bytes(*masks);
        let bytes = (nibbles | nibbles >> 4) & 0x00ff_00ff;
        let kept = (bytes | bytes >> 8) as u16;
        let packed = simd.avx512f._mm512_castps256_ps512(bytemuck::cast(*values));
        *dense = bytemuck::cast(simd.avx512f._mm512_maskz_expand_ps(kept, packed));
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
