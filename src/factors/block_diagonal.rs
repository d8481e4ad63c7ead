//! The wrappers' type: a block-diagonal matrix.

use ndarray::{Array2, Array3, ArrayView2, ArrayViewMut2, s};
use rayon::slice::ParallelSliceMut;

use crate::factors::partition::Partition;

/// A square matrix of size n with square blocks on its diagonal and zeros elsewhere.
///
/// All blocks have `block_size()` rows, except the last one, which is smaller where the block size does not divide n.
#[derive(Clone, Debug, PartialEq)]
pub struct BlockDiagonal {
    partition: Partition,
    /// The blocks one after the other, each row-major; only the last may be smaller.
    data: Vec<f32>,
}

impl BlockDiagonal {
    /// Makes the identity of size `len` in blocks of `block`.
    pub(crate) fn identity(len: usize, block: usize) -> Self {
        Self::from_diagonal(&vec![1.0; len], block)
    }

    /// Makes the diagonal matrix with these entries, in blocks of `block`.
    pub(crate) fn from_diagonal(diagonal: &[f64], block: usize) -> Self {
        let partition = Partition::new(diagonal.len(), block);
        let mut data = Vec::new();
        for index in 0..partition.count() {
            let size = partition.size(index);
            let start = data.len();
            data.resize(start + size * size, 0.0);
            for (i, row) in partition.range(index).enumerate() {
                data[start + i * size + i] = diagonal[row] as f32;
            }
        }
        BlockDiagonal { partition, data }
    }

    /// Returns the number of rows, n, which is also the number of columns.
    pub fn len(&self) -> usize {
        self.partition.len
    }

    /// Tells whether n is zero.
    pub fn is_empty(&self) -> bool {
        self.partition.len == 0
    }

    /// Returns the number of rows of every block except possibly the last.
    pub fn block_size(&self) -> usize {
        self.partition.block
    }

    /// Returns the number of blocks.
    pub fn blocks(&self) -> usize {
        self.partition.count()
    }

    /// Returns block `index`, p × p (smaller for the last one where p does not divide n).
    ///
    /// # Panics
    /// If there is no such block.
    pub fn block(&self, index: usize) -> ArrayView2<'_, f32> {
        let size = self.partition.size(index);
        ArrayView2::from_shape((size, size), self.values(index)).expect("a block holds size × size values")
    }

    /// Returns block `index`, mutable.
    ///
    /// # Panics
    /// If there is no such block.
    pub fn block_mut(&mut self, index: usize) -> ArrayViewMut2<'_, f32> {
        let size = self.partition.size(index);
        let start = index * self.partition.block * self.partition.block;
        ArrayViewMut2::from_shape((size, size), &mut self.data[start..start + size * size])
            .expect("a block holds size × size values")
    }

    /// Copies all blocks into one array [blocks, p, p]; a smaller last block is padded with zeros.
    pub fn to_padded(&self) -> Array3<f32> {
        let p = self.block_size();
        let mut padded = Array3::zeros((self.blocks(), p, p));
        for index in 0..self.blocks() {
            let block = self.block(index);
            let size = block.nrows();
            padded.slice_mut(s![index, ..size, ..size]).assign(&block);
        }
        padded
    }

    /// Copies the matrix into a dense one, n × n.
    pub fn to_dense(&self) -> Array2<f32> {
        let mut dense = Array2::zeros((self.len(), self.len()));
        for index in 0..self.blocks() {
            let range = self.partition.range(index);
            dense.slice_mut(s![range.clone(), range]).assign(&self.block(index));
        }
        dense
    }

    /// Multiplies a vector of length n.
    pub(crate) fn apply(&self, x: &[f64]) -> Vec<f64> {
        let mut y = Vec::with_capacity(x.len());
        for index in 0..self.blocks() {
            let x = &x[self.partition.range(index)];
            for row in self.values(index).chunks_exact(x.len()) {
                y.push(row.iter().zip(x).map(|(&a, &x)| f64::from(a) * x).sum());
            }
        }
        y
    }

    /// Scales row i by `rows(i)` and column j by `cols(j)`.
    pub(crate) fn scale(&mut self, rows: impl Fn(usize) -> f64, cols: impl Fn(usize) -> f64) {
        let partition = self.partition;
        for (index, values) in self.blocks_mut().enumerate() {
            let start = partition.start(index);
            let size = partition.size(index);
            for (position, value) in values.iter_mut().enumerate() {
                let (i, j) = (start + position / size, start + position % size);
                *value = (f64::from(*value) * rows(i) * cols(j)) as f32;
            }
        }
    }

    /// Returns the division of the rows, which is also that of the columns, into blocks.
    pub fn partition(&self) -> Partition {
        self.partition
    }

    /// Returns the stored numbers, without padding.
    pub(crate) fn data(&self) -> &[f32] {
        &self.data
    }

    /// Returns the stored numbers, mutable.
    pub(crate) fn data_mut(&mut self) -> &mut [f32] {
        &mut self.data
    }

    /// Returns the numbers of block `index`, row-major.
    pub(crate) fn values(&self, index: usize) -> &[f32] {
        let size = self.partition.size(index);
        let start = index * self.partition.block * self.partition.block;
        &self.data[start..start + size * size]
    }

    /// Iterates over the blocks in order, each row-major and mutable.
    pub(crate) fn blocks_mut(&mut self) -> std::slice::ChunksMut<'_, f32> {
        self.data.chunks_mut(self.partition.block * self.partition.block)
    }

    /// Iterates over the blocks as [`BlockDiagonal::blocks_mut`] does, in parallel.
    pub(crate) fn par_blocks_mut(&mut self) -> rayon::slice::ChunksMut<'_, f32> {
        self.data.par_chunks_mut(self.partition.block * self.partition.block)
    }
}
