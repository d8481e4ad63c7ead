//! The factors in progress, in the whitened coordinates of the descent.

use rayon::prelude::*;

use crate::error::Error;
use crate::factors::block_diagonal::BlockDiagonal;
use crate::factors::partition::Partition;
use crate::factors::pattern::Pattern;
use crate::factors::sparse_core::SparseCore;
use crate::factors::triple::Factors;
use crate::kernels::scratch::with_scratch;
use crate::problem::residual::Residual;
use crate::problem::target::Target;
use crate::problem::wrappers::Wrappers;

/// The factors A, S and B̃ = B diag(√d) of the whitened target Y ≈ A S B̃.
///
/// The parts of a descent, [`MaskSelector`](crate::MaskSelector), [`WrapperUpdate`](crate::WrapperUpdate) and
/// [`CoreUpdate`](crate::CoreUpdate), change a state in place. A part can be tested on a state of its own:
///
/// ```
/// use armor_core::{Descent, Hessian, Layer, LeastSquares, MaskSelector, NoWagP, Options, State};
/// use ndarray::Array2;
///
/// let weight = Array2::from_shape_fn((8, 16), |(i, j)| ((3 * i + 5 * j) % 7) as f32 - 3.0);
/// let layer = Layer::new(&weight, Hessian::identity(16))?;
/// let target = Descent::new(&Options::exact().block(8))?.target(&layer)?;
/// let mut state = State::new(&target);
/// NoWagP.select(&mut state)?;
/// let pruned = state.loss();
/// LeastSquares::default().update_left(&mut state);
/// assert!(state.loss() < pruned);
/// # Ok::<(), Box<dyn std::error::Error + Send + Sync>>(())
/// ```
#[derive(Debug)]
pub struct State<'t> {
    target: &'t Target,
    factors: Factors,
    loss: Option<f64>,
    workspace: ProductBuffer,
}

/// m × k numbers, which hold A S by column panel or nothing in particular.
#[derive(Debug, Default)]
struct ProductBuffer {
    values: Vec<f32>,
    /// Whether the numbers are A S of the factors as they stand.
    holds_left_product: bool,
}

impl ProductBuffer {
    /// All m × k numbers, to be overwritten.
    fn overwrite(&mut self, target: &Target) -> &mut [f32] {
        self.holds_left_product = false;
        self.values.resize(target.rows() * target.cols(), 0.0);
        &mut self.values
    }
}

/// The parts of a state, each borrowed for itself.
pub(crate) struct SplitState<'s> {
    pub target: &'s Target,
    pub left: &'s mut BlockDiagonal,
    pub core: &'s mut SparseCore,
    pub right: &'s mut BlockDiagonal,
    /// m × k numbers of any value.
    pub workspace: &'s mut [f32],
}

impl<'t> State<'t> {
    /// Starts from identity wrappers (B̃ = diag(√d)) around a core of zeros that keeps the first N of every M.
    pub fn new(target: &'t Target) -> Self {
        State { target, factors: target.identity_factors(), loss: None, workspace: ProductBuffer::default() }
    }

