//! The loop: continuous step, core step, observer, and why it ends.

use std::ops::ControlFlow;
use std::time::Instant;

use crate::descent::progress::Progress;
use crate::descent::trajectory::Run;
use crate::result::record::StopReason;

use crate::descent::mask::initial::NoWagP;
use crate::descent::mask::sampled::SampledGroup;
use crate::descent::mask::selector::MaskSelector;
use crate::descent::mask::sweep::AnnealedSweep;
use crate::descent::options::Options;
use crate::descent::options::{Method, Objective};
use crate::descent::step::Step;
use crate::descent::wrapper::adam::JointAdam;
use crate::descent::wrapper::gradient::SequentialGradient;
use crate::descent::wrapper::least_squares::LeastSquares;
use crate::descent::wrapper::update::WrapperUpdate;
use crate::error::Error;
use crate::input::layer::Layer;
use crate::kernels::pool;
use crate::problem::coupling::Coupling;
use crate::problem::loss::nowag::NoWagLoss;
use crate::problem::loss::output_error::{FullOutputError, OutputError, RowWeighting};
use crate::problem::loss::proxy_loss::ProxyLoss;
#[cfg(feature = "checkpoint")]
use crate::problem::measure::{Product, relative_loss};
use crate::problem::state::State;
use crate::problem::target::Target;
use crate::result::factorization::Factorization;
use crate::result::record::RunRecord;

/// Factorises a layer: the one call most programs need.
///
/// # Errors
/// [`Error::Option`] for an option out of range, [`Error::ColumnsNotMultiple`] where the pattern does not divide the
/// layer's columns, [`Error::Threads`] where worker threads cannot be started.
///
/// ```
/// use armor_core::{Hessian, Layer, Options, factorize};
/// use ndarray::Array2;
///
/// let weight = Array2::from_shape_fn((32, 64), |(i, j)| ((7 * i + 3 * j) % 23) as f32 - 11.0);
/// let layer = Layer::new(&weight, Hessian::identity(64))?;
/// let result = factorize(&layer, &Options::exact().block(16).iterations(20))?;
/// assert!(result.loss() < result.nowag_p_loss());
/// # Ok::<(), armor_core::Error>(())
/// ```
pub fn factorize(layer: &Layer<'_>, options: &Options) -> Result<Factorization, Error> {
    Descent::new(options)?.run(layer)
}

type Observer<'a> = Box<dyn FnMut(&Progress) -> ControlFlow<()> + Send + 'a>;

/// A run in the making: a preset's parts, any of which can be replaced, and an observer.
///
/// ```
/// use armor_core::{Descent, Hessian, Layer, Options, StopReason};
/// use ndarray::Array2;
/// use std::ops::ControlFlow;
///
/// let weight = Array2::from_shape_fn((32, 64), |(i, j)| ((7 * i + 3 * j) % 23) as f32 - 11.0);
/// let layer = Layer::new(&weight, Hessian::identity(64))?;
/// let result = Descent::new(&Options::exact().block(16))?
///     .observer(|progress| if progress.iteration == 3 { ControlFlow::Break(()) } else { ControlFlow::Continue(()) })
///     .run(&layer)?;
/// assert_eq!(result.stop_reason(), StopReason::Cancelled);
/// assert_eq!(result.history().len(), 4);
/// # Ok::<(), armor_core::Error>(())
/// ```
pub struct Descent<'a> {
    options: Options,
    proxy_loss: Box<dyn ProxyLoss + 'a>,
    initial_mask: Box<dyn MaskSelector + 'a>,
    wrapper_update: Box<dyn WrapperUpdate + 'a>,
    core_update: Box<dyn MaskSelector + 'a>,
    observer: Observer<'a>,
}

impl<'a> Descent<'a> {
    /// Puts together the parts of the options' method.
    ///
    /// # Errors
    /// [`Error::Option`] for the first option out of range.
    pub fn new(options: &Options) -> Result<Self, Error> {
        options.validate()?;
        let wrapper_update: Box<dyn WrapperUpdate> = match options.method {
            Method::Exact => Box::new(LeastSquares::default()),
            Method::Paper => Box::new(JointAdam::new(options.learning_rate)),
            Method::Gradient => Box::new(SequentialGradient::default()),
        };
        let core_update: Box<dyn MaskSelector> = match options.method {
            Method::Exact => Box::new(AnnealedSweep::default()),
            Method::Paper | Method::Gradient => Box::new(SampledGroup),
        };
        let rows = options.row_weighting;
        let proxy_loss: Box<dyn ProxyLoss> = match options.objective {
            Objective::Diagonal if rows == Some(RowWeighting::None) => Box::new(OutputError),
            Objective::Diagonal => Box::new(NoWagLoss),
            Objective::Full => Box::new(FullOutputError {
                shrinkage: options.shrinkage,
                row_weighting: rows.unwrap_or(RowWeighting::None),
            }),
        };
        Ok(Descent {
            options: options.clone(),
            proxy_loss,
            initial_mask: Box::new(NoWagP),
            wrapper_update,
            core_update,
            observer: Box::new(|_| ControlFlow::Continue(())),
        })
    }

    /// Replaces the loss. Default: that of the options' objective.
    pub fn proxy_loss(mut self, loss: impl ProxyLoss + 'a) -> Self {
        self.proxy_loss = Box::new(loss);
        self
    }

    /// Replaces the initial mask. Default: [`NoWagP`].
    pub fn initial_mask(mut self, selector: impl MaskSelector + 'a) -> Self {
        self.initial_mask = Box::new(selector);
        self
    }

    /// Replaces the continuous step.
    pub fn wrapper_update(mut self, update: impl WrapperUpdate + 'a) -> Self {
        self.wrapper_update = Box::new(update);
        self
    }

