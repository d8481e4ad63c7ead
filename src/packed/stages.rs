//! The three stages of a product, z = B x, t = S z and y = A t, each strip by strip on all threads.

use ndarray::{ArrayViewMut2, ShapeBuilder};

use super::dense::Dense;
use super::layout::{PackedBlocks, ROWS, Strip};
use super::multiply::{Factors, How, Product, stride};
use super::sparse::Sparse;
use super::store::{Bf16, F16, F32, Store};
use super::strip::{Matrix, StripProduct};
use super::team::{self, Stage};
use super::vectors::{Input, Outputs, Target};
use super::wide::{WIDTH, WideProduct};
use super::{Core, PackedFactorization};
use crate::factors::precision::Precision;

/// Memory for what lies between the stages.
pub(super) struct Room<'a> {
    /// B x, k entries of every vector.
    pub z: &'a mut [f32],
    /// S B x, m entries.
    pub t: &'a mut [f32],
}

impl Room<'_> {
    pub fn reborrow(&mut self) -> Room<'_> {
        Room { z: self.z, t: self.t }
    }
}

/// Multiplies a few vectors.
pub(super) fn run(product: Product<'_>, x: Input<'_>, room: Room<'_>, y: ArrayViewMut2<'_, f32>) {
    let Product { packed, factors, how } = product;
    // SAFETY: a strip writes its own rows.
    let y = Target::Vectors(unsafe { Outputs::new(y) });
    if factors == Factors::Core {
        let core = |index| core_piece(packed, how, index, x, y);
        return team::run(how.threads, &[Stage::new(core_pieces(packed), &core)]);
    }
    let z = Between::new(x, packed.cols, room.z);
    let t = Between::new(x, packed.rows, room.t);
    let right = |index| blocks_piece(&packed.right, how, index, x, z.target());
    // SAFETY: z is written in the stage before alone.
    let core = |index| core_piece(packed, how, index, unsafe { z.input() }, t.target());
    // SAFETY: as above, of t.
    let left = |index| blocks_piece(&packed.left, how, index, unsafe { t.input() }, y);
    team::run(
        how.threads,
        &[
            Stage::new(packed.right.strips(), &right),
            Stage::new(core_pieces(packed), &core),
            Stage::new(packed.left.strips(), &left),
        ],
    );
}

/// What one stage writes and the next one reads.
struct Between<'a> {
    entries: Outputs<'a>,
    wide: bool,
}

impl<'a> Between<'a> {
    /// Cuts memory into as many vectors of `len` entries as x has, and in its layout.
    fn new(x: Input<'_>, len: usize, room: &'a mut [f32]) -> Self {
        let (shape, wide) = match x {
            Input::Apart(vectors) => ((vectors.count, len).strides((stride(len), 1)), false),
            Input::Wide(_) => ((len, WIDTH).strides((WIDTH, 1)), true),
        };
        let view = ArrayViewMut2::from_shape(shape, room).expect("the room is as long as its vectors");
        // SAFETY: a strip writes its own rows.
        Between { entries: unsafe { Outputs::new(view) }, wide }
    }

    fn target(&self) -> Target<'a> {
        if self.wide { Target::Wide(self.entries) } else { Target::Vectors(self.entries) }
    }

    /// # Safety
    /// Nobody writes any more.
    unsafe fn input(&self) -> Input<'a> {
        // SAFETY: by this function's own contract.
        let vectors = unsafe { self.entries.read() };
        if self.wide { Input::Wide(vectors.data.as_chunks().0.as_chunks().0) } else { Input::Apart(vectors) }
    }
}

fn core_pieces(packed: &PackedFactorization) -> usize {
    match &packed.core {
        Core::TwoFour(core) => core.strips(),
        Core::Any(rows) => rows.rows(),
    }
}

fn core_piece(packed: &PackedFactorization, how: How, index: usize, x: Input<'_>, out: Target<'_>) {
    match &packed.core {
        Core::TwoFour(core) => strip_product::<Sparse>(how, packed.precision, core.strip(index), x, out),
        Core::Any(rows) => match (x, out) {
            (Input::Apart(vectors), Target::Vectors(out)) => rows.multiply(index, vectors, out),
            _ => unreachable!("only 2:4 cores are given wide matrices"),
        },
    }
}

fn blocks_piece(blocks: &PackedBlocks, how: How, index: usize, x: Input<'_>, out: Target<'_>) {
    strip_product::<Dense>(how, blocks.precision(), blocks.strip(index), x, out);
}

fn strip_product<M: Matrix>(how: How, precision: Precision, strip: Strip<'_>, x: Input<'_>, out: Target<'_>) {
    match precision {
        Precision::F32 => strip_product_of::<M, F32>(how, strip, x, out),
        Precision::F16 => strip_product_of::<M, F16>(how, strip, x, out),
        Precision::Bf16 => strip_product_of::<M, Bf16>(how, strip, x, out),
    }
}

fn strip_product_of<M: Matrix, S: Store>(how: How, strip: Strip<'_>, x: Input<'_>, out: Target<'_>) {
    match (x, out) {
        (Input::Wide(rows), out) => how.set.dispatch(ROWS, WideProduct::<M, S>::new(strip, rows, out)),
        (Input::Apart(vectors), Target::Vectors(out) | Target::Wide(out)) => {
            how.set.dispatch(ROWS, StripProduct::<M, S>::new(strip, vectors, out));
        }
    }
}
