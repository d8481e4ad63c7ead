//! The trait of the core step.

use crate::descent::step::Step;
use crate::error::BoxError;
use crate::problem::state::State;

/// The core step of an iteration: chooses masks and values of the core for the wrappers as they stand.
///
/// [`AnnealedSweep`](crate::AnnealedSweep), [`ExactSweep`](crate::ExactSweep) and [`SampledGroup`](crate::SampledGroup)
/// are core updates. Give the descent another one with [`Descent::core_update`](crate::Descent::core_update).
///
/// The predicates say what the part promises; the loop's policy follows from them and from those of the
/// [`WrapperUpdate`](crate::WrapperUpdate):
///
/// | predicate | where both updates promise it, the loop |
/// |---|---|
/// | [`is_monotone`](CoreUpdate::is_monotone) | takes back an iteration at temperature 0 that raised the loss |
/// | [`allows_extrapolation`](CoreUpdate::allows_extrapolation) | moves the factors along their last change before an iteration; where an iteration at temperature 0 then raised the loss, it is taken back and both updates run once more, without that move |
/// | [`anneals`](CoreUpdate::anneals) | (core update alone) sets a temperature, which falls to 0 at nine tenths of the run |
///
/// ```
/// use armor_core::{BoxError, CoreUpdate, Descent, Error, ExactSweep, Hessian, Layer, Options, State, Step};
/// use ndarray::Array2;
///
/// /// Sweeps in every other iteration only.
/// #[derive(Default)]
/// struct EverySecond(ExactSweep);
///
/// impl CoreUpdate for EverySecond {
///     fn update(&mut self, state: &mut State<'_>, step: &Step) -> Result<(), BoxError> {
///         if step.iteration % 2 == 0 { self.0.update(state, step) } else { Ok(()) }
///     }
///
///     fn is_monotone(&self) -> bool {
///         self.0.is_monotone()
///     }
/// }
///
/// let weight = Array2::from_shape_fn((8, 16), |(i, j)| ((3 * i + 5 * j) % 7) as f32 - 3.0);
/// let layer = Layer::new(&weight, Hessian::identity(16))?;
/// let options = Options::exact().block(8).iterations(6);
/// let result = Descent::new(&options)?.core_update(EverySecond::default()).run(&layer)?;
/// assert!(result.loss() <= result.nowag_p_loss());
/// # Ok::<(), Error>(())
/// ```
pub trait CoreUpdate: Send {
    /// Changes the core of `state`; the wrappers stay. An update that knows the absolute loss afterwards may say so with
    /// [`State::report_loss`].
    ///
    /// # Errors
    /// Whatever makes an update impossible; the run ends with it. The crate's own [`Error`](crate::Error) reaches the
    /// caller as it is, any other becomes the source of [`Error::Part`](crate::Error::Part).
    fn update(&mut self, state: &mut State<'_>, step: &Step) -> Result<(), BoxError>;

    /// Whether an update at temperature 0 never raises the loss, but by rounding. Default: no.
    fn is_monotone(&self) -> bool {
        false
    }

    /// Whether an update may start from extrapolated factors, and run a second time in an iteration whose first attempt
    /// was taken back. Default: no, which suits a part that keeps memory from step to step.
    fn allows_extrapolation(&self) -> bool {
        false
    }

    /// Whether masks are drawn at the step's temperature. Default: no, and the temperature is 0 in every step.
    fn anneals(&self) -> bool {
        false
    }
}

impl<T: CoreUpdate + ?Sized> CoreUpdate for Box<T> {
    fn update(&mut self, state: &mut State<'_>, step: &Step) -> Result<(), BoxError> {
        (**self).update(state, step)
    }

    fn is_monotone(&self) -> bool {
        (**self).is_monotone()
    }

    fn allows_extrapolation(&self) -> bool {
        (**self).allows_extrapolation()
    }

    fn anneals(&self) -> bool {
        (**self).anneals()
    }
}

impl<T: CoreUpdate + ?Sized> CoreUpdate for &mut T {
    fn update(&mut self, state: &mut State<'_>, step: &Step) -> Result<(), BoxError> {
        (**self).update(state, step)
    }

    fn is_monotone(&self) -> bool {
        (**self).is_monotone()
    }

    fn allows_extrapolation(&self) -> bool {
        (**self).allows_extrapolation()
    }

    fn anneals(&self) -> bool {
        (**self).anneals()
    }
}
