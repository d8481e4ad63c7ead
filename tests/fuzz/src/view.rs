//! Views with arbitrary fields, of memory that is there or that the ABI has to refuse.

use arbitrary::Arbitrary;
use armor_core::ffi::*;

use crate::memory::{Memory, Place};

/// Elements from one row to the next: mostly the columns and some.
#[derive(Arbitrary, Clone, Copy, Debug)]
pub struct Stride {
    kind: u8,
    number: u8,
}

impl Stride {
    pub fn of(self, cols: usize) -> usize {
        match self.kind {
            0..8 => usize::MAX >> (self.number % 64),
            8..24 => self.number.into(),
            _ => cols.saturating_add((self.number % 4).into()),
        }
    }
}

/// Rows or columns: mostly as many as the call takes, if that is one number.
#[derive(Arbitrary, Clone, Copy, Debug)]
struct Size {
    kind: u8,
    number: u8,
}

impl Size {
    fn of(self, right: Option<usize>, most: u8) -> usize {
        match (self.kind, right) {
            (0..8, _) => usize::MAX >> (self.number % 64),
            (48.., Some(right)) => right,
            (8..24, _) => (self.number % (4 * most + 1)).into(),
            _ => (self.number % (most + 1)).into(),
        }
    }
}

/// A dtype's number, seldom a foreign one.
#[derive(Arbitrary, Clone, Copy, Debug)]
pub struct Dtype(u8);

impl Dtype {
    pub fn number(self) -> u32 {
        match self.0 {
            0 => 0,
            1 => 5,
            other => u32::from(other % 4) + ARMOR_DTYPE_F32,
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
    dtype: Dtype,
}

#[derive(Arbitrary, Debug)]
pub struct Hessian {
    null: u8,
    data: Place,
    /// Whether it is whole and [`definite`], which the arena's numbers hardly ever are.
    definite: bool,
    len: Size,
    stride: Stride,
    kind: u8,
    dtype: Dtype,
}

/// Most columns of an arbitrary view.
const COLS: u8 = 16;

/// A positive definite matrix: one number on its diagonal, another one elsewhere.
const fn definite<T: Copy>(diagonal: T, other: T) -> [[T; COLS as usize]; COLS as usize] {
    let mut matrix = [[other; COLS as usize]; COLS as usize];
    let mut i = 0;
    while i < matrix.len() {
        matrix[i][i] = diagonal;
        i += 1;
    }
    matrix
}

/// 2 on the diagonal and 0.5 elsewhere, in any dtype.
fn definite_data(dtype: u32) -> *const std::ffi::c_void {
    static F32: [[f32; COLS as usize]; COLS as usize] = definite(2.0, 0.5);
    static F64: [[f64; COLS as usize]; COLS as usize] = definite(2.0, 0.5);
    static F16: [[u16; COLS as usize]; COLS as usize] = definite(0x4000, 0x3800);
    static BF16: [[u16; COLS as usize]; COLS as usize] = definite(0x4000, 0x3f00);
    match dtype {
        ARMOR_DTYPE_F64 => (&raw const F64).cast(),
        ARMOR_DTYPE_F16 => (&raw const F16).cast(),
        ARMOR_DTYPE_BF16 => (&raw const BF16).cast(),
        _ => (&raw const F32).cast(),
    }
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
    /// A view of the arena; `rows` and `cols` are what the call takes, if these are single numbers.
    pub fn view(&self, memory: &mut Memory, rows: Option<usize>, cols: Option<usize>) -> Option<MatrixView> {
        let (rows, cols) = (self.rows.of(rows, 9), self.cols.of(cols, COLS));
        let row_stride = self.stride.of(cols);
        let dtype = self.dtype.number();
        let data = data(memory, self.data, elements(rows, row_stride, cols), dtype);
        (!self.null.is_multiple_of(32)).then_some(MatrixView { data, rows, cols, row_stride, dtype })
    }
}

impl Hessian {
    pub fn view(&self, memory: &mut Memory, cols: usize) -> Option<HessianView> {
        let (len, dtype) = (self.len.of(Some(cols), COLS), self.dtype.number());
        if self.definite && len <= COLS.into() {
            let (data, row_stride, kind) = (definite_data(dtype), COLS.into(), ARMOR_HESSIAN_FULL);
            return Some(HessianView { data, len, row_stride, kind, dtype });
        }
        let row_stride = self.stride.of(len);
        let kind = u32::from(self.kind % 5);
        let rows = if kind == ARMOR_HESSIAN_FULL { len } else { 1 };
        let data = data(memory, self.data, elements(rows, row_stride, len), dtype);
        (!self.null.is_multiple_of(32)).then_some(HessianView { data, len, row_stride, kind, dtype })
    }
}
