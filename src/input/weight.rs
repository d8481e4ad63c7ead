//! A borrowed weight with any strides and one of four number types; it is not copied.

use half::slice::HalfFloatSliceExt;
use half::{bf16, f16};
use ndarray::{ArrayView1, ArrayView2, s};
use std::ops::Range;

use crate::kernels::elementwise::widen;

/// A number type of weights, Hessians and activations: `f32`, `f64`, [`half::f16`], [`half::bf16`].
pub trait Element: Copy + Send + Sync + sealed::Sealed {
    /// Converts to f64, exactly.
    fn to_f64(self) -> f64;
    /// Returns the distance from 1 to the next larger number.
    fn epsilon() -> f64;
    /// Wraps a view of this type.
    fn weight(view: ArrayView2<'_, Self>) -> Weight<'_>
    where
        Self: Sized;
}

mod sealed {
    use ndarray::ArrayView1;

    pub trait Sealed: Copy {
        /// Converts to the nearest f32 number.
        fn to_f32(self) -> f32;

        /// Converts contiguous numbers to the nearest f32 numbers.
        fn convert_slice(from: &[Self], to: &mut [f32]);

        /// Converts as many numbers as `to` holds to the nearest f32 numbers.
        fn convert(from: ArrayView1<'_, Self>, to: &mut [f32]) {
            if let Some(from) = from.as_slice() {
                Self::convert_slice(from, to);
            } else {
                for (to, &from) in to.iter_mut().zip(from) {
                    *to = from.to_f32();
                }
            }
        }
    }
}

/// A borrowed m × k weight (rows = output features, columns = input features), with any strides.
///
/// An ndarray view of any [`Element`] converts into it with `into()`, without a copy.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum Weight<'a> {
    /// IEEE single precision.
    F32(ArrayView2<'a, f32>),
    /// IEEE double precision; entries must lie in the range of f32.
    F64(ArrayView2<'a, f64>),
    /// IEEE half precision.
    F16(ArrayView2<'a, f16>),
    /// bfloat16.
    Bf16(ArrayView2<'a, bf16>),
}

macro_rules! elements {
    ($($type:ty, $variant:ident, $to_f64:expr, $to_f32:expr, $convert:expr, $epsilon:expr;)*) => {
        $(
            impl sealed::Sealed for $type {
                fn to_f32(self) -> f32 {
                    $to_f32(self)
                }

                fn convert_slice(from: &[Self], to: &mut [f32]) {
                    $convert(from, to)
                }
            }

            impl Element for $type {
                fn to_f64(self) -> f64 {
                    $to_f64(self)
                }

                fn epsilon() -> f64 {
                    $epsilon
                }

                fn weight(view: ArrayView2<'_, Self>) -> Weight<'_> {
                    Weight::$variant(view)
                }
            }
        )*
    };
}

elements! {
    f32, F32, f64::from, std::convert::identity, |from, to: &mut [f32]| to.copy_from_slice(from), f32::EPSILON.into();
    f64, F64, std::convert::identity, |x| x as f32, round_all, f64::EPSILON;
    f16, F16, f16::to_f64, f16::to_f32, HalfFloatSliceExt::convert_to_f32_slice, f16::EPSILON.to_f64();
    bf16, Bf16, bf16::to_f64, bf16::to_f32, widen, bf16::EPSILON.to_f64();
}

/// Rounds numbers to the nearest f32 numbers.
fn round_all(from: &[f64], to: &mut [f32]) {
    for (to, &from) in to.iter_mut().zip(from) {
        *to = from as f32;
    }
}

/// Runs an expression on the view inside a [`Weight`], whatever its element type.
macro_rules! with_view {
    ($weight:expr, $view:ident => $body:expr) => {
        match $weight {
            Weight::F32($view) => $body,
            Weight::F64($view) => $body,
            Weight::F16($view) => $body,
            Weight::Bf16($view) => $body,
        }
    };
}

#[cfg(feature = "capi")]
pub(crate) use with_view;

impl<'a, T: Element> From<ArrayView2<'a, T>> for Weight<'a> {
    fn from(view: ArrayView2<'a, T>) -> Self {
        T::weight(view)
    }
}

impl<'a, T: Element> From<&'a ndarray::Array2<T>> for Weight<'a> {
    fn from(array: &'a ndarray::Array2<T>) -> Self {
        T::weight(array.view())
    }
}

impl Weight<'_> {
    /// Returns the numbers of rows and columns, (m, k).
    pub fn dim(&self) -> (usize, usize) {
        with_view!(self, view => view.dim())
    }

    /// Copies columns `cols` of row `row` into `out`, rounded to f32.
    pub(crate) fn copy_row(&self, row: usize, cols: Range<usize>, out: &mut [f32]) {
        fn copy<T: Element>(view: ArrayView1<'_, T>, out: &mut [f32]) {
            // The loop is written twice, because the compiler vectorises it only for contiguous entries.
            if let Some(row) = view.as_slice() {
                for (to, from) in out.iter_mut().zip(row) {
                    *to = from.to_f64() as f32;
                }
            } else {
                for (to, from) in out.iter_mut().zip(view) {
                    *to = from.to_f64() as f32;
                }
            }
        }
        with_view!(self, view => copy(view.slice(s![row, cols]), out))
    }

    /// Finds the first entry of a row that is not finite in f32, as its column and value.
    pub(crate) fn first_bad_column(&self, row: usize) -> Option<(usize, f64)> {
        fn scan<T: Element>(view: ArrayView1<'_, T>) -> Option<(usize, f64)> {
            if view.as_slice().is_some_and(|row| row.iter().all(|x| fits_f32(x.to_f64()))) {
                return None;
            }
            view.iter().map(|&x| x.to_f64()).enumerate().find(|&(_, x)| !fits_f32(x))
        }
        with_view!(self, view => scan(view.row(row)))
    }
}

/// Tells whether `x` is finite and still finite when rounded to f32.
pub(crate) fn fits_f32(x: f64) -> bool {
    (x as f32).is_finite()
}
