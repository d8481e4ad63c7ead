//! The matrix that couples errors at different inputs.

use crate::error::Error;
use crate::input::hessian::{Hessian, HessianKind};

/// The correlation Ω = (1 − α) corr(M) + α I of a loss tr(Ē √D Ω √D Ēᵀ) with importances D.
///
/// corr(M) divides M_ij by √(M_ii M_jj); an input with M_jj = 0 has no correlation with any other. With D = [`Hessian::importance`] of M, its diagonal over the mean, and α = 0 the
/// loss is tr(Ē M Ēᵀ) over that mean. The shrinkage α draws M towards its diagonal: 0 leaves M as it is, 1 makes the loss
/// separable.
///
/// M must be positive semi-definite. Where Ω is not, by rounding for instance, a ridge is added to its unit diagonal until
/// it is; [`Factorization::ridge`](crate::Factorization::ridge) reports the ridge. A ridge near 1 or above says that M is
/// no second moment of any inputs, and that the run minimised another loss.
#[derive(Clone, Debug)]
pub struct Correlation {
    matrix: Hessian,
    shrinkage: f64,
}

impl Correlation {
    /// Takes M, k × k, with the shrinkage α, 0 to 1; shares M's memory.
    ///
    /// # Errors
    /// [`Error::HessianNotFull`] where only the diagonal of M is known, [`Error::Option`] for an α out of range.
    pub fn new(matrix: &Hessian, shrinkage: f64) -> Result<Self, Error> {
        if !(0.0..=1.0).contains(&shrinkage) {
            return Err(Error::Option { name: "shrinkage", value: shrinkage.to_string(), expected: "0 to 1" });
        }
        if matrix.kind() != HessianKind::Full {
            return Err(Error::HessianNotFull { needed_by: "a correlation" });
        }
        Ok(Correlation { matrix: matrix.clone(), shrinkage })
    }

    /// The matrix M.
    pub fn matrix(&self) -> &Hessian {
        &self.matrix
    }

    /// The shrinkage α.
    pub fn shrinkage(&self) -> f64 {
        self.shrinkage
    }
}