    /// Replaces the core step.
    pub fn core_update(mut self, selector: impl MaskSelector + 'a) -> Self {
        self.core_update = Box::new(selector);
        self
    }

    /// Calls `observer` once an iteration; `ControlFlow::Break` cancels the run, which then returns its best state.
    pub fn observer(mut self, observer: impl FnMut(&Progress) -> ControlFlow<()> + Send + 'a) -> Self {
        self.observer = Box::new(observer);
        self
    }

    /// Factorises the layer.
    ///
    /// # Errors
    /// As [`factorize`], and whatever a part of the caller's own returns.
    pub fn run(self, layer: &Layer<'_>) -> Result<Factorization, Error> {
        self.in_pool(layer, Self::run_here)
    }

    /// Prunes the layer with the initial mask alone: the starting point of a run, as it is.
    ///
    /// The wrappers only undo the scales, the history has one entry, and nothing falls back to NoWag-P, so what is
    /// returned may be worse: it is what other methods are compared with.
    ///
    /// # Errors
    /// As [`Descent::run`].
    ///
    /// ```
    /// use armor_core::{Descent, Hessian, Layer, Magnitude, Options};
    /// use ndarray::Array2;
    ///
    /// let weight = Array2::from_shape_fn((32, 64), |(i, j)| ((7 * i + 3 * j) % 23) as f32 - 11.0);
    /// let layer = Layer::new(&weight, Hessian::identity(64))?;
    /// let options = Options::exact().block(16).iterations(20);
    /// let pruned = Descent::new(&options)?.initial_mask(Magnitude).prune(&layer)?;
    /// let factorized = Descent::new(&options)?.initial_mask(Magnitude).run(&layer)?;
    /// assert_eq!(pruned.iterations(), 0);
    /// assert!(factorized.loss() < pruned.loss());
    /// # Ok::<(), armor_core::Error>(())
    /// ```
    pub fn prune(self, layer: &Layer<'_>) -> Result<Factorization, Error> {
        self.in_pool(layer, Self::prune_here)
    }

    fn in_pool(
        mut self,
        layer: &Layer<'_>,
        body: impl FnOnce(&mut Self, &Layer<'_>) -> Result<Factorization, Error> + Send,
    ) -> Result<Factorization, Error> {
        let pattern = self.options.pattern;
        if !layer.cols().is_multiple_of(pattern.m()) {
            return Err(Error::ColumnsNotMultiple { cols: layer.cols(), n: pattern.n(), m: pattern.m() });
        }
        let threads = self.options.threads;
        if threads == 0 {
            pool::start()?;
            return body(&mut self, layer);
        }
        let pool = rayon::ThreadPoolBuilder::new()
            .num_threads(threads)
            .build()
            .map_err(|error| Error::Threads { threads, reason: error.to_string() })?;
        pool.install(|| body(&mut self, layer))
    }

    fn run_here(&mut self, layer: &Layer<'_>) -> Result<Factorization, Error> {
        let start = Instant::now();
        let target = self.target(layer)?;
        let state = self.starting_point(&target)?;
        let mut run = Run::new(self.options.clone(), state, start);
        let stop_reason = self.iterate(&mut run)?;
        let (best, history) = run.finish();
        let report = RunRecord { ridge: ridge(&target), history, stop_reason };
        Factorization::new(layer, &target, best, report, start)
    }

    /// Measures the relative loss of another approximation of the layer.
    #[cfg(feature = "checkpoint")]
    pub(crate) fn measure(&self, layer: &Layer<'_>, product: &Product<'_>) -> Result<f64, Error> {
        Ok(relative_loss(product, layer, &self.target(layer)?))
    }

    fn prune_here(&mut self, layer: &Layer<'_>) -> Result<Factorization, Error> {
        let start = Instant::now();
        let target = self.target(layer)?;
        let mut state = self.starting_point(&target)?;
        let history = vec![target.relative(state.loss())];
        let report = RunRecord { ridge: ridge(&target), history, stop_reason: StopReason::Iterations };
        Factorization::pruned(layer, &target, state.into_factors(), report, start)
    }

    fn target(&self, layer: &Layer<'_>) -> Result<Target, Error> {
        let blocks = (self.options.left_block, self.options.right_block);
        let loss = self.proxy_loss.as_ref();
        Target::for_loss(layer, loss, blocks, self.options.pattern, self.options.memory_limit)
    }

    fn starting_point<'t>(&mut self, target: &'t Target) -> Result<State<'t>, Error> {
        let mut state = State::new(target);
        self.initial_mask.select(&mut state, &Step { iteration: 0, seed: self.options.seed, temperature: 0.0 })?;
        Ok(state)
    }

    fn iterate(&mut self, run: &mut Run<'_>) -> Result<StopReason, Error> {
        for iteration in 1..=self.options.iterations {
            let step = run.begin(iteration);
            self.wrapper_update.update(&mut run.state, &step)?;
            self.core_update.select(&mut run.state, &step)?;
            if run.overshot(&step) {
                let plain = run.retreat(iteration);
                self.wrapper_update.update(&mut run.state, &plain)?;
                self.core_update.select(&mut run.state, &plain)?;
            }
            let progress = run.end(&step);
            if (self.observer)(&progress).is_break() {
                return Ok(StopReason::Cancelled);
            }
            if run.stalled >= self.options.patience {
                return Ok(StopReason::Converged);
            }
            if self.options.time_budget.is_some_and(|budget| progress.elapsed >= budget) {
                return Ok(StopReason::TimeBudget);
            }
        }
        Ok(StopReason::Iterations)
    }
}

/// Ridge that the target's correlations needed.
fn ridge(target: &Target) -> f64 {
    target.coupling().map_or(0.0, Coupling::ridge)
}
