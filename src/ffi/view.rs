//! The caller's matrices, which the library reads in place.

use std::ffi::c_void;

use half::{bf16, f16};
use ndarray::{ArrayView1, ArrayView2, ShapeBuilder};

use super::failure::Failure;
use super::pointer::{Span, overflow};
use super::status::{ARMOR_INVALID_SHAPE, ARMOR_UNKNOWN_DTYPE, ARMOR_UNKNOWN_VALUE};
use crate::descent::options::Objective;
use crate::input::accumulator::HessianAccumulator;
use crate::input::hessian::Hessian;
use crate::input::weight::{Element, Weight};

/// IEEE single precision, 32 bits: `float`.
pub const ARMOR_DTYPE_F32: u32 = 1;
/// IEEE double precision, 64 bits: `double`.
pub const ARMOR_DTYPE_F64: u32 = 2;
/// IEEE half precision, 16 bits.
pub const ARMOR_DTYPE_F16: u32 = 3;
/// bfloat16, 16 bits: the upper half of a `float`.
pub const ARMOR_DTYPE_BF16: u32 = 4;

/// The diagonal of the Hessian: len numbers.
pub const ARMOR_HESSIAN_DIAGONAL: u32 = 1;
/// The full Hessian: len rows of len numbers, symmetric. A run with ARMOR_OBJECTIVE_DIAGONAL reads its diagonal only.
pub const ARMOR_HESSIAN_FULL: u32 = 2;
/// No calibration data: all inputs have the weight 1, and the library ignores data, row_stride and dtype.
pub const ARMOR_HESSIAN_IDENTITY: u32 = 3;

/// A matrix in the caller's memory, which the library reads in place. Entry (i, j) is the element
/// data[i * row_stride + j].
///
/// data must point to (rows - 1) * row_stride + cols elements. The library does not read the elements between the rows.
/// rows * row_stride elements must fit into the address space, also for a matrix of one row.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct MatrixView {
    /// Pointer to the first element, aligned to its type.
    pub data: *const c_void,
    /// Number of rows: the output features of a weight (m), or tokens, or vectors of a batch.
    pub rows: usize,
    /// Number of columns: the input features (k).
    pub cols: usize,
    /// Distance between the starts of two rows, in elements; at least cols.
    pub row_stride: usize,
    /// Type of the elements, ARMOR_DTYPE_*.
    pub dtype: u32,
}

/// The Hessian of a layer's inputs, H = (1/N) * sum of x * x^T over N tokens, in the caller's memory. The library reads
/// it in place.
///
/// An input whose diagonal entry is 0 was zero on every token. It does not count: pruning removes its weights before those
/// of any other input, and errors in them have the weight 0 in every loss. A Hessian that is all zero is used like
/// ARMOR_HESSIAN_IDENTITY. The field dead_inputs of armor_report counts such inputs.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct HessianView {
    /// Pointer to the first element, aligned to its type.
    pub data: *const c_void,
    /// Number of inputs: the columns of the weight (k).
    pub len: usize,
    /// Distance between the starts of two rows, in elements; at least len. Only ARMOR_HESSIAN_FULL uses it.
    pub row_stride: usize,
    /// What data contains, ARMOR_HESSIAN_*.
    pub kind: u32,
    /// Type of the elements, ARMOR_DTYPE_*.
    pub dtype: u32,
}

/// Calls a generic function with the element type of a dtype.
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
    /// Returns a view of the weight, and its memory.
    ///
    /// # Safety
    /// The contract of [`super`].
    pub(super) unsafe fn weight<'a>(&self) -> Result<(Weight<'a>, Span), Failure> {
        // SAFETY: the caller keeps the contract.
        unsafe { by_dtype!("weight", self.dtype, weight(["weight", "weight.data"], self)) }
    }

    /// Returns a view of the inputs of a product, and its memory.
    ///
    /// # Safety
    /// The contract of [`super`].
    pub(super) unsafe fn inputs<'a>(&self) -> Result<(Weight<'a>, Span), Failure> {
        // SAFETY: the caller keeps the contract.
        unsafe { by_dtype!("x", self.dtype, weight(["x", "x.data"], self)) }
    }

    /// Returns a view of inputs in the dense model, and its memory.
    ///
    /// # Safety
    /// The contract of [`super`].
    pub(super) unsafe fn dense<'a>(&self) -> Result<(Weight<'a>, Span), Failure> {
        // SAFETY: the caller keeps the contract.
        unsafe { by_dtype!("dense", self.dtype, weight(["dense", "dense.data"], self)) }
    }

    /// Returns a view of inputs in the compressed model, or of the weight there, and its memory.
    ///
    /// # Safety
    /// The contract of [`super`].
    pub(super) unsafe fn compressed<'a>(&self) -> Result<(Weight<'a>, Span), Failure> {
        // SAFETY: the caller keeps the contract.
        unsafe { by_dtype!("compressed", self.dtype, weight(["compressed", "compressed.data"], self)) }
    }

    /// Adds the rows of this matrix to an accumulator.
    ///
    /// # Safety
    /// The contract of [`super`].
    pub(super) unsafe fn add_to(&self, accumulator: &mut HessianAccumulator) -> Result<(), Failure> {
        // SAFETY: the caller keeps the contract.
        unsafe { by_dtype!("activations", self.dtype, add(self, accumulator)) }
    }
}

