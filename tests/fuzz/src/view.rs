//! Views with arbitrary fields, of memory that is there or that the ABI has to refuse.

use arbitrary::Arbitrary;
use armor_core::ffi::*;

use crate::memory::{Memory, Place};

/// Elements from one row to the next.
#[derive(Arbitrary, Clone, Copy, Debug)]
pub enum Stride {
    /// The columns and some.
    More(u8),
    Any(u8),
    Huge(u8),
}

impl Stride {
    fn of(self, cols: usize) -> usize {
        match self {
            Stride::More(more) => cols.saturating_add((more % 4).into()),
            Stride::Any(stride) => stride.into(),
            Stride::Huge(shift) => usize::MAX >> (shift % 64),
        }
    }
}

#[derive(Arbitrary, Debug)]
pub enum Size {
    Few(u8),
    Huge(u8),
}

impl Size {
    fn of(&self, most: u8) -> usize {
        match *self {
            Size::Few(few) => (few % (most + 1)).into(),
            Size::Huge(shift) => usize::MAX >> (shift % 64),
        }
    }
}

#[derive(Arbitrary, Debug)]
pub struct Weight {
    null: u8,
    data: Place,
    rows: Size,
    cols: Size,
    stride: Stride,
    dtype: u8,
}

#[derive(Arbitrary, Debug)]
pub struct Hessian {
    null: u8,
    data: Place,
    len: Option<Size>,
    stride: Stride,
    kind: u8,
    dtype: u8,
}

/// A pointer to `elements` of a dtype, NULL where they are not there; a foreign dtype is refused before it is read.
fn data(memory: &mut Memory, place: Place, elements: usize, dtype: u32) -> *const std::ffi::c_void {
    match dtype {
        ARMOR_DTYPE_F64 => memory.pointer::<f64>(place, elements).cast(),
        ARMOR_DTYPE_F16 | ARMOR_DTYPE_BF16 => memory.pointer::<u16>(place, elements).cast(),
        _ => memory.pointer::<f32>(place, elements).cast(),
    }
}

/// Elements from the first to the last, as many as a usize can count.
fn elements(rows: usize, stride: usize, cols: usize) -> usize {
    // Where this product overflows the ABI has to refuse the view whatever it points to.
    rows.saturating_sub(1).saturating_mul(stride).saturating_add(cols)
}

impl Weight {
    pub fn view(&self, memory: &mut Memory) -> Option<MatrixView> {
        let (rows, cols) = (self.rows.of(9), self.cols.of(16));
        let row_stride = self.stride.of(cols);
        let dtype = u32::from(self.dtype % 6);
        let data = data(memory, self.data, elements(rows, row_stride, cols), dtype);
        (!self.null.is_multiple_of(16)).then_some(MatrixView { data, rows, cols, row_stride, dtype })
    }
}

impl Hessian {
    pub fn view(&self, memory: &mut Memory, cols: usize) -> Option<HessianView> {
        let len = self.len.as_ref().map_or(cols, |len| len.of(16));
        let row_stride = self.stride.of(len);
        let (kind, dtype) = (u32::from(self.kind % 5), u32::from(self.dtype % 6));
        let rows = if kind == ARMOR_HESSIAN_FULL { len } else { 1 };
        let data = data(memory, self.data, elements(rows, row_stride, len), dtype);
        (!self.null.is_multiple_of(16)).then_some(HessianView { data, len, row_stride, kind, dtype })
    }
}
