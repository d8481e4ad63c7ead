//! A product of a packed layer with a batch of inputs, some inputs at a time, in the caller's memory.

use ndarray::{ArrayViewMut2, s};

use crate::error::Error;
use crate::input::weight::Weight;
use crate::packed::core::PackedCore;
use crate::packed::execution::Execution;
use crate::packed::factors::PackedFactors;
use crate::packed::input::{InputRange, load};
use crate::packed::non_finite::add_non_finite;
use crate::packed::stages::{self, ProductRun};
use crate::packed::vectors::INTERLEAVED;
use crate::packed::workspace::{Workspace, scratch_len};

/// Bytes of weights times vectors below which one thread is faster than several.
const SMALL: usize = 1 << 18;

/// Vectors one after the other that are multiplied at once: as many as keep the vectors between the stages in
/// second-level caches.
const SEPARATE: usize = 32;

/// Computes the product with the inputs that are the rows of x, and writes it to the rows of y.
///
/// # Errors
/// [`Error::Length`] where x, y or `scratch` has a wrong size; y is then unchanged.
pub(super) fn multiply(
    run: ProductRun<'_>,
    x: &Weight<'_>,
    y: ArrayViewMut2<'_, f32>,
    scratch: &mut [f32],
) -> Result<(), Error> {
    check(run.packed, x, &y, scratch)?;
    let threads = if is_small(run.packed, x.dim().0) { 1 } else { run.execution.threads };
    let run = ProductRun { execution: Execution { threads, ..run.execution }, ..run };
    // A call from outside the pool enters it once, for all stages.
    if threads == 1 || rayon::current_thread_index().is_some() {
        multiply_ranges(run, x, y, scratch);
    } else {
        rayon::scope(|_| multiply_ranges(run, x, y, scratch));
    }
    Ok(())
}

fn check(packed: &PackedFactors, x: &Weight<'_>, y: &ArrayViewMut2<'_, f32>, scratch: &[f32]) -> Result<(), Error> {
    let (batch, cols) = x.dim();
    let length = |argument, found, expected| Err(Error::Length { argument, found, expected });
    if cols != packed.cols {
        length("x", cols, packed.cols)
    } else if y.ncols() != packed.rows {
        length("y", y.ncols(), packed.rows)
    } else if y.nrows() != batch {
        length("rows of y", y.nrows(), batch)
    } else if scratch.len() < scratch_len(packed, batch) {
        length("scratch", scratch.len(), scratch_len(packed, batch))
    } else {
        Ok(())
    }
}

fn is_small(packed: &PackedFactors, batch: usize) -> bool {
    packed.bytes().total().saturating_mul(batch) < SMALL
}

/// Multiplies one range of inputs after the other.
fn multiply_ranges(run: ProductRun<'_>, x: &Weight<'_>, mut y: ArrayViewMut2<'_, f32>, scratch: &mut [f32]) {
    let batch = x.dim().0;
    let mut workspace = Workspace::new(run.packed, batch, scratch);
    let mut start = 0;
    while start < batch {
        let range = next_range(run.packed, start, batch - start);
        let mut y = y.slice_mut(s![start..start + range.count, ..]);
        let mut finite = [true; INTERLEAVED];
        let input = load(x, range, workspace.x, &mut finite);
        stages::multiply_vectors(run, input, workspace.stages.reborrow(), y.view_mut());
        for vector in (0..range.count).filter(|&vector| !finite[vector]) {
            add_non_finite(run, (x, start + vector), &mut workspace, y.row_mut(vector));
        }
        start += range.count;
    }
}

/// Gives the next inputs that are multiplied at once, of the `left` ones from `start` on.
fn next_range(packed: &PackedFactors, start: usize, left: usize) -> InputRange {
    match packed.core {
        PackedCore::TwoFour(_) if left >= INTERLEAVED => InputRange { start, count: INTERLEAVED, interleaved: true },
        _ => InputRange { start, count: left.min(SEPARATE), interleaved: false },
    }
}