/// Returns a view of a weight, given the names of the argument and of its data.
///
/// # Safety
/// The contract of [`super`].
unsafe fn weight<'a, T: Element + 'a>(
    names: [&'static str; 2],
    view: &MatrixView,
) -> Result<(Weight<'a>, Span), Failure> {
    // SAFETY: the caller keeps the contract.
    let (view, span) = unsafe { matrix::<T>(names, view)? };
    Ok((view.into(), span))
}

/// Adds activations of type `T` to an accumulator.
///
/// # Safety
/// The contract of [`super`].
unsafe fn add<T: Element>(view: &MatrixView, accumulator: &mut HessianAccumulator) -> Result<(), Failure> {
    // SAFETY: the caller keeps the contract.
    let (view, _) = unsafe { matrix::<T>(["activations", "activations.data"], view)? };
    Ok(accumulator.add(&view)?)
}

/// Returns a view of a matrix, given the names of the argument and of its data.
///
/// # Safety
/// The contract of [`super`].
unsafe fn matrix<'a, T: Element + 'a>(
    [argument, data]: [&'static str; 2],
    view: &MatrixView,
) -> Result<(ArrayView2<'a, T>, Span), Failure> {
    let shape = RowLayout { argument, rows: view.rows, cols: view.cols, row_stride: view.row_stride };
    let span = Span::new(data, view.data.cast::<T>(), shape.elements::<T>()?)?;
    let strides = (view.rows, view.cols).strides((view.row_stride, 1));
    // SAFETY: the pointer is not NULL and is aligned, and no element lies beyond the span, whose bytes fit an isize; the
    // caller keeps the module's contract.
    Ok((unsafe { ArrayView2::from_shape_ptr(strides, view.data.cast::<T>()) }, span))
}

/// Describes the rows of a matrix in memory, with or without gaps between them.
struct RowLayout {
    argument: &'static str,
    rows: usize,
    cols: usize,
    row_stride: usize,
}

impl RowLayout {
    /// Counts the elements of type `T` from the first to the last.
    fn elements<T>(&self) -> Result<usize, Failure> {
        let RowLayout { argument, rows, cols, row_stride } = *self;
        if rows == 0 || cols == 0 {
            return Err(Failure::new(ARMOR_INVALID_SHAPE, format!("{argument}: {rows} × {cols} has no entries")));
        }
        if row_stride < cols {
            let message = format!("{argument}.row_stride: is {row_stride}, expected {cols} columns or more");
            return Err(Failure::new(ARMOR_INVALID_SHAPE, message));
        }
        // The check includes the gap after the last row, so that `rows × row_stride` and the stride itself fit into the
        // address space also for a single row.
        rows.checked_mul(row_stride)
            .filter(|&whole| whole <= isize::MAX as usize / size_of::<T>())
            .map(|whole| whole - row_stride + cols)
            .ok_or_else(|| overflow(argument, format!("{rows} rows of {row_stride} elements")))
    }
}

impl HessianView {
    /// Copies the part that the objective needs, for a weight with `cols` columns, and returns the memory that was read.
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
            // SAFETY: the caller keeps the contract.
            ARMOR_HESSIAN_DIAGONAL => unsafe { by_dtype!("hessian", self.dtype, diagonal(self)) },
            // SAFETY: the caller keeps the contract.
            ARMOR_HESSIAN_FULL => unsafe { by_dtype!("hessian", self.dtype, full(self, objective)) },
            other => {
                let message = format!("hessian.kind: {other} is not a kind of Hessian, expected 1 to 3");
                Err(Failure::new(ARMOR_UNKNOWN_VALUE, message))
            }
        }
    }
}

/// Copies a diagonal.
///
/// # Safety
/// The contract of [`super`].
unsafe fn diagonal<T: Element>(view: &HessianView) -> Result<(Hessian, Option<Span>), Failure> {
    let span = Span::new("hessian.data", view.data.cast::<T>(), view.len)?;
    // SAFETY: the pointer is not NULL, is aligned, and its length was checked; the caller keeps the module's contract.
    let diagonal = unsafe { ArrayView1::from_shape_ptr(view.len, view.data.cast::<T>()) };
    Ok((Hessian::from_diagonal(&diagonal)?, Some(span)))
}

/// Copies a full Hessian, or only its diagonal if the objective is the diagonal one.
///
/// # Safety
/// The contract of [`super`].
unsafe fn full<T: Element>(view: &HessianView, objective: Objective) -> Result<(Hessian, Option<Span>), Failure> {
    let shape = RowLayout { argument: "hessian", rows: view.len, cols: view.len, row_stride: view.row_stride };
    let span = Span::new("hessian.data", view.data.cast::<T>(), shape.elements::<T>()?)?;
    let strides = (view.len, view.len).strides((view.row_stride, 1));
    // SAFETY: the pointer is not NULL and is aligned, and no element lies beyond the span, whose bytes fit an isize; the
    // caller keeps the module's contract.
    let full = unsafe { ArrayView2::from_shape_ptr(strides, view.data.cast::<T>()) };
    let hessian = match objective {
        Objective::Diagonal => Hessian::from_diagonal_of(&full)?,
        Objective::Full => Hessian::from_full(&full)?,
    };
    Ok((hessian, Some(span)))
}
