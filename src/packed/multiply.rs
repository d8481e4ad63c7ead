//! The three stages of a product, B x, then S, then A, each strip by strip on all threads.

use ndarray::{ArrayViewMut1, ArrayViewMut2, ShapeBuilder, s};
use rayon::prelude::*;

use super::lanes::{Line, ROWS, dispatch};
use super::layout::{PackedBlocks, Strip};
use super::store::{Bf16, F16, F32};
use super::strip::{Product, StripProduct};
use super::vectors::{Outputs, Vectors};
use super::{Core, PackedFactorization, dense::Dense, sparse::Sparse};
use crate::{Error, InstructionSet, Precision, Weight, elementwise};

/// Vectors that are multiplied at once: as many as keep what lies between the stages in second-level caches.
const BATCH: usize = 32;

/// Bytes of weights times vectors below which other threads are not worth waking.
const SMALL: usize = 1 << 18;

/// On what a product runs.
#[derive(Clone, Copy, Debug)]
pub(crate) struct How {
    pub set: InstructionSet,
    /// One, or those of the current pool.
    pub threads: usize,
}

impl How {
    fn for_each(self, count: usize, work: impl Fn(usize) + Sync + Send) {
        if self.threads == 1 {
            (0..count).for_each(work);
        } else {
            (0..count).into_par_iter().for_each(work);
        }
    }
}

/// From one vector of `len` entries to the next: an odd number of cache lines, so that the same entry of several
/// vectors falls into different sets of the cache.
fn stride(len: usize) -> usize {
    (len.div_ceil(ROWS) | 1) * ROWS
}

pub(super) fn scratch_len(packed: &PackedFactorization, batch: usize) -> usize {
    let (rows, cols) = (stride(packed.rows), stride(packed.cols));
    batch.min(BATCH) * (2 * cols + rows) + rows + ROWS
}

/// Working memory, cut up.
struct Room<'a> {
    /// The inputs as f32, BATCH × k.
    x: &'a mut [f32],
    /// B x, BATCH × k.
    z: &'a mut [f32],
    /// S B x, BATCH × m.
    t: &'a mut [f32],
    /// One output, m.
    column: &'a mut [f32],
}

impl<'a> Room<'a> {
    fn new(packed: &PackedFactorization, batch: usize, scratch: &'a mut [f32]) -> Self {
        let aligned = scratch.as_ptr().align_offset(size_of::<Line>()).min(ROWS);
        let (rows, cols, count) = (stride(packed.rows), stride(packed.cols), batch.min(BATCH));
        let (x, rest) = scratch[aligned..].split_at_mut(count * cols);
        let (z, rest) = rest.split_at_mut(count * cols);
        let (t, column) = rest.split_at_mut(count * rows);
        Room { x, z, t, column: &mut column[..packed.rows] }
    }
}

/// What x is multiplied with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Factors {
    /// A, S and B.
    All,
    /// S.
    Core,
}

/// The product with all factors, or with the core alone.
pub(crate) fn multiply(
    packed: &PackedFactorization,
    factors: Factors,
    x: Weight<'_>,
    y: ArrayViewMut2<'_, f32>,
    scratch: &mut [f32],
    how: How,
) -> Result<(), Error> {
    check(packed, &x, &y, scratch)?;
    let stages = match factors {
        Factors::All => all_factors,
        Factors::Core => core_alone,
    };
    on_pool(packed, how, x.dim().0, |how| by_batches(packed, &x, y, scratch, how, stages));
    Ok(())
}

fn check(
    packed: &PackedFactorization,
    x: &Weight<'_>,
    y: &ArrayViewMut2<'_, f32>,
    scratch: &[f32],
) -> Result<(), Error> {
    let (batch, cols) = x.dim();
    let length = |argument, found, expected| Err(Error::Length { argument, found, expected });
    if cols != packed.cols {
        length("x", cols, packed.cols)
    } else if y.ncols() != packed.rows {
        length("y", y.ncols(), packed.rows)
    } else if y.nrows() != batch {
        length("batch", y.nrows(), batch)
    } else if scratch.len() < scratch_len(packed, batch) {
        length("scratch", scratch.len(), scratch_len(packed, batch))
    } else {
        Ok(())
    }
}

/// Goes to the pool once, for all stages.
fn on_pool(packed: &PackedFactorization, how: How, batch: usize, work: impl FnOnce(How) + Send) {
    if how.threads == 1 || packed.bytes().total().saturating_mul(batch) < SMALL {
        work(How { threads: 1, ..how });
    } else if rayon::current_thread_index().is_some() {
        work(how);
    } else {
        rayon::scope(|_| work(how));
    }
}

/// What is done with a few vectors.
type Stages = fn(&PackedFactorization, How, Vectors<'_>, (&mut [f32], &mut [f32]), ArrayViewMut2<'_, f32>);

