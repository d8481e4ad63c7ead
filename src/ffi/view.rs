//! Matrices of the caller's, read in place.

use std::ffi::c_void;

use half::{bf16, f16};
use ndarray::{ArrayView1, ArrayView2, ShapeBuilder};

use super::pointer::{Span, overflow};
use super::status::{ARMOR_INVALID_SHAPE, ARMOR_UNKNOWN_DTYPE, ARMOR_UNKNOWN_VALUE, Failure};
use crate::descent::options::Objective;
use crate::input::accumulator::HessianAccumulator;
use crate::input::hessian::Hessian;
use crate::input::weight::{Element, Weight};

/// IEEE single precision, `float`.
pub const ARMOR_DTYPE_F32: u32 = 1;
/// IEEE double precision, `double`.
pub const ARMOR_DTYPE_F64: u32 = 2;
/// IEEE half precision, 16 bits.
pub const ARMOR_DTYPE_F16: u32 = 3;
/// bfloat16: the upper 16 bits of a `float`.
pub const ARMOR_DTYPE_BF16: u32 = 4;

/// The Hessian's diagonal: len numbers.
pub const ARMOR_HESSIAN_DIAGONAL: u32 = 1;
/// The whole Hessian: len rows of len numbers, symmetric. With ARMOR_OBJECTIVE_DIAGONAL only its diagonal is read.
pub const ARMOR_HESSIAN_FULL: u32 = 2;
/// No calibration data: all inputs weigh alike, and data, row_stride and dtype are ignored.
pub const ARMOR_HESSIAN_IDENTITY: u32 = 3;

/// A matrix of the caller's, read in place. Entry (i, j) is element i * row_stride + j of data.
///
/// It must cover (rows - 1) * row_stride + cols elements; those between the rows are not read. rows * row_stride elements
/// have to fit the address space, of a single row too.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct MatrixView {
    /// First element, aligned to its type.
    pub data: *const c_void,
    /// Rows: output features, m, or tokens.
    pub rows: usize,
    /// Columns: input features, k.
    pub cols: usize,
    /// Elements from one row to the next, at least cols.
    pub row_stride: usize,
    /// ARMOR_DTYPE_*.
    pub dtype: u32,
}

/// The Hessian of a layer's inputs, H = (1/N) sum of x * x^T over N tokens, read in place.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct HessianView {
    /// First element, aligned to its type.
    pub data: *const c_void,
    /// Inputs that it covers: the weight's columns, k.
    pub len: usize,
    /// Elements from one row to the next, at least len; for ARMOR_HESSIAN_FULL only.
    pub row_stride: usize,
    /// ARMOR_HESSIAN_*.
    pub kind: u32,
    /// ARMOR_DTYPE_*.
    pub dtype: u32,
}

/// Runs a generic function for the element type that a dtype names.
macro_rules! by_dtype {
    ($argument:literal, $dtype:expr, $function:ident $arguments:tt) => {
        match $dtype {
            ARMOR_DTYPE_F32 => $function::<f32> $arguments,
            ARMOR_DTYPE_F64 => $function::<f64> $arguments,
            ARMOR_DTYPE_F16 => $function::<f16> $arguments,
            ARMOR_DTYPE_BF16 => $function::<bf16> $arguments,
            other => {
                let message = format!(concat!($argument, ".dtype: {} is not a dtype, expected 1 to 4"), other);
                Err(Failure::new(ARMOR_UNKNOWN_DTYPE, message))
            }
        }
    };
}

impl MatrixView {
    /// Views the weight, and says which memory that is.
    ///
    /// # Safety
    /// The contract of [`super`].
    pub(super) unsafe fn weight<'a>(&self) -> Result<(Weight<'a>, Span), Failure> {
        // SAFETY: passed on.
        unsafe { by_dtype!("weight", self.dtype, weight(["weight", "weight.data"], self)) }
    }

    /// Views the inputs of a product, likewise.
    ///
    /// # Safety
    /// The contract of [`super`].
    pub(super) unsafe fn inputs<'a>(&self) -> Result<(Weight<'a>, Span), Failure> {
        // SAFETY: passed on.
        unsafe { by_dtype!("x", self.dtype, weight(["x", "x.data"], self)) }
    }

    /// Adds activations to an accumulator.
    ///
    /// # Safety
    /// The contract of [`super`].
    pub(super) unsafe fn add_to(&self, accumulator: &mut HessianAccumulator) -> Result<(), Failure> {
        // SAFETY: passed on.
        unsafe { by_dtype!("activations", self.dtype, add(self, accumulator)) }
    }
}

