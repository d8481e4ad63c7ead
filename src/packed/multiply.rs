//! A product: its inputs a few vectors at a time, in the caller's memory, and what infinities among them do.

use ndarray::{ArrayViewMut1, ArrayViewMut2, s};

use super::layout::ROWS;
use super::stages::{self, Room};
use super::vectors::{Input, Vectors};
use super::wide::{WIDTH, side_by_side};
use super::{Core, PackedFactorization};
use crate::error::Error;
use crate::input::weight::Weight;
use crate::kernels::cache_line::CacheLine;
use crate::kernels::elementwise;
use crate::kernels::instructions::InstructionSet;

/// Bytes of weights times vectors below which other threads are not worth waking.
const SMALL: usize = 1 << 18;

/// Vectors one after the other that are multiplied at once: as many as keep what lies between the stages in second-level
/// caches.
const BATCH: usize = 32;

/// On what a product runs.
#[derive(Clone, Copy, Debug)]
pub(crate) struct How {
    pub set: InstructionSet,
    /// One, or those of the current pool.
    pub threads: usize,
}

/// What x is multiplied with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Factors {
    /// A, S and B.
    All,
    /// S.
    Core,
}

/// From one vector of `len` entries to the next: an odd number of cache lines, so that the same entry of several
/// vectors falls into different sets of the cache.
pub(super) fn stride(len: usize) -> usize {
    (len.div_ceil(ROWS) | 1) * ROWS
}

/// Vectors that are multiplied at once.
#[derive(Clone, Copy)]
struct Cut {
    count: usize,
    wide: bool,
}

impl Cut {
    /// The next of `left` vectors.
    fn next(packed: &PackedFactorization, left: usize) -> Cut {
        match packed.core {
            Core::TwoFour(_) if left >= WIDTH => Cut { count: WIDTH, wide: true },
            _ => Cut { count: left.min(BATCH), wide: false },
        }
    }
}

pub(super) fn scratch_len(packed: &PackedFactorization, batch: usize) -> usize {
    let (rows, cols) = (stride(packed.rows), stride(packed.cols));
    batch.min(WIDTH) * (2 * cols + rows) + rows + ROWS
}

/// Working memory, cut up.
struct Memory<'a> {
    /// The inputs as f32.
    x: &'a mut [f32],
    room: Room<'a>,
    /// One output, m.
    column: &'a mut [f32],
}

impl<'a> Memory<'a> {
    fn new(packed: &PackedFactorization, batch: usize, scratch: &'a mut [f32]) -> Self {
        let aligned = scratch.as_ptr().align_offset(size_of::<CacheLine>()).min(ROWS);
        let (rows, cols, count) = (stride(packed.rows), stride(packed.cols), batch.min(WIDTH));
        let (x, rest) = scratch[aligned..].split_at_mut(count * cols);
        let (z, rest) = rest.split_at_mut(count * cols);
        let (t, column) = rest.split_at_mut(count * rows);
        Memory { x, room: Room { z, t }, column: &mut column[..packed.rows] }
    }
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
    on_pool(packed, how, x.dim().0, |how| by_batches(Product { packed, factors, how }, &x, y, scratch));
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
        length("rows of y", y.nrows(), batch)
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

/// A layer, which factors of it, and on what.
#[derive(Clone, Copy)]
pub(super) struct Product<'a> {
    pub packed: &'a PackedFactorization,
    pub factors: Factors,
    pub how: How,
}

fn by_batches(product: Product<'_>, x: &Weight<'_>, mut y: ArrayViewMut2<'_, f32>, scratch: &mut [f32]) {
    let batch = x.dim().0;
    let mut memory = Memory::new(product.packed, batch, scratch);
    let mut start = 0;
    while start < batch {
        let cut = Cut::next(product.packed, batch - start);
        let mut y = y.slice_mut(s![start..start + cut.count, ..]);
        let mut finite = [true; WIDTH];
        let input = load(x, start, cut, memory.x, &mut finite);
        stages::run(product, input, memory.room.reborrow(), y.view_mut());
        for vector in (0..cut.count).filter(|&vector| !finite[vector]) {
            add_infinities(product, (x, start + vector), &mut memory, y.row_mut(vector));
        }
        start += cut.count;
    }
}

/// The vectors of a cut as f32, with zeros for what is not finite in those of which `finite` then says so.
fn load<'a>(x: &'a Weight<'_>, start: usize, cut: Cut, room: &'a mut [f32], finite: &mut [bool; WIDTH]) -> Input<'a> {
    let (cols, count) = (x.dim().1, cut.count);
    if let Some(data) = in_place(x)
        && elementwise::all_finite(data)
    {
        return Input::Apart(Vectors { data, stride: data.len(), count });
    }
    if cut.wide {
        let rows = room[..count * cols].as_chunks_mut().0.as_chunks_mut().0;
        side_by_side(x, start, rows, finite);
        return Input::Wide(rows);
    }
    for (vector, room) in room.chunks_exact_mut(stride(cols)).enumerate().take(count) {
        let room = &mut room[..cols];
        x.copy_row(start + vector, 0..cols, room);
        finite[vector] = zero_unless_finite(room);
    }
    Input::Apart(Vectors { data: room, stride: stride(cols), count })
}

/// A single vector of f32 that needs no copy.
fn in_place<'a>(x: &'a Weight<'_>) -> Option<&'a [f32]> {
    match x {
        Weight::F32(view) if view.nrows() == 1 => view.as_slice(),
        _ => None,
    }
}

/// Writes zeros for NaN and infinities; whether there were none.
pub(super) fn zero_unless_finite(values: &mut [f32]) -> bool {
    let finite = elementwise::all_finite(values);
    if !finite {
        values.iter_mut().filter(|x| !x.is_finite()).for_each(|x| *x = 0.0);
    }
    finite
}

/// Gives y what the dense product would where x is not finite: NaN for a NaN; for an infinity column j of the matrix
/// times ∞, which is NaN where the matrix has a zero.
///
/// The three stages alone would not: an infinity that B spreads over a block meets both signs in S.
fn add_infinities(
    product: Product<'_>,
    (x, row): (&Weight<'_>, usize),
    memory: &mut Memory<'_>,
    mut y: ArrayViewMut1<'_, f32>,
) {
    let (rows, cols) = (product.packed.rows, product.packed.cols);
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
        memory.column.fill(0.0);
        // The input of this vector is not needed any more; those of later ones are read anew from x.
        memory.x[..cols].fill(0.0);
        memory.x[column] = 1.0;
        let unit = Input::Apart(Vectors { data: memory.x, stride: cols, count: 1 });
        let out = ArrayViewMut2::from_shape((1, rows), memory.column).expect("a column has m entries");
        stages::run(product, unit, memory.room.reborrow(), out);
        y.iter_mut().zip(memory.column.iter()).for_each(|(y, &entry)| *y += entry * infinity);
    }
}
