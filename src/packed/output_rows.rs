//! The vectors that a stage of a product writes from several threads.

use std::marker::PhantomData;

use ndarray::ArrayViewMut2;

use crate::packed::vectors::VectorBatch;

/// Where a stage writes.
#[derive(Clone, Copy)]
pub(super) enum ProductOutput<'a> {
    /// Vectors, a row for each.
    Separate(OutputRows<'a>),
    /// Interleaved vectors, a row for each entry.
    Interleaved(OutputRows<'a>),
}

/// Rows of numbers that the threads of a stage share, each thread writing entries of its own.
#[derive(Clone, Copy)]
pub(super) struct OutputRows<'a> {
    first: *mut f32,
    count: usize,
    len: usize,
    /// From one row to the next, and from one entry to the next.
    strides: [isize; 2],
    lifetime: PhantomData<&'a mut f32>,
}

// SAFETY: the pointer stands for a mutable borrow of plain numbers, which may move to another thread; threads that share
// it write disjoint entries by the contract of `OutputRows::new`.
unsafe impl Send for OutputRows<'_> {}
// SAFETY: as for `Send`.
unsafe impl Sync for OutputRows<'_> {}

impl<'a> OutputRows<'a> {
    /// Borrows the rows of an array.
    ///
    /// # Safety
    /// While several threads share the rows, no two of them write the same entry.
    pub unsafe fn new(mut rows: ArrayViewMut2<'a, f32>) -> Self {
        let (count, len) = rows.dim();
        let strides = [rows.strides()[0], rows.strides()[1]];
        OutputRows { first: rows.as_mut_ptr(), count, len, strides, lifetime: PhantomData }
    }

    /// Gives the rows as vectors to be read; the entries of a row must be neighbours.
    ///
    /// # Safety
    /// No thread writes to the rows any more.
    pub unsafe fn read(&self) -> VectorBatch<'a> {
        let stride = self.strides[0] as usize;
        assert!(self.strides[1] == 1 && self.strides[0] >= 0 && self.count > 0);
        // SAFETY: the borrowed rows begin at the first and end with the last one; no thread writes, by the contract.
        let data = unsafe { std::slice::from_raw_parts(self.first, (self.count - 1) * stride + self.len) };
        VectorBatch { data, stride, count: self.count }
    }

    /// Writes consecutive entries of one row.
    ///
    /// # Panics
    /// If the row has no such entries.
    #[inline(always)]
    pub fn write(&self, row: usize, start: usize, values: &[f32]) {
        assert!(row < self.count && values.len() <= self.len && start <= self.len - values.len());
        let [rows, entries] = self.strides;
        let first = self.first.wrapping_offset(row as isize * rows + start as isize * entries);
        if entries == 1 {
            // SAFETY: the entries lie in the borrowed rows, as was asserted, and no other thread writes them.
            unsafe { values.as_ptr().copy_to_nonoverlapping(first, values.len()) };
        } else {
            for (index, &value) in values.iter().enumerate() {
                // SAFETY: as for neighbouring entries.
                unsafe { first.wrapping_offset(index as isize * entries).write(value) };
            }
        }
    }
}
