//! Working memory for block products; every thread keeps its own from one iteration to the next.

use std::cell::Cell;

use bytemuck::Zeroable;

use crate::kernels::cache_line::CacheLine;

thread_local! {
    static BUFFER: Cell<Vec<CacheLine>> = const { Cell::new(Vec::new()) };
}

/// Runs `body` with slices of the given lengths, each of which begins at a cache line; their content is arbitrary.
pub(crate) fn with_scratch<const COUNT: usize, R>(
    lengths: [usize; COUNT],
    body: impl FnOnce([&mut [f32]; COUNT]) -> R,
) -> R {
    let mut buffer = BUFFER.take();
    let needed = lengths.iter().map(|length| length.div_ceil(CacheLine::LEN)).sum();
    if buffer.len() < needed {
        buffer.resize(needed, CacheLine::zeroed());
    }
    let mut rest = buffer.as_mut_slice();
    let slices = lengths.map(|length| {
        let (lines, tail) = std::mem::take(&mut rest).split_at_mut(length.div_ceil(CacheLine::LEN));
        rest = tail;
        &mut bytemuck::cast_slice_mut(lines)[..length]
    });
    let result = body(slices);
    BUFFER.set(buffer);
    result
}

/// Does the same as [`with_scratch`] with slices of f64.
pub(crate) fn with_scratch_f64<const COUNT: usize, R>(
    lengths: [usize; COUNT],
    body: impl FnOnce([&mut [f64]; COUNT]) -> R,
) -> R {
    with_scratch(lengths.map(|length| 2 * length), |slices| body(slices.map(bytemuck::cast_slice_mut)))
}
