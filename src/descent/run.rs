//! The run: its parts and its loop.

use std::fmt;
use std::ops::ControlFlow;
use std::time::Instant;

use ndarray::ArrayView2;

use crate::descent::core_update::sampled::SampledGroup;
use crate::descent::core_update::sweep::AnnealedSweep;
use crate::descent::core_update::update::CoreUpdate;
use crate::descent::finish::Finish;
use crate::descent::mask_selector::scores::NoWagP;
use crate::descent::mask_selector::selector::MaskSelector;
use crate::descent::options::{Method, Objective, Options};
use crate::descent::progress::Progress;
use crate::descent::step::Step;
use crate::descent::trajectory::{Policy, Trajectory};
use crate::descent::wrapper_update::adam::JointAdam;
use crate::descent::wrapper_update::gradient::SequentialGradient;
use crate::descent::wrapper_update::least_squares::LeastSquares;
use crate::descent::wrapper_update::update::WrapperUpdate;
use crate::error::Error;
use crate::factors::partition::Partition;
use crate::input::layer::Layer;
use crate::kernels::pool;
use crate::problem::measure::{Replacement, check_shape, relative_loss};
use crate::problem::proxy_loss::loss::ProxyLoss;
use crate::problem::proxy_loss::nowag::NoWagLoss;
use crate::problem::proxy_loss::output_error::{FullOutputError, OutputError, RowWeighting};
use crate::problem::state::State;
use crate::problem::target::Target;
use crate::result::factorization::Factorization;
use crate::result::record::StopReason;

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
    core_update: Box<dyn CoreUpdate + 'a>,
    observer: Observer<'a>,
}

impl fmt::Debug for Descent<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Descent").field("options", &self.options).finish_non_exhaustive()
    }
}

