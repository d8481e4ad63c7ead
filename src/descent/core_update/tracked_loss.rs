//! The loss after a core update, tracked by the changes of its groups.

/// How groups changed the loss, and the size of the terms that this is the sum of.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Change {
    pub sum: f64,
    pub terms: f64,
}

impl Change {
    pub fn and(self, other: Change) -> Change {
        Change { sum: self.sum + other.sum, terms: self.terms + other.terms }
    }
}

/// The loss after a core update whose groups changed the loss before it by so much, in f32; `energy` is the loss at
/// Ŵ = 0.
///
/// `None` where rounding shows: changes that take away almost everything, or cancel, leave a remainder of rounding
/// errors, and so does the gradient of a residual that is small beside what it is the difference of.
pub(super) fn loss_after(before: f64, change: Change, energy: f64) -> Option<f64> {
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
