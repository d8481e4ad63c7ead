//! The trait of the continuous step.

use crate::descent::step::Step;
use crate::error::Error;
use crate::problem::state::State;

/// The continuous step of an iteration: moves the wrappers for the core's mask as it stands.
///
/// It may move the core's values too, never its mask. Give the descent another one with
/// [`Descent::wrapper_update`](crate::Descent::wrapper_update):
///
/// ```
/// use armor_core::{Descent, Error, Hessian, Layer, LeastSquares, Options, State, Step, WrapperUpdate};
/// use ndarray::Array2;
///
/// /// Solves for the wrappers in every other iteration only.
/// #[derive(Default)]
/// struct EverySecond(LeastSquares);
///
/// impl WrapperUpdate for EverySecond {
///     fn update(&mut self, state: &mut State<'_>, step: &Step) -> Result<(), Error> {
///         if step.iteration % 2 == 0 { self.0.update(state, step) } else { Ok(()) }
///     }
/// }
///
/// let weight = Array2::from_shape_fn((8, 16), |(i, j)| ((3 * i + 5 * j) % 7) as f32 - 3.0);
/// let layer = Layer::new(&weight, Hessian::identity(16))?;
/// let options = Options::exact().block(8).iterations(5);
/// let result = Descent::new(&options)?.wrapper_update(EverySecond::default()).run(&layer)?;
/// assert!(result.loss() <= result.nowag_p_loss());
/// # Ok::<(), Error>(())
/// ```
pub trait WrapperUpdate: Send {
    /// Changes the wrappers of `state`.
    ///
    /// # Errors
    /// Whatever makes a step impossible; the run ends with that error.
    fn update(&mut self, state: &mut State<'_>, step: &Step) -> Result<(), Error>;
}
