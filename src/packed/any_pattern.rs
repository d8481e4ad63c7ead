//! Cores of other patterns than 2:4, which are multiplied row by row without SIMD kernels.

use std::borrow::Cow;

use half::{bf16, f16};

use crate::factors::groups::columns;
use crate::factors::partition::Partition;
use crate::factors::pattern::Pattern;
use crate::factors::precision::Precision;
use crate::factors::sparse_core::SparseCore;
use crate::packed::output_rows::OutputRows;
use crate::packed::vectors::VectorBatch;

/// Groups that are added up before their sum is added to the total.
const GROUPS: usize = 32;

/// A core of any pattern: kept values and masks by row.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct AnyPatternCore {
    pattern: Pattern,
    rows: usize,
    groups: usize,
    values: KeptValues,
    /// One for each group, bit j for column j.
    masks: Vec<u8>,
}

/// Kept values in their number type.
#[derive(Clone, Debug, PartialEq)]
enum KeptValues {
    F32(Vec<f32>),
    F16(Vec<f16>),
    Bf16(Vec<bf16>),
}

impl AnyPatternCore {
    /// Packs a core.
    pub fn new(core: &SparseCore, precision: Precision) -> Self {
        let (rows, groups, pattern) = (core.rows(), core.groups(), core.pattern());
        let mut values = Vec::with_capacity(rows * groups * pattern.n());
        let mut masks = Vec::with_capacity(rows * groups);
        for (row, group) in (0..rows).flat_map(|row| (0..groups).map(move |group| (row, group))) {
            let (mask, kept) = core.group(row, group);
            values.extend_from_slice(kept);
            masks.push(mask);
        }
        let values = match precision {
            Precision::F32 => KeptValues::F32(values),
            Precision::F16 => KeptValues::F16(values.into_iter().map(f16::from_f32).collect()),
            Precision::Bf16 => KeptValues::Bf16(values.into_iter().map(bf16::from_f32).collect()),
        };
        AnyPatternCore { pattern, rows, groups, values, masks }
    }

    /// Gives the core back, its values as they were rounded, for a right wrapper with these blocks.
    pub fn unpack(&self, blocks: Partition) -> SparseCore {
        let values: Cow<'_, [f32]> = match &self.values {
            KeptValues::F32(values) => values.into(),
            KeptValues::F16(values) => values.iter().map(|value| value.to_f32()).collect(),
            KeptValues::Bf16(values) => values.iter().map(|value| value.to_f32()).collect(),
        };
        let mut core = SparseCore::zeros(self.rows, blocks, self.pattern);
        for (at, (&mask, values)) in self.masks.iter().zip(values.chunks_exact(self.pattern.n())).enumerate() {
            core.set_group(at / self.groups, at % self.groups, mask, values).expect("the mask is of a packed core");
        }
        core
    }

    /// Gives the number type of the kept values.
    pub fn precision(&self) -> Precision {
        match self.values {
            KeptValues::F32(_) => Precision::F32,
            KeptValues::F16(_) => Precision::F16,
            KeptValues::Bf16(_) => Precision::Bf16,
        }
    }

    /// Counts the rows.
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// Counts the bytes of values and masks.
    pub fn bytes(&self) -> usize {
        let values = match &self.values {
            KeptValues::F32(values) => size_of_val(values.as_slice()),
            KeptValues::F16(values) => size_of_val(values.as_slice()),
            KeptValues::Bf16(values) => size_of_val(values.as_slice()),
        };
        values + self.masks.len()
    }

    /// Multiplies one row with every vector.
    pub fn multiply(&self, row: usize, vectors: VectorBatch<'_>, out: OutputRows<'_>) {
        match &self.values {
            KeptValues::F32(values) => self.multiply_of(values, |x| x, row, vectors, out),
            KeptValues::F16(values) => self.multiply_of(values, f16::to_f32, row, vectors, out),
            KeptValues::Bf16(values) => self.multiply_of(values, bf16::to_f32, row, vectors, out),
        }
    }

    fn multiply_of<T: Copy>(
        &self,
        values: &[T],
        widen: impl Fn(T) -> f32,
        row: usize,
        vectors: VectorBatch<'_>,
        out: OutputRows<'_>,
    ) {
        let (n, m) = (self.pattern.n(), self.pattern.m());
        let groups = row * self.groups..(row + 1) * self.groups;
        let (masks, values) = (&self.masks[groups.clone()], &values[groups.start * n..groups.end * n]);
        for vector in 0..vectors.count {
            let x = vectors.part(vector, 0, self.groups * m);
            let chunks = masks.chunks(GROUPS).zip(values.chunks(GROUPS * n)).zip(x.chunks(GROUPS * m));
            let sums = chunks.map(|((masks, values), x)| {
                let groups = masks.iter().zip(values.chunks_exact(n)).zip(x.chunks_exact(m));
                let terms = groups.flat_map(|((&mask, values), x)| columns(mask).zip(values).map(|(j, &v)| (v, x[j])));
                terms.fold(0.0, |sum, (value, x)| sum + widen(value) * x)
            });
            out.write(vector, row, &[sums.sum()]);
        }
    }
}
