//! Working memory for block products, which every thread keeps from one iteration to the next.

use std::cell::Cell;

thread_local! {
    static BUFFER: Cell<Vec<f32>> = const { Cell::new(Vec::new()) };
}

/// Runs `body` with slices of the given lengths, whose content is whatever was left there.
pub(crate) fn with_scratch<const COUNT: usize, R>(
    lengths: [usize; COUNT],
    body: impl FnOnce([&mut [f32]; COUNT]) -> R,
) -> R {
    let mut buffer = BUFFER.take();
    let needed = lengths.iter().sum();
    if buffer.len() < needed {
        buffer.resize(needed, 0.0);
    }
    let mut rest = buffer.as_mut_slice();
    let slices = lengths.map(|length| {
        let (slice, tail) = std::mem::take(&mut rest).split_at_mut(length);
        rest = tail;
        slice
    });
    let result = body(slices);
    BUFFER.set(buffer);
    result
}
