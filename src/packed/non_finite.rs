//! NaN and infinities in the inputs: an output is what the product with the dense matrix Ŵ = A S B would give.
//!
//! The three stages alone would give something else: an infinity that B spreads over a block meets weights of both signs
//! in S. So the stages get zeros in the place of NaN and infinities, whose contribution is then added to the outputs.

use ndarray::{ArrayViewMut1, ArrayViewMut2};

use crate::input::weight::Weight;
use crate::kernels::elementwise;
use crate::packed::stages::{self, ProductRun};
use crate::packed::vectors::{ProductInput, VectorBatch};
use crate::packed::workspace::Workspace;

/// Replaces NaN and infinities by zeros; returns whether there were none.
pub(super) fn zero_unless_finite(values: &mut [f32]) -> bool {
    let finite = elementwise::all_finite(values);
    if !finite {
        values.iter_mut().filter(|x| !x.is_finite()).for_each(|x| *x = 0.0);
    }
    finite
}

/// Adds to y what the numbers of row `row` of x contribute that are not finite: NaN everywhere for a NaN; for an infinity
/// in column j, column j of Ŵ times ∞, which is NaN where Ŵ has a zero.
pub(super) fn add_non_finite(
    run: ProductRun<'_>,
    (x, row): (&Weight<'_>, usize),
    workspace: &mut Workspace<'_>,
    mut y: ArrayViewMut1<'_, f32>,
) {
    let mut value = [0.0];
    for column in 0..run.packed.cols {
        x.copy_row(row, column..column + 1, &mut value);
        let [infinity] = value;
        if infinity.is_finite() {
            continue;
        }
        if infinity.is_nan() || y.iter().all(|y| y.is_nan()) {
            return y.fill(f32::NAN);
        }
        let weights = column_of_weights(run, column, workspace);
        y.iter_mut().zip(weights).for_each(|(y, &weight)| *y += weight * infinity);
    }
}

/// Computes a column of Ŵ, the product with a unit vector. This overwrites the inputs in the workspace; those of the
/// vector at hand are not needed any more, and those of later vectors are read again from x.
fn column_of_weights<'a>(run: ProductRun<'_>, column: usize, workspace: &'a mut Workspace<'_>) -> &'a [f32] {
    let (rows, cols) = (run.packed.rows, run.packed.cols);
    workspace.output.fill(0.0);
    workspace.x[..cols].fill(0.0);
    workspace.x[column] = 1.0;
    let unit = ProductInput::Separate(VectorBatch { data: workspace.x, stride: cols, count: 1 });
    let out = ArrayViewMut2::from_shape((1, rows), &mut *workspace.output).expect("an output has m entries");
    stages::multiply_vectors(run, unit, workspace.stages.reborrow(), out);
    workspace.output
}
