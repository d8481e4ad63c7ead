//! Inputs of any number type and layout, brought into the form that the stages read.

use crate::input::weight::Weight;
use crate::kernels::elementwise;
use crate::packed::non_finite::zero_unless_finite;
use crate::packed::vectors::{INTERLEAVED, InterleavedEntry, ProductInput, VectorBatch, stride};

/// Entries that are interleaved at a time.
const TILE: usize = 64;

/// Some consecutive inputs that are multiplied at once.
#[derive(Clone, Copy)]
pub(super) struct InputRange {
    /// The first one, a row of x.
    pub start: usize,
    pub count: usize,
    /// Whether they are interleaved; then `count` is [`INTERLEAVED`].
    pub interleaved: bool,
}

/// Gives inputs as f32, copied to `buffer` where needed. A vector with NaN or infinities gets zeros in their place, and
/// `finite`, which must be true for all vectors before, becomes false for it.
pub(super) fn load<'a>(
    x: &'a Weight<'_>,
    range: InputRange,
    buffer: &'a mut [f32],
    finite: &mut [bool; INTERLEAVED],
) -> ProductInput<'a> {
    let (cols, InputRange { start, count, interleaved }) = (x.dim().1, range);
    if let Some(data) = in_place(x)
        && elementwise::all_finite(data)
    {
        return ProductInput::Separate(VectorBatch { data, stride: data.len(), count });
    }
    if interleaved {
        let entries = buffer[..count * cols].as_chunks_mut().0.as_chunks_mut().0;
        interleave(x, start, entries, finite);
        return ProductInput::Interleaved(entries);
    }
    for (vector, buffer) in buffer.chunks_exact_mut(stride(cols)).enumerate().take(count) {
        let values = &mut buffer[..cols];
        x.copy_row(start + vector, 0..cols, values);
        finite[vector] = zero_unless_finite(values);
    }
    ProductInput::Separate(VectorBatch { data: buffer, stride: stride(cols), count })
}

/// Gives a single vector of f32 whose entries are neighbours, and which needs no copy.
fn in_place<'a>(x: &'a Weight<'_>) -> Option<&'a [f32]> {
    match x {
        Weight::F32(view) if view.nrows() == 1 => view.as_slice(),
        _ => None,
    }
}

/// Interleaves the vectors from `first` on; see [`load`] for `finite`.
fn interleave(x: &Weight<'_>, first: usize, out: &mut [InterleavedEntry], finite: &mut [bool; INTERLEAVED]) {
    let mut vectors = [[0.0; TILE]; INTERLEAVED];
    for (index, entries) in out.chunks_mut(TILE).enumerate() {
        let (start, count) = (index * TILE, entries.len());
        for (vector, (values, finite)) in vectors.iter_mut().zip(&mut *finite).enumerate() {
            x.copy_row(first + vector, start..start + count, &mut values[..count]);
            *finite &= zero_unless_finite(&mut values[..count]);
        }
        for (index, entry) in entries.iter_mut().enumerate() {
            for (number, vector) in entry.as_flattened_mut().iter_mut().zip(&vectors) {
                *number = vector[index];
            }
        }
    }
}