impl<'a> Descent<'a> {
    /// Puts together the parts of the options' method.
    ///
    /// # Errors
    /// [`Error::Option`] for the first option out of range.
    pub fn new(options: &Options) -> Result<Self, Error> {
        options.validate()?;
        let (wrapper_update, core_update) = updates(options);
        Ok(Descent {
            options: options.clone(),
            proxy_loss: proxy_loss(options),
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

    /// Replaces the continuous step. Default: that of the options' method.
    pub fn wrapper_update(mut self, update: impl WrapperUpdate + 'a) -> Self {
        self.wrapper_update = Box::new(update);
        self
    }

    /// Replaces the core step. Default: that of the options' method.
    pub fn core_update(mut self, update: impl CoreUpdate + 'a) -> Self {
        self.core_update = Box::new(update);
        self
    }

    /// Calls `observer` once an iteration; `ControlFlow::Break` cancels the run, which then returns its best state.
    pub fn observer(mut self, observer: impl FnMut(&Progress) -> ControlFlow<()> + Send + 'a) -> Self {
        self.observer = Box::new(observer);
        self
    }

    /// Whitens a layer under the loss: the problem that the run solves, and that a part can be tested on.
    ///
    /// # Errors
    /// [`Error::ColumnsNotMultiple`] where the pattern does not divide the layer's columns; what the loss returns;
    /// [`Error::Threads`].
    pub fn target(&self, layer: &Layer<'_>) -> Result<Target, Error> {
        let pattern = self.options.pattern;
        if !layer.cols().is_multiple_of(pattern.m()) {
            return Err(Error::ColumnsNotMultiple { cols: layer.cols(), n: pattern.n(), m: pattern.m() });
        }
        pool::start()?;
        let blocks = (self.options.left_block, self.options.right_block);
        Target::for_loss(layer, self.proxy_loss.as_ref(), blocks, pattern, self.options.memory_limit)
    }

    /// Factorises the layer.
    ///
    /// # Errors
    /// As [`factorize`], and whatever a part of the caller's own returns: an [`Error`] as it is, any other error as the
    /// source of [`Error::Part`]. [`Error::StartingLoss`] where the initial mask leaves values that are not finite,
    /// [`Error::FactorShape`] where a part replaces a factor by one of another shape.
    pub fn run(mut self, layer: &Layer<'_>) -> Result<Factorization, Error> {
        in_pool(self.options.threads, move || self.run_here(layer))
    }

    /// Prunes the layer with the initial mask alone: the starting point of a run, as it is.
    ///
    /// The wrappers only undo the scales (a mask selector that changes the wrappers keeps its change), and the history has
    /// one entry. The result may be worse than NoWag-P: it is a baseline that other methods are compared with.
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
    pub fn prune(mut self, layer: &Layer<'_>) -> Result<Factorization, Error> {
        in_pool(self.options.threads, move || self.prune_here(layer))
    }

    /// Measures the relative loss, in f64, of factors that replace the layer's weight.
    ///
    /// # Errors
    /// As [`Descent::target`]; [`Error::Length`] where the factors have another shape than the layer.
    pub fn loss_of(&self, layer: &Layer<'_>, factorization: &Factorization) -> Result<f64, Error> {
        check_shape(factorization.factors(), layer)?;
        Ok(relative_loss(&Replacement::Factors(factorization.factors()), layer, &self.target(layer)?))
    }

    /// Measures the relative loss, in f64, of a dense matrix, m × k, that replaces the layer's weight.
    ///
    /// # Errors
    /// As [`Descent::loss_of`].
    ///
    /// ```
    /// use armor_core::{Descent, Hessian, Layer, Options};
    /// use ndarray::Array2;
    ///
    /// let weight = Array2::from_shape_fn((32, 64), |(i, j)| ((7 * i + 3 * j) % 23) as f32 - 11.0);
    /// let layer = Layer::new(&weight, Hessian::identity(64))?;
    /// let rounded = weight.mapv(|w| (w / 4.0).round() * 4.0);
    /// let descent = Descent::new(&Options::exact().block(16))?;
    /// assert!(descent.loss_of_dense(&layer, rounded.view())? < 0.1);
    /// assert_eq!(descent.loss_of_dense(&layer, weight.view())?, 0.0);
    /// # Ok::<(), armor_core::Error>(())
    /// ```
    pub fn loss_of_dense(&self, layer: &Layer<'_>, replacement: ArrayView2<'_, f32>) -> Result<f64, Error> {
        let shapes = [
            ("rows of replacement", replacement.nrows(), layer.rows()),
            ("columns of replacement", replacement.ncols(), layer.cols()),
        ];
        for (argument, found, expected) in shapes {
            if found != expected {
                return Err(Error::Length { argument, found, expected });
            }
        }
        let rows = Partition::new(layer.rows(), self.options.left_block);
        Ok(relative_loss(&Replacement::Dense { values: replacement, rows }, layer, &self.target(layer)?))
    }

    fn run_here(&mut self, layer: &Layer<'_>) -> Result<Factorization, Error> {
        let start = Instant::now();
        let target = self.target(layer)?;
        let state = self.starting_point(&target)?;
        let policy = Policy::of(&self.options, self.wrapper_update.as_ref(), self.core_update.as_ref());
        let mut trajectory = Trajectory::new(&self.options, policy, state, start);
        let stop_reason = self.iterate(&mut trajectory)?;
        let (best, history) = trajectory.finish();
        Finish { layer, target: &target, start }.run(best, history, stop_reason)
    }

    fn prune_here(&mut self, layer: &Layer<'_>) -> Result<Factorization, Error> {
        let start = Instant::now();
        let target = self.target(layer)?;
        let mut state = self.starting_point(&target)?;
        let history = vec![target.relative(state.loss())];
        Finish { layer, target: &target, start }.pruned(state.into_factors(), history)
    }

    fn starting_point<'t>(&mut self, target: &'t Target) -> Result<State<'t>, Error> {
        let mut state = State::new(target);
        self.initial_mask.select(&mut state).map_err(|error| Error::of_part("initial_mask", error))?;
        state.check_shapes("initial_mask")?;
        // A loss that the mask has reported does not count: every later loss is compared with this one.
        state.core_mut();
        let loss = state.loss();
        if loss.is_finite() { Ok(state) } else { Err(Error::StartingLoss { loss }) }
    }

    fn iterate(&mut self, run: &mut Trajectory<'_>) -> Result<StopReason, Error> {
        for iteration in 1..=self.options.iterations {
            let step = run.begin(iteration);
            self.update(&mut run.state, &step)?;
            if run.overshot(&step) {
                let plain = run.retreat(iteration);
                self.update(&mut run.state, &plain)?;
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

    /// The continuous step, then the core step.
    fn update(&mut self, state: &mut State<'_>, step: &Step) -> Result<(), Error> {
        self.wrapper_update.update(state, step).map_err(|error| Error::of_part("wrapper_update", error))?;
        state.check_shapes("wrapper_update")?;
        self.core_update.update(state, step).map_err(|error| Error::of_part("core_update", error))?;
        state.check_shapes("core_update")
    }
}

/// The updates of the options' method.
fn updates(options: &Options) -> (Box<dyn WrapperUpdate>, Box<dyn CoreUpdate>) {
    match options.method {
        Method::Exact => (Box::new(LeastSquares::default()), Box::new(AnnealedSweep::default())),
        Method::Paper => (Box::new(JointAdam::new(options.learning_rate)), Box::new(SampledGroup)),
        Method::Gradient => (Box::new(SequentialGradient::default()), Box::new(SampledGroup)),
    }
}

/// The loss of the options' objective.
fn proxy_loss(options: &Options) -> Box<dyn ProxyLoss> {
    let rows = options.row_weighting;
    match options.objective {
        Objective::Diagonal if rows == Some(RowWeighting::Uniform) => Box::new(OutputError),
        Objective::Diagonal => Box::new(NoWagLoss),
        Objective::Full => Box::new(FullOutputError {
            shrinkage: options.shrinkage,
            row_weighting: rows.unwrap_or(RowWeighting::Uniform),
        }),
    }
}

/// Runs `body` on a pool of so many threads, or on the current one for 0.
fn in_pool<R: Send>(threads: usize, body: impl FnOnce() -> Result<R, Error> + Send) -> Result<R, Error> {
    if threads == 0 {
        pool::start()?;
        return body();
    }
    let pool = rayon::ThreadPoolBuilder::new()
        .num_threads(threads)
        .build()
        .map_err(|error| Error::Threads { threads, reason: error.to_string() })?;
    pool.install(body)
}
