//! The trait of the parts that choose masks.

use crate::descent::step::Step;
use crate::error::Error;
use crate::problem::state::State;

/// Chooses the core's mask, and the values that go with it, for the wrappers as they stand.
///
/// One trait serves both ends of a run: an *initial* selector fills the zero core between identity wrappers
/// ([`NoWagP`], [`Magnitude`], [`Wanda`], [`SparseGpt`]), and a *core update* improves the core once an iteration
/// ([`ExactSweep`], [`AnnealedSweep`], [`SampledGroup`]). Give the descent another one with
/// [`Descent::initial_mask`](crate::Descent::initial_mask) or [`Descent::core_update`](crate::Descent::core_update):
///
/// ```
/// use armor_core::{Descent, Error, Hessian, Layer, MaskSelector, Options, State, Step};
/// use ndarray::Array2;
///
/// /// Keeps the first two of each four, whatever they are.
/// struct FirstTwo;
///
/// impl MaskSelector for FirstTwo {
///     fn select(&mut self, state: &mut State<'_>, _step: &Step) -> Result<(), Error> {
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
    /// Changes the core of `state`; the wrappers stay.
    ///
    /// # Errors
    /// Whatever makes a selection impossible; the run ends with that error.
    fn select(&mut self, state: &mut State<'_>, step: &Step) -> Result<(), Error>;
}
