//! Passes over arrays entry by entry, compiled for the widest instructions that the CPU has.

use half::bf16;

use crate::kernels::instructions::{InstructionSet, Kernel};
use crate::kernels::lanes::Lanes;

/// Numbers that are processed at the same time: those of one AVX-512 register of f32.
const LANES: usize = 16;

/// Defines a function whose body is compiled for every instruction set and dispatched at run time.
///
/// A closure would not do: one that the compiler does not inline is compiled without the instruction set.
macro_rules! dispatched {
    ($(#[$doc:meta])* fn $name:ident<$life:lifetime>($($argument:ident: $type:ty),* $(,)?) $(-> $output:ty)? $body:block) => {
        $(#[$doc])*
        pub(crate) fn $name<$life>($($argument: $type),*) $(-> $output)? {
            struct Pass<$life>($($type,)* std::marker::PhantomData<&$life ()>);

            impl<$life> Kernel for Pass<$life> {
                type Output = dispatched!(@output $($output)?);

                #[inline(always)]
                fn run<S: Lanes>(self, _simd: S) -> Self::Output {
                    let Pass($($argument,)* _) = self;
                    $body
                }
            }

            InstructionSet::best().dispatch(LANES, Pass($($argument,)* std::marker::PhantomData))
        }
    };
    (@output) => { () };
    (@output $output:ty) => { $output };
}

dispatched! {
    /// Computes values ← values − subtrahend; returns Σ values², added up in f64.
    fn subtract_and_square<'a>(values: &'a mut [f32], subtrahend: &'a [f32]) -> f64 {
        let mut sums = [0.0f64; LANES];
        let (tiles, tail) = values.as_chunks_mut::<LANES>();
        let (tiles_subtracted, tail_subtracted) = subtrahend.as_chunks::<LANES>();
        for (values, subtrahend) in tiles.iter_mut().zip(tiles_subtracted) {
            for lane in 0..LANES {
                values[lane] -= subtrahend[lane];
                sums[lane] += f64::from(values[lane]) * f64::from(values[lane]);
            }
        }
        for (lane, (value, subtrahend)) in tail.iter_mut().zip(tail_subtracted).enumerate() {
            *value -= subtrahend;
            sums[lane] += f64::from(*value) * f64::from(*value);
        }
        sums.iter().sum()
    }
}

dispatched! {
    /// Computes Σ values², added up in f64.
    fn square<'a>(values: &'a [f32]) -> f64 {
        let mut sums = [0.0f64; LANES];
        let (tiles, tail) = values.as_chunks::<LANES>();
        for values in tiles {
            for lane in 0..LANES {
                sums[lane] += f64::from(values[lane]) * f64::from(values[lane]);
            }
        }
        for (lane, value) in tail.iter().enumerate() {
            sums[lane] += f64::from(*value) * f64::from(*value);
        }
        sums.iter().sum()
    }
}

dispatched! {
    /// Computes sums ← sums + terms.
    fn add_terms<'a>(sums: &'a mut [f64], terms: &'a [f32]) {
        for (sum, &term) in sums.iter_mut().zip(terms) {
            *sum += f64::from(term);
        }
    }
}

dispatched! {
    /// Computes sums ← sums + values², squared in f64.
    fn add_squares<'a>(sums: &'a mut [f64], values: &'a [f32]) {
        for (sum, &value) in sums.iter_mut().zip(values) {
            *sum += f64::from(value) * f64::from(value);
        }
    }
}

dispatched! {
    /// Computes wide ← values, exactly: a bfloat16 number is the upper half of an f32 number.
    fn widen<'a>(values: &'a [bf16], wide: &'a mut [f32]) {
        for (wide, value) in wide.iter_mut().zip(values) {
            *wide = f32::from_bits(u32::from(value.to_bits()) << 16);
        }
    }
}

dispatched! {
    /// Tells whether all magnitudes are at most `limit`, and no number is NaN.
    fn all_within<'a>(values: &'a [f32], limit: f32) -> bool {
        let mut beyond = 0_u32;
        for &value in values {
            beyond |= u32::from(!(value.abs() <= limit));
        }
        beyond == 0
    }
}

dispatched! {
    /// Computes values ← values + factor (values − previous) and previous ← the old values.
    fn move_on<'a>(values: &'a mut [f32], previous: &'a mut [f32], factor: f32) {
        for (value, previous) in values.iter_mut().zip(previous) {
            let old = *value;
            *value += factor * (old - *previous);
            *previous = old;
        }
    }
}

