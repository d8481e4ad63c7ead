//! The trait of the continuous step.

use crate::descent::step::Step;
use crate::error::BoxError;
use crate::problem::state::State;

/// The continuous step of an iteration: moves the wrappers for the core's mask as it stands.
///
/// [`LeastSquares`](crate::LeastSquares), [`JointAdam`](crate::JointAdam) and
/// [`SequentialGradient`](crate::SequentialGradient) are wrapper updates. A part may change the core's values too, but
/// must not change its mask. It reads the whitened weight Y from [`State::target`], and the residual and the gradients
/// by blocks from [`State::residual`]. Give the descent another one with
/// [`Descent::wrapper_update`](crate::Descent::wrapper_update):
///
/// ```
/// use armor_core::{BoxError, Descent, Error, Hessian, Layer, Options, State, Step, WrapperUpdate};
/// use ndarray::Array2;
///
/// /// Moves A against the gradient of the loss.
/// struct Gradient(f32);
///
/// impl WrapperUpdate for Gradient {
///     fn update(&mut self, state: &mut State<'_>, _step: &Step) -> Result<(), BoxError> {
///         let residual = state.residual();
///         let blocks = state.target().row_blocks().count();
///         let gradients: Vec<_> = (0..blocks).map(|a| residual.left_gradient(a)).collect();
///         for (a, gradient) in gradients.iter().enumerate() {
///             state.left_mut().block_mut(a).scaled_add(-self.0, gradient);
///         }
///         Ok(())
///     }
/// }
///
/// let weight = Array2::from_shape_fn((8, 16), |(i, j)| ((3 * i + 5 * j) % 7) as f32 - 3.0);
/// let layer = Layer::new(&weight, Hessian::identity(16))?;
/// let options = Options::exact().block(8).iterations(5);
/// let result = Descent::new(&options)?.wrapper_update(Gradient(0.01)).run(&layer)?;
/// assert!(result.loss() < result.nowag_p_loss());
/// # Ok::<(), Error>(())
/// ```
pub trait WrapperUpdate: Send {
    /// Changes the wrappers of `state`. An update that knows the absolute loss afterwards may say so with
    /// [`State::report_loss`].
    ///
    /// # Errors
    /// Whatever makes an update impossible; the run ends with it. The crate's own [`Error`](crate::Error) reaches the
    /// caller as it is, any other becomes the source of [`Error::Part`](crate::Error::Part).
    fn update(&mut self, state: &mut State<'_>, step: &Step) -> Result<(), BoxError>;

    /// Whether an update never raises the loss, but by rounding. Default: no. [`CoreUpdate`](crate::CoreUpdate) says what
    /// the loop does where both updates promise it.
    fn is_monotone(&self) -> bool {
        false
    }

    /// Whether an update may start from extrapolated factors, and run a second time in an iteration whose first attempt
    /// was taken back. Default: no, which suits a part that keeps memory from step to step, such as Adam's moments.
    fn allows_extrapolation(&self) -> bool {
        false
    }
}

impl<T: WrapperUpdate + ?Sized> WrapperUpdate for Box<T> {
    fn update(&mut self, state: &mut State<'_>, step: &Step) -> Result<(), BoxError> {
        (**self).update(state, step)
    }

    fn is_monotone(&self) -> bool {
        (**self).is_monotone()
    }

    fn allows_extrapolation(&self) -> bool {
        (**self).allows_extrapolation()
    }
}

impl<T: WrapperUpdate + ?Sized> WrapperUpdate for &mut T {
    fn update(&mut self, state: &mut State<'_>, step: &Step) -> Result<(), BoxError> {
        (**self).update(state, step)
    }

    fn is_monotone(&self) -> bool {
        (**self).is_monotone()
    }

    fn allows_extrapolation(&self) -> bool {
        (**self).allows_extrapolation()
    }
}
