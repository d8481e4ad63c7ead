//! The vectors that a stage reads, and those that it writes from several threads.

use std::marker::PhantomData;

use ndarray::ArrayViewMut2;

use super::wide::WideRow;

/// Vectors of equal length, `stride` apart.
#[derive(Clone, Copy)]
pub(super) struct Vectors<'a> {
    pub data: &'a [f32],
    pub stride: usize,
    pub count: usize,
}

impl<'a> Vectors<'a> {
    /// `len` entries of one vector.
    #[inline(always)]
    pub fn part(self, vector: usize, start: usize, len: usize) -> &'a [f32] {
        &self.data[vector * self.stride + start..][..len]
    }
}

/// What a stage reads.
#[derive(Clone, Copy)]
pub(super) enum Input<'a> {
    /// A few vectors, one after the other.
    Apart(Vectors<'a>),
    /// Many, side by side: a row for every entry.
    Wide(&'a [WideRow]),
}

/// Where a stage writes.
#[derive(Clone, Copy)]
pub(super) enum Target<'a> {
    /// Vectors.
    Vectors(Outputs<'a>),
    /// A wide matrix, whose rows are "vectors" here.
    Wide(Outputs<'a>),
}

/// Vectors that the threads of a stage write, each thread rows of its own.
#[derive(Clone, Copy)]
pub(super) struct Outputs<'a> {
    first: *mut f32,
    count: usize,
    len: usize,
    /// From one vector to the next, and from one entry to the next.
    strides: [isize; 2],
    lifetime: PhantomData<&'a mut f32>,
}

// SAFETY: it stands for a mutable borrow of plain numbers, which may go to another thread; what threads that share it
// write is disjoint by the contract of `Outputs::new`.
unsafe impl Send for Outputs<'_> {}
// SAFETY: as above.
unsafe impl Sync for Outputs<'_> {}

impl<'a> Outputs<'a> {
    /// Borrows vectors, one a row.
    ///
    /// # Safety
    /// While several threads share it, no two of them write the same entry.
    pub unsafe fn new(mut vectors: ArrayViewMut2<'a, f32>) -> Self {
        let (count, len) = vectors.dim();
        let strides = [vectors.strides()[0], vectors.strides()[1]];
        Outputs { first: vectors.as_mut_ptr(), count, len, strides, lifetime: PhantomData }
    }

    /// What has been written, in vectors of neighbouring entries.
    ///
    /// # Safety
    /// Nobody writes any more.
    pub unsafe fn read(&self) -> Vectors<'a> {
        let stride = self.strides[0] as usize;
        assert!(self.strides[1] == 1 && self.strides[0] >= 0 && self.count > 0);
        // SAFETY: the borrowed vectors begin at the first and end with the last one, and nobody writes by contract.
        let data = unsafe { std::slice::from_raw_parts(self.first, (self.count - 1) * stride + self.len) };
        Vectors { data, stride, count: self.count }
    }

    /// Writes consecutive entries of one vector.
    ///
    /// # Panics
    /// If there are no such entries.
    #[inline(always)]
    pub fn write(&self, vector: usize, start: usize, values: &[f32]) {
        assert!(vector < self.count && values.len() <= self.len && start <= self.len - values.len());
        let [vectors, entries] = self.strides;
        let first = self.first.wrapping_offset(vector as isize * vectors + start as isize * entries);
        if entries == 1 {
            // SAFETY: all of it lies in the borrowed vectors, as was asserted, and is this thread's alone.
            unsafe { values.as_ptr().copy_to_nonoverlapping(first, values.len()) };
        } else {
            for (index, &value) in values.iter().enumerate() {
                // SAFETY: as above.
                unsafe { first.wrapping_offset(index as isize * entries).write(value) };
            }
        }
    }
}