    /// What is approximated.
    pub fn target(&self) -> &'t Target {
        self.target
    }

    /// The left wrapper A, m × m.
    pub fn left(&self) -> &BlockDiagonal {
        &self.factors.left
    }

    /// The sparse core S, m × k.
    pub fn core(&self) -> &SparseCore {
        &self.factors.core
    }

    /// The whitened right wrapper B̃, k × k.
    pub fn right(&self) -> &BlockDiagonal {
        &self.factors.right
    }

    /// The core, to be changed in place: a core of another shape ends the run with
    /// [`Error::FactorShape`](crate::Error::FactorShape), and other methods may panic before that.
    pub fn core_mut(&mut self) -> &mut SparseCore {
        &mut self.factors_mut().core
    }

    /// The left wrapper, to be changed in place, as [`State::core_mut`].
    pub fn left_mut(&mut self) -> &mut BlockDiagonal {
        &mut self.factors_mut().left
    }

    /// The whitened right wrapper, to be changed in place, as [`State::core_mut`].
    pub fn right_mut(&mut self) -> &mut BlockDiagonal {
        self.loss = None;
        &mut self.factors.right
    }

    /// The absolute loss: ‖Y − A S B̃‖²_F, or tr(E Ω Eᵀ) with E = A S B̃ − Y where errors couple.
    ///
    /// It is computed, by a pass over all blocks, unless the last update reported it.
    pub fn loss(&mut self) -> f64 {
        let loss = match self.loss {
            Some(loss) => loss,
            None => self.compute_loss(),
        };
        self.loss = Some(loss);
        loss
    }

    /// Reports the absolute loss of the factors as they stand, which saves the pass that [`State::loss`] takes.
    ///
    /// The next change of a factor discards it. A negative number, NaN or infinity is ignored. A wrong report misleads the
    /// run, which keeps the state of lowest reported loss; the loss of the result is computed independently, in f64, and
    /// is never above NoWag-P's. The loop computes the loss of the initial mask itself.
    pub fn report_loss(&mut self, loss: f64) {
        self.loss = Some(loss).filter(|loss| loss.is_finite() && *loss >= 0.0);
    }

    /// Computes the residual A S B̃ − Y, from which gradients by blocks follow.
    pub fn residual(&self) -> Residual<'_> {
        Residual::new(self.wrappers(), &self.factors.core)
    }

    /// Refuses factors of other shapes than the target asks for, left by the part with this role.
    pub(crate) fn check_shapes(&self, role: &'static str) -> Result<(), Error> {
        let refuse = |factor, found: String, expected: String| {
            Err(Error::FactorShape { role, factor, found: found.into(), expected: expected.into() })
        };
        let (rows, cols) = (self.target.row_blocks(), self.target.col_blocks());
        for (factor, wrapper, expected) in [("left", self.left(), rows), ("right", self.right(), cols)] {
            let found = wrapper.partition();
            if found != expected {
                return refuse(factor, found.to_string(), expected.to_string());
            }
        }
        let core = self.core();
        let found = (core.rows(), core.col_blocks(), core.pattern());
        let expected = (rows.len, cols, self.target.pattern());
        if found != expected {
            let describe =
                |(rows, cols, pattern): (usize, Partition, Pattern)| format!("{rows} × {cols}, pattern {pattern}");
            return refuse("core", describe(found), describe(expected));
        }
        Ok(())
    }

    pub(crate) fn factors(&self) -> &Factors {
        &self.factors
    }

    /// All three factors, to be changed.
    pub(crate) fn factors_mut(&mut self) -> &mut Factors {
        self.loss = None;
        self.workspace.holds_left_product = false;
        &mut self.factors
    }

    pub(crate) fn into_factors(self) -> Factors {
        self.factors
    }

    /// The wrappers, to be read.
    pub(crate) fn wrappers(&self) -> Wrappers<'_> {
        let left_product = self.workspace.holds_left_product.then_some(self.workspace.values.as_slice());
        Wrappers { left_product, ..Wrappers::new(self.target, &self.factors.left, &self.factors.right) }
    }

    /// The core, to be changed, beside the wrappers.
    pub(crate) fn split_core(&mut self) -> (&mut SparseCore, Wrappers<'_>) {
        self.loss = None;
        let holds = std::mem::replace(&mut self.workspace.holds_left_product, false);
        let Factors { left, core, right } = &mut self.factors;
        let left_product = holds.then_some(self.workspace.values.as_slice());
        (core, Wrappers { left_product, ..Wrappers::new(self.target, left, right) })
    }

    /// All parts and a workspace, each to be changed.
    pub(crate) fn split(&mut self) -> SplitState<'_> {
        self.loss = None;
        let Factors { left, core, right } = &mut self.factors;
        SplitState { target: self.target, left, core, right, workspace: self.workspace.overwrite(self.target) }
    }

    /// Fills the workspace with A S by column panel, for the updates that follow until A or S changes.
    pub(crate) fn fill_left_product(&mut self, fill: impl FnOnce(Wrappers<'_>, &SparseCore, &mut [f32])) {
        let loss = self.loss;
        let SplitState { target, left, core, right, workspace } = self.split();
        fill(Wrappers::new(target, left, right), core, workspace);
        self.workspace.holds_left_product = true;
        self.loss = loss;
    }

    fn compute_loss(&mut self) -> f64 {
        let Some(coupling) = self.target.coupling() else { return self.residual_energy() };
        let SplitState { target, left, core, right, workspace } = self.split();
        coupling.write_residual(Wrappers::new(target, left, right), core, workspace);
        coupling.square(workspace)
    }

    fn residual_energy(&self) -> f64 {
        let (rows, cols) = (self.target.row_blocks(), self.target.col_blocks());
        let blocks = rows.count() * cols.count();
        let energies: Vec<f64> = (0..blocks)
            .into_par_iter()
            .map(|index| {
                let (a, b) = (index / cols.count(), index % cols.count());
                let size = rows.size(a) * cols.size(b);
                with_scratch([size, size, size], |[dense, product, residual]| {
                    self.core().expand(b, rows.range(a), dense);
                    self.wrappers().multiply_left(a, dense, product);
                    self.wrappers().residual(a..a + 1, b, product, residual)
                })
            })
            .collect();
        energies.iter().sum()
    }
}
