//! The range of each number type, the check that the factors lie within it, and the rounding to a type.

#[cfg(feature = "safetensors")]
use ndarray::Array2;

use crate::error::Error;
use crate::factors::block_diagonal::BlockDiagonal;
use crate::factors::groups::columns;
use crate::factors::precision::{FactorPrecision, Precision};
use crate::factors::sparse_core::SparseCore;
use crate::factors::triple::Factors;
use crate::kernels::elementwise::all_within;

impl Precision {
    /// Returns the largest f32 number that rounds to a finite number of this type.
    ///
    /// Numbers from halfway between the type's largest number and the next step of its grid round to infinity.
    fn limit(self) -> f32 {
        match self {
            Precision::F32 => f32::MAX,
            Precision::F16 => 65_520_f32.next_down(),
            Precision::Bf16 => f32::from_bits(0x7f7f_8000).next_down(),
        }
    }

    /// Rounds to the nearest number of this type; a value beyond the limit becomes an infinity.
    pub(crate) fn nearest(self, value: f32) -> f32 {
        match self {
            Precision::F32 => value,
            Precision::F16 => half::f16::from_f32(value).to_f32(),
            Precision::Bf16 => half::bf16::from_f32(value).to_f32(),
        }
    }

    /// Rounds values in place to the nearest numbers of this type.
    fn round(self, values: &mut [f32]) {
        values.iter_mut().for_each(|value| *value = self.nearest(*value));
    }

    /// Checks that the value of entry [row, col] of `argument` is finite when it is rounded to this type.
    ///
    /// # Errors
    /// [`Error::Overflow`].
    fn check(self, argument: &'static str, (row, col): (usize, usize), value: f32) -> Result<(), Error> {
        if all_within(&[value], self.limit()) {
            Ok(())
        } else {
            Err(Error::Overflow { argument, row, col, value, dtype: self.as_str() })
        }
    }
}

impl Factors {
    /// Checks that every number of the factors is finite when it is rounded to the type of its factor.
    ///
    /// # Errors
    /// [`Error::Overflow`] with the first entry of A, S or B that is not.
    pub fn check_range(&self, precision: FactorPrecision) -> Result<(), Error> {
        check_wrapper("left", &self.left, precision.left)?;
        check_core(&self.core, precision.core)?;
        check_wrapper("right", &self.right, precision.right)
    }

    /// Rounds every number to the type of its factor.
    ///
    /// # Errors
    /// As [`Factors::check_range`]; the factors are then unchanged.
    pub fn round(&mut self, precision: FactorPrecision) -> Result<(), Error> {
        self.check_range(precision)?;
        precision.left.round(self.left.data_mut());
        precision.core.round(self.core.values_mut());
        precision.right.round(self.right.data_mut());
        Ok(())
    }
}

/// Checks that every entry of the product of the factors is finite when it is rounded.
///
/// # Errors
/// [`Error::Overflow`] with the first entry of `weight` that is not.
#[cfg(feature = "safetensors")]
pub(crate) fn check_weight(weight: &Array2<f32>, precision: Precision) -> Result<(), Error> {
    if weight.as_slice().is_some_and(|numbers| all_within(numbers, precision.limit())) {
        return Ok(());
    }
    weight.indexed_iter().try_for_each(|(at, &x)| precision.check("weight", at, x))
}

/// Rounds the product of the factors.
///
/// # Errors
/// As [`check_weight`]; the product is then unchanged.
#[cfg(feature = "checkpoint")]
pub(crate) fn round_weight(weight: &mut Array2<f32>, precision: Precision) -> Result<(), Error> {
    check_weight(weight, precision)?;
    weight.mapv_inplace(|x| precision.nearest(x));
    Ok(())
}

/// Finds the first entry of a wrapper that is not finite when it is rounded, in row-major order of each block.
fn check_wrapper(argument: &'static str, wrapper: &BlockDiagonal, precision: Precision) -> Result<(), Error> {
    if all_within(wrapper.data(), precision.limit()) {
        return Ok(());
    }
    (0..wrapper.blocks()).try_for_each(|index| {
        let start = wrapper.partition().start(index);
        let block = wrapper.block(index);
        block.indexed_iter().try_for_each(|((i, j), &x)| precision.check(argument, (start + i, start + j), x))
    })
}

/// Finds the first kept entry of the core that is not finite when it is rounded, in row-major order.
fn check_core(core: &SparseCore, precision: Precision) -> Result<(), Error> {
    if all_within(core.values(), precision.limit()) {
        return Ok(());
    }
    let m = core.pattern().m();
    let mut groups = (0..core.rows()).flat_map(|row| (0..core.groups()).map(move |group| (row, group)));
    groups.try_for_each(|(row, group)| {
        let (mask, values) = core.group(row, group);
        columns(mask).zip(values).try_for_each(|(j, &x)| precision.check("core", (row, group * m + j), x))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_limit_is_the_last_number_that_rounds_to_a_finite_one() {
        for precision in Precision::ALL {
            let limit = precision.limit();
            assert!(precision.nearest(limit).is_finite(), "{precision}");
            assert!(!precision.nearest(limit.next_up()).is_finite(), "{precision}");
            assert!(precision.check("left", (0, 0), -limit).is_ok(), "{precision}");
            for beyond in [limit.next_up(), -limit.next_up(), f32::NAN] {
                assert!(precision.check("left", (3, 4), beyond).is_err(), "{beyond} in {precision}");
            }
        }
    }
}
