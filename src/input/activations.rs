//! Checks of activations before they are added up.

use ndarray::ArrayView2;
use rayon::prelude::*;

use crate::error::Error;
use crate::input::weight::Element;
use crate::kernels::elementwise::all_within;
use crate::kernels::scratch::with_scratch;

/// Checks that every activation of the argument is a number within ±`largest`.
///
/// # Errors
/// [`Error::Activation`] with the first other entry, in row-major order.
pub(crate) fn check<T: Element>(
    argument: &'static str,
    activations: &ArrayView2<'_, T>,
    largest: f32,
) -> Result<(), Error> {
    let inputs = activations.ncols();
    let bad = (0..activations.nrows()).into_par_iter().with_min_len(16).find_map_first(|token| {
        with_scratch([inputs], |[converted]| {
            T::convert(activations.row(token), converted);
            if all_within(converted, largest) {
                return None;
            }
            let input = converted.iter().position(|x| !(x.abs() <= largest))?;
            let value = activations[[token, input]].to_f64();
            Some(Error::Activation { argument, token, input, value, largest })
        })
    });
    bad.map_or(Ok(()), Err)
}