/// # Safety
/// The contract of [`super`].
unsafe fn weight<'a, T: Element + 'a>(
    names: [&'static str; 2],
    view: &MatrixView,
) -> Result<(Weight<'a>, Span), Failure> {
    // SAFETY: passed on.
    let (view, span) = unsafe { matrix::<T>(names, view)? };
    Ok((view.into(), span))
}

/// # Safety
/// The contract of [`super`].
unsafe fn add<T: Element>(view: &MatrixView, accumulator: &mut HessianAccumulator) -> Result<(), Failure> {
    // SAFETY: passed on.
    let (view, _) = unsafe { matrix::<T>(["activations", "activations.data"], view)? };
    Ok(accumulator.add(&view)?)
}

/// Views a matrix, given its name and that of its data.
///
/// # Safety
/// The contract of [`super`].
unsafe fn matrix<'a, T: Element + 'a>(
    [argument, data]: [&'static str; 2],
    view: &MatrixView,
) -> Result<(ArrayView2<'a, T>, Span), Failure> {
    let shape = Shape { argument, rows: view.rows, cols: view.cols, row_stride: view.row_stride };
    let span = Span::new(data, view.data.cast::<T>(), shape.elements::<T>()?)?;
    let strides = (view.rows, view.cols).strides((view.row_stride, 1));
    // SAFETY: neither NULL nor misaligned, and no element lies beyond the span, whose bytes fit an isize; the caller
    // vouches for the memory.
    Ok((unsafe { ArrayView2::from_shape_ptr(strides, view.data.cast::<T>()) }, span))
}

/// Rows of a matrix, one after the other with gaps or none.
struct Shape {
    argument: &'static str,
    rows: usize,
    cols: usize,
    row_stride: usize,
}

impl Shape {
    /// Elements of type `T` from the first to the last.
    fn elements<T>(&self) -> Result<usize, Failure> {
        let Shape { argument, rows, cols, row_stride } = *self;
        if rows == 0 || cols == 0 {
            return Err(Failure::new(ARMOR_INVALID_SHAPE, format!("{argument}: {rows} × {cols} has no entries")));
        }
        if row_stride < cols {
            let message = format!("{argument}.row_stride: is {row_stride}, expected {cols} columns or more");
            return Err(Failure::new(ARMOR_INVALID_SHAPE, message));
        }
        // One row more than is read, so that `rows × row_stride` and the stride itself are known to fit even where
        // there is no second row.
        rows.checked_mul(row_stride)
            .filter(|&whole| whole <= isize::MAX as usize / size_of::<T>())
            .map(|whole| whole - row_stride + cols)
            .ok_or_else(|| overflow(argument, format!("{rows} rows of {row_stride} elements")))
    }
}

impl HessianView {
    /// Copies out what the objective needs, for a weight of `cols` columns; says which memory was read, if any.
    ///
    /// # Safety
    /// The contract of [`super`].
    pub(super) unsafe fn hessian(&self, cols: usize, objective: Objective) -> Result<(Hessian, Option<Span>), Failure> {
        if self.len != cols {
            let message = format!("hessian: covers {} inputs, but the weight has {cols} columns", self.len);
            return Err(Failure::new(ARMOR_INVALID_SHAPE, message));
        }
        match self.kind {
            ARMOR_HESSIAN_IDENTITY => Ok((Hessian::identity(cols), None)),
            // SAFETY: passed on.
            ARMOR_HESSIAN_DIAGONAL => unsafe { by_dtype!("hessian", self.dtype, diagonal(self)) },
            // SAFETY: passed on.
            ARMOR_HESSIAN_FULL => unsafe { by_dtype!("hessian", self.dtype, full(self, objective)) },
            other => {
                let message = format!("hessian.kind: {other} is not a kind of Hessian, expected 1 to 3");
                Err(Failure::new(ARMOR_UNKNOWN_VALUE, message))
            }
        }
    }
}

/// # Safety
/// The contract of [`super`].
unsafe fn diagonal<T: Element>(view: &HessianView) -> Result<(Hessian, Option<Span>), Failure> {
    let span = Span::new("hessian.data", view.data.cast::<T>(), view.len)?;
    // SAFETY: neither NULL nor misaligned nor too long; the caller vouches for the memory.
    let diagonal = unsafe { ArrayView1::from_shape_ptr(view.len, view.data.cast::<T>()) };
    Ok((Hessian::diagonal(&diagonal)?, Some(span)))
}

/// # Safety
/// The contract of [`super`].
unsafe fn full<T: Element>(view: &HessianView, objective: Objective) -> Result<(Hessian, Option<Span>), Failure> {
    let shape = Shape { argument: "hessian", rows: view.len, cols: view.len, row_stride: view.row_stride };
    let span = Span::new("hessian.data", view.data.cast::<T>(), shape.elements::<T>()?)?;
    let strides = (view.len, view.len).strides((view.row_stride, 1));
    // SAFETY: neither NULL nor misaligned, and no element lies beyond the span, whose bytes fit an isize; the caller
    // vouches for the memory.
    let full = unsafe { ArrayView2::from_shape_ptr(strides, view.data.cast::<T>()) };
    let hessian = match objective {
        Objective::Diagonal => Hessian::diagonal_of(&full)?,
        Objective::Full => Hessian::full(&full)?,
    };
    Ok((hessian, Some(span)))
}