dispatched! {
    /// Does the same as [`move_on`] for the kept values of groups, `n` in each; a group whose mask differs from the previous
    /// one keeps its values.
    fn move_groups_on<'a>(
        n: usize,
        current: (&'a mut [f32], &'a [u8]),
        previous: (&'a mut [f32], &'a mut [u8]),
        factor: f32,
    ) {
        match n {
            2 => move_groups_of::<2>(n, current, previous, factor),
            _ => move_groups_of::<0>(n, current, previous, factor),
        }
    }
}

dispatched! {
    /// Tells whether no number is NaN or infinite.
    fn all_finite<'a>(values: &'a [f32]) -> bool {
        // The addition carries into the sign bit only if all bits of the exponent are ones: NaN and infinities.
        let carries = values.iter().fold(0, |carries, value| carries | (value.abs().to_bits() + 0x0080_0000));
        carries >> 31 == 0
    }
}

/// Implements [`move_groups_on`] for `N` kept values in each group, known at compile time, or for `n` if `N` is 0.
#[inline(always)]
fn move_groups_of<const N: usize>(
    n: usize,
    (values, masks): (&mut [f32], &[u8]),
    (previous_values, previous_masks): (&mut [f32], &mut [u8]),
    factor: f32,
) {
    let n = if N > 0 { N } else { n };
    let groups = values.chunks_exact_mut(n).zip(previous_values.chunks_exact_mut(n));
    for ((values, previous), (&mask, previous_mask)) in groups.zip(masks.iter().zip(previous_masks)) {
        let factor = if mask == *previous_mask { factor } else { 0.0 };
        for (value, previous) in values.iter_mut().zip(previous) {
            let old = *value;
            *value += factor * (old - *previous);
            *previous = old;
        }
        *previous_mask = mask;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn numbers(len: usize, seed: u32) -> Vec<f32> {
        (0..len as u32).map(|i| ((i.wrapping_mul(2_654_435_761) ^ seed) % 1000) as f32 / 500.0 - 1.0).collect()
    }

    #[test]
    fn every_length_around_the_lanes_matches_the_plain_loop() {
        for len in [0, 1, 2, 14, 15, 16, 17, 31, 32, 33, 100] {
            let (a, b) = (numbers(len, 1), numbers(len, 2));

            let mut difference = a.clone();
            let squares = subtract_and_square(&mut difference, &b);
            let twin: f64 = a.iter().zip(&b).map(|(a, b)| f64::from(a - b).powi(2)).sum();
            assert!((squares - twin).abs() <= 1e-14 * twin, "{squares} is not {twin} at length {len}");
            assert!(difference.iter().zip(a.iter().zip(&b)).all(|(d, (a, b))| *d == a - b), "length {len}");

            let mut sums = vec![1.0; len];
            add_terms(&mut sums, &a);
            assert!(sums.iter().zip(&a).all(|(sum, &a)| *sum == 1.0 + f64::from(a)), "length {len}");

            let mut sums = vec![1.0; len];
            add_squares(&mut sums, &a);
            assert!(sums.iter().zip(&a).all(|(sum, &a)| *sum == 1.0 + f64::from(a) * f64::from(a)), "length {len}");

            let brain: Vec<bf16> = a.iter().map(|&a| bf16::from_f32(a)).collect();
            let mut wide = vec![0.0; len];
            widen(&brain, &mut wide);
            assert!(wide.iter().zip(&brain).all(|(&wide, brain)| wide == brain.to_f32()), "length {len}");

            assert!(all_within(&a, 1.0), "length {len}");
            for (index, bad) in (0..len).zip([f32::NAN, -1.5, f32::INFINITY].into_iter().cycle()) {
                let mut values = a.clone();
                values[index] = bad;
                assert!(!all_within(&values, 1.0), "{bad} at {index} of {len}");
            }

            let (mut values, mut previous) = (a.clone(), b.clone());
            move_on(&mut values, &mut previous, 0.5);
            assert_eq!(previous, a);
            for ((value, a), b) in values.iter().zip(&a).zip(&b) {
                assert!((value - (a + 0.5 * (a - b))).abs() <= 1e-6, "length {len}");
            }
        }
    }

    #[test]
    fn groups_move_where_their_mask_stayed() {
        for n in [1, 2, 3] {
            let masks = [1, 2, 4, 1];
            let mut previous_masks = [1, 2, 1, 4];
            let mut values = vec![3.0; 4 * n];
            let mut previous = vec![1.0; 4 * n];
            move_groups_on(n, (&mut values, &masks), (&mut previous, &mut previous_masks), 0.5);
            let expected: Vec<f32> = (0..4 * n).map(|i| if i / n < 2 { 4.0 } else { 3.0 }).collect();
            assert_eq!((values, previous, previous_masks), (expected, vec![3.0; 4 * n], masks));
        }
    }
}