fn by_batches(
    packed: &PackedFactorization,
    x: &Weight<'_>,
    mut y: ArrayViewMut2<'_, f32>,
    scratch: &mut [f32],
    how: How,
    stages: Stages,
) {
    let batch = x.dim().0;
    let mut room = Room::new(packed, batch, scratch);
    for start in (0..batch).step_by(BATCH) {
        let count = BATCH.min(batch - start);
        let mut y = y.slice_mut(s![start..start + count, ..]);
        let mut finite = [true; BATCH];
        let vectors = match in_place(x) {
            Some(data) if elementwise::all_finite(data) => Vectors { data, stride: data.len(), count },
            _ => {
                for (vector, x_room) in room.x.chunks_exact_mut(stride(packed.cols)).enumerate().take(count) {
                    x.copy_row(start + vector, 0..packed.cols, &mut x_room[..packed.cols]);
                    finite[vector] = elementwise::all_finite(&x_room[..packed.cols]);
                    if !finite[vector] {
                        x_room.iter_mut().filter(|x| !x.is_finite()).for_each(|x| *x = 0.0);
                    }
                }
                Vectors { data: room.x, stride: stride(packed.cols), count }
            }
        };
        stages(packed, how, vectors, (room.z, room.t), y.view_mut());
        for vector in (0..count).filter(|&vector| !finite[vector]) {
            add_infinities(packed, how, (x, start + vector), &mut room, y.row_mut(vector), stages);
        }
    }
}

/// A single vector of f32 that needs no copy.
fn in_place<'a>(x: &'a Weight<'_>) -> Option<&'a [f32]> {
    match x {
        Weight::F32(view) if view.nrows() == 1 => view.as_slice(),
        _ => None,
    }
}

/// Gives y what the dense product would where x is not finite: NaN for a NaN; for an infinity column j of the matrix
/// times ∞, which is NaN where the matrix has a zero.
///
/// The three stages alone would not: an infinity that B spreads over a block meets both signs in S.
fn add_infinities(
    packed: &PackedFactorization,
    how: How,
    (x, row): (&Weight<'_>, usize),
    room: &mut Room<'_>,
    mut y: ArrayViewMut1<'_, f32>,
    stages: Stages,
) {
    let cols = packed.cols;
    let mut value = [0.0];
    for column in 0..cols {
        x.copy_row(row, column..column + 1, &mut value);
        let [infinity] = value;
        if infinity.is_finite() {
            continue;
        }
        if infinity.is_nan() || y.iter().all(|y| y.is_nan()) {
            return y.fill(f32::NAN);
        }
        room.column.fill(0.0);
        // The input of this vector is not needed any more; those of later ones are read anew from x.
        room.x[..cols].fill(0.0);
        room.x[column] = 1.0;
        let unit = Vectors { data: room.x, stride: cols, count: 1 };
        let out = ArrayViewMut2::from_shape((1, packed.rows), room.column).expect("a column has m entries");
        stages(packed, how, unit, (room.z, room.t), out);
        y.iter_mut().zip(room.column.iter()).for_each(|(y, &entry)| *y += entry * infinity);
    }
}

/// z = B x, t = S z, y = A t.
fn all_factors(
    packed: &PackedFactorization,
    how: How,
    x: Vectors<'_>,
    (z, t): (&mut [f32], &mut [f32]),
    y: ArrayViewMut2<'_, f32>,
) {
    let count = x.count;
    blocks_stage(&packed.right, how, x, rows_of(z, count, packed.cols));
    core_stage(packed, how, Vectors { data: z, stride: stride(packed.cols), count }, rows_of(t, count, packed.rows));
    blocks_stage(&packed.left, how, Vectors { data: t, stride: stride(packed.rows), count }, y);
}

/// y = S x.
fn core_alone(
    packed: &PackedFactorization,
    how: How,
    x: Vectors<'_>,
    _: (&mut [f32], &mut [f32]),
    y: ArrayViewMut2<'_, f32>,
) {
    core_stage(packed, how, x, y);
}

/// Views working memory as vectors of `len` entries.
fn rows_of(room: &mut [f32], count: usize, len: usize) -> ArrayViewMut2<'_, f32> {
    ArrayViewMut2::from_shape((count, len).strides((stride(len), 1)), room).expect("the room is as long as its vectors")
}

fn blocks_stage(blocks: &PackedBlocks, how: How, x: Vectors<'_>, out: ArrayViewMut2<'_, f32>) {
    // SAFETY: a strip writes its own rows.
    let out = unsafe { Outputs::new(out) };
    how.for_each(blocks.strips(), |index| {
        strip_product::<Dense>(how.set, blocks.precision(), blocks.strip(index), x, out);
    });
}

fn core_stage(packed: &PackedFactorization, how: How, x: Vectors<'_>, out: ArrayViewMut2<'_, f32>) {
    // SAFETY: a strip writes its own rows, and so does a row.
    let out = unsafe { Outputs::new(out) };
    match &packed.core {
        Core::TwoFour(core) => how.for_each(core.strips(), |index| {
            strip_product::<Sparse>(how.set, packed.precision, core.strip(index), x, out);
        }),
        Core::Any(rows) => how.for_each(rows.rows(), |row| rows.multiply(row, x, &out)),
    }
}

fn strip_product<P: Product>(
    set: InstructionSet,
    precision: Precision,
    strip: Strip<'_>,
    vectors: Vectors<'_>,
    out: Outputs<'_>,
) {
    match precision {
        Precision::F32 => dispatch(set, StripProduct::<P, F32>::new(strip, vectors, out)),
        Precision::F16 => dispatch(set, StripProduct::<P, F16>::new(strip, vectors, out)),
        Precision::Bf16 => dispatch(set, StripProduct::<P, Bf16>::new(strip, vectors, out)),
    }
}
