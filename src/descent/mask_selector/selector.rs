//! The trait of initial masks.

use crate::error::BoxError;
use crate::problem::state::State;

/// Chooses the initial mask, and the values that go with it: what a run starts from.
///
/// A selector fills the core of a state, which is zero and stands between identity wrappers. It runs once.
/// [`NoWagP`](crate::NoWagP), [`Magnitude`](crate::Magnitude), [`Wanda`](crate::Wanda) and
/// [`SparseGpt`](crate::SparseGpt) are selectors. Give the descent another one with [`Descent::initial_mask`](crate::Descent::initial_mask):
///
/// ```
/// use armor_core::{BoxError, Descent, Error, Hessian, Layer, MaskSelector, Options, State};
/// use ndarray::Array2;
///
/// /// Keeps the first two of each four, whatever they are.
/// struct FirstTwo;
///
/// impl MaskSelector for FirstTwo {
///     fn select(&mut self, state: &mut State<'_>) -> Result<(), BoxError> {
///         let target = state.target();
///         for row in 0..target.rows() {
///             for group in 0..target.cols() / 4 {
///                 let values = [0, 1].map(|j| target.normalized(row, 4 * group + j));
///                 state.core_mut().set_group(row, group, 0b0011, &values)?;
///             }
///         }
///         Ok(())
///     }
/// }
///
/// let weight = Array2::from_shape_fn((8, 16), |(i, j)| ((3 * i + 5 * j) % 7) as f32 - 3.0);
/// let layer = Layer::new(&weight, Hessian::identity(16))?;
/// let options = Options::exact().block(8).iterations(5);
/// let result = Descent::new(&options)?.initial_mask(FirstTwo).run(&layer)?;
/// assert!(result.history()[0] >= result.nowag_p_loss());
/// assert!(result.loss() <= result.nowag_p_loss());
/// # Ok::<(), Error>(())
/// ```
pub trait MaskSelector: Send {
    /// Fills the core of `state`; the wrappers stay.
    ///
    /// # Errors
    /// Whatever makes a selection impossible; the run ends with it. The crate's own [`Error`](crate::Error) reaches the
    /// caller as it is, any other becomes the source of [`Error::Part`](crate::Error::Part).
    fn select(&mut self, state: &mut State<'_>) -> Result<(), BoxError>;
}

impl<T: MaskSelector + ?Sized> MaskSelector for Box<T> {
    fn select(&mut self, state: &mut State<'_>) -> Result<(), BoxError> {
        (**self).select(state)
    }
}

impl<T: MaskSelector + ?Sized> MaskSelector for &mut T {
    fn select(&mut self, state: &mut State<'_>) -> Result<(), BoxError> {
        (**self).select(state)
    }
}
