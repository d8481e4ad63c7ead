//! Many vectors at once, side by side: entry i of all of them is one row of a *wide* matrix, so that SIMD lanes are
//! vectors and a weight is one number for all of them.
//!
//! A kept weight then costs one multiply-add for sixteen vectors and picks its row of x by address, where a panel of
//! rows needs a permutation too: half of the arithmetic of a dense product, not all of it.

use std::marker::PhantomData;

use super::layout::ROWS;
use super::layout::{STRIP, Strip};
use super::multiply::zero_unless_finite;
use super::store::Store;
use super::strip::Matrix;
use super::vectors::Target;
use crate::input::weight::Weight;
use crate::kernels::instructions::Kernel;
use crate::kernels::lanes::{Lanes, SixteenLanes};

/// Vectors of a wide matrix. Fewer are faster in panels, where this has too few multiply-adds for a weight's own loads.
pub(super) const WIDTH: usize = 64;

/// One entry of so many vectors.
pub(super) type WideRow = [[f32; ROWS]; WIDTH / ROWS];

/// A strip, the wide matrix that it is multiplied with, and where the result goes.
pub(super) struct WideProduct<'a, M, S> {
    strip: Strip<'a>,
    /// A row for every column of the matrix.
    x: &'a [WideRow],
    target: Target<'a>,
    kind: PhantomData<(M, S)>,
}

impl<'a, M, S> WideProduct<'a, M, S> {
    pub fn new(strip: Strip<'a>, x: &'a [WideRow], target: Target<'a>) -> Self {
        WideProduct { strip, x, target, kind: PhantomData }
    }
}

impl<M: Matrix, S: Store> Kernel for WideProduct<'_, M, S> {
    type Output = ();

    #[inline(always)]
    fn run<I: Lanes>(self, simd: I) {
        self.multiply(simd.sixteen());
    }
}

impl<M: Matrix, S: Store> WideProduct<'_, M, S> {
    #[inline(always)]
    fn multiply<L: SixteenLanes>(&self, lanes: L) {
        let Strip { start, rows, cols: (first, count), .. } = self.strip;
        let mut totals = [[[0.0; ROWS]; WIDTH / ROWS]; STRIP];
        M::wide::<L, S>(lanes, self.strip, &self.x[first..first + count], &mut totals);
        match self.target {
            Target::Wide(out) => {
                for (row, total) in totals[..rows].iter().enumerate() {
                    out.write(start + row, 0, total.as_flattened());
                }
            }
            Target::Vectors(out) => {
                let mut vector = [0.0; STRIP];
                for index in 0..WIDTH {
                    for (entry, total) in vector.iter_mut().zip(&totals[..rows]) {
                        *entry = total.as_flattened()[index];
                    }
                    out.write(index, start, &vector[..rows]);
                }
            }
        }
    }
}

/// Columns that are turned at a time.
const TURNED: usize = 64;

/// Writes vectors from `first` on side by side, a row for each of their entries. Those that are not finite get zeros for
/// what is not.
pub(super) fn side_by_side(x: &Weight<'_>, first: usize, out: &mut [WideRow], finite: &mut [bool; WIDTH]) {
    let mut vectors = [[0.0; TURNED]; WIDTH];
    for (index, rows) in out.chunks_mut(TURNED).enumerate() {
        let (start, count) = (index * TURNED, rows.len());
        for (vector, (values, finite)) in vectors.iter_mut().zip(&mut *finite).enumerate() {
            x.copy_row(first + vector, start..start + count, &mut values[..count]);
            *finite &= zero_unless_finite(&mut values[..count]);
        }
        for (entry, row) in rows.iter_mut().enumerate() {
            for (to, vector) in row.as_flattened_mut().iter_mut().zip(&vectors) {
                *to = vector[entry];
            }
        }
    }
}
