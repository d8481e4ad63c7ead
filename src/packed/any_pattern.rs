//! Cores of other patterns than 2:4: a plain path, row by row.

use half::{bf16, f16};

use super::layout::fits;
use super::vectors::{Outputs, Vectors};
use crate::error::Error;
use crate::factors::groups::columns;
use crate::factors::pattern::Pattern;
use crate::factors::precision::Precision;
use crate::factors::sparse_core::SparseCore;

/// Groups that are added up before they go to the total.
const GROUPS: usize = 32;

/// A core of any pattern: kept values and masks by row.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Rows {
    pattern: Pattern,
    rows: usize,
    groups: usize,
    values: Values,
    /// One a group, bit j for column j.
    masks: Vec<u8>,
}

#[derive(Clone, Debug, PartialEq)]
enum Values {
    F32(Vec<f32>),
    F16(Vec<f16>),
    Bf16(Vec<bf16>),
}

impl Rows {
    pub fn new(core: &SparseCore, precision: Precision) -> Result<Self, Error> {
        let (rows, groups, pattern) = (core.rows(), core.groups(), core.pattern());
        let mut values = Vec::with_capacity(rows * groups * pattern.n());
        let mut masks = Vec::with_capacity(rows * groups);
        for (row, group) in (0..rows).flat_map(|row| (0..groups).map(move |group| (row, group))) {
            let (mask, kept) = core.group(row, group);
            for (column, &value) in columns(mask).zip(kept) {
                fits("core", (row, group * pattern.m() + column), value, precision)?;
                values.push(value);
            }
            masks.push(mask);
        }
        let values = match precision {
            Precision::F32 => Values::F32(values),
            Precision::F16 => Values::F16(values.into_iter().map(f16::from_f32).collect()),
            Precision::Bf16 => Values::Bf16(values.into_iter().map(bf16::from_f32).collect()),
        };
        Ok(Rows { pattern, rows, groups, values, masks })
    }

    pub fn rows(&self) -> usize {
        self.rows
    }

    pub fn bytes(&self) -> usize {
        let values = match &self.values {
            Values::F32(values) => size_of_val(values.as_slice()),
            Values::F16(values) => size_of_val(values.as_slice()),
            Values::Bf16(values) => size_of_val(values.as_slice()),
        };
        values + self.masks.len()
    }

    /// Multiplies one row with every vector.
    pub fn multiply(&self, row: usize, vectors: Vectors<'_>, out: Outputs<'_>) {
        match &self.values {
            Values::F32(values) => self.multiply_of(values, |x| x, row, vectors, out),
            Values::F16(values) => self.multiply_of(values, f16::to_f32, row, vectors, out),
            Values::Bf16(values) => self.multiply_of(values, bf16::to_f32, row, vectors, out),
        }
    }

    fn multiply_of<T: Copy>(
        &self,
        values: &[T],
        widen: impl Fn(T) -> f32,
        row: usize,
        vectors: Vectors<'_>,
        out: Outputs<'_>,
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
