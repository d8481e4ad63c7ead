//! Which N of every M entries the core keeps.

mod coupled;
mod group_solve;
mod groups;
mod initial;
mod lanes;
mod noise;
mod sampled;
mod sparse_gpt;
mod strip;
mod sweep;

pub use initial::{Magnitude, NoWagP, Wanda};
pub use lanes::InstructionSet;
pub use sampled::SampledGroup;
pub use sparse_gpt::SparseGpt;
pub use sweep::{AnnealedSweep, ExactSweep, SweepTimes};

use crate::{Error, State, Step};

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

/// How groups changed the loss, and the size of the terms that this is the sum of.
#[derive(Clone, Copy, Debug, Default)]
struct Change {
    sum: f64,
    terms: f64,
}

impl Change {
    fn and(self, other: Change) -> Change {
        Change { sum: self.sum + other.sum, terms: self.terms + other.terms }
    }
}

/// The loss after a core update whose groups changed the loss before it by so much, in f32; `energy` is the loss at
/// Ŵ = 0.
///
/// `None` where rounding shows: changes that take away almost everything, or cancel, leave a remainder of rounding
/// errors, and so does the gradient of a residual that is small beside what it is the difference of.
fn loss_after(before: f64, change: Change, energy: f64) -> Option<f64> {
    const TRUSTED: f64 = 1e-2;
    const SMALL: f64 = 1e-5;
    let after = before + change.sum;
    (after > TRUSTED * (before + change.terms) && after > SMALL * energy).then_some(after)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_loss_is_known_unless_rounding_shows_in_it() {
        let after = |sum, terms| loss_after(8.0, Change { sum, terms }, 16.0);
        assert_eq!(after(-2.0, 2.0), Some(6.0));
        assert_eq!(after(1.0, 3.0), Some(9.0), "drawn masks may raise it");
        assert_eq!(after(-7.9999, 7.9999), None, "almost all is taken away");
        assert_eq!(after(-2.0, 2_000.0), None, "gains and losses cancel");
        assert_eq!(after(-9.0, 9.0), None, "it cannot be negative");
        assert_eq!(after(f64::NAN, 1.0), None);
        let small = |energy| loss_after(8.0, Change { sum: -2.0, terms: 2.0 }, energy);
        assert_eq!((small(5e5), small(7e5)), (Some(6.0), None), "the residual is small beside the weight");
    }
}
