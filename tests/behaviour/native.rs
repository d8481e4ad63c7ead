//! The crate itself.

use std::ops::ControlFlow;
use std::time::Duration;

use armor_core::{
    Descent, Element, Error, Factorization, Hessian, HessianAccumulator, HessianKind, Layer, Objective, Options,
    PackedFactorization, Pattern, Phase, Precision, Weight,
};
use ndarray::{ArrayView1, ArrayView2, ArrayViewMut2};
use rayon::{ThreadPool, ThreadPoolBuilder};

use crate::suite::library::{Change, Input, Kind, Library, Moment, Parts, Preset, Refusal, Seen};

pub struct Native;

impl From<Error> for Refusal {
    fn from(error: Error) -> Self {
        let kind = match &error {
            Error::EmptyWeight { .. }
            | Error::ColumnsNotMultiple { .. }
            | Error::HessianLength { .. }
            | Error::Inputs { .. }
            | Error::HessianKind { .. }
            | Error::NoTokens
            | Error::Length { .. } => Kind::Shape,
            Error::WeightNotFinite { .. } | Error::HessianNotFinite { .. } | Error::Activation { .. } => {
                Kind::NotFinite
            }
            Error::HessianNegative { .. } => Kind::Negative,
            Error::Pattern { .. } | Error::Option { .. } => Kind::Option,
            Error::Bytes { .. } => Kind::Bytes,
            Error::HessianAsymmetric { .. } => Kind::Asymmetric,
            Error::HessianNotFull { .. } => Kind::NotFull,
            Error::MemoryLimit { .. } => Kind::MemoryLimit,
            _ => Kind::Other,
        };
        Refusal { kind, message: error.to_string() }
    }
}

/// Evaluates an expression for the view of a [`Weight`].
macro_rules! with_view {
    ($weight:expr, $view:ident => $body:expr) => {
        match $weight {
            Weight::F32($view) => $body,
            Weight::F64($view) => $body,
            Weight::F16($view) => $body,
            Weight::Bf16($view) => $body,
            other => unreachable!("{other:?} is of a type that no property uses"),
        }
    };
}

/// Reads the part of the Hessian that the objective needs.
fn hessian(moment: &Moment<'_>, objective: Objective) -> Result<Hessian, Error> {
    fn full<T: Element>(full: &ArrayView2<'_, T>, objective: Objective) -> Result<Hessian, Error> {
        match objective {
            Objective::Full => Hessian::from_full(full),
            _ => Hessian::from_diagonal_of(full),
        }
    }
    match moment {
        Moment::Identity(len) => Ok(Hessian::identity(*len)),
        Moment::Diagonal(row) => with_view!(row, view => Hessian::from_diagonal(&view.row(0))),
        Moment::Full(matrix) => with_view!(matrix, view => full(view, objective)),
    }
}

fn layer<'a>(input: &Input<'a>, objective: Objective) -> Result<Layer<'a>, Error> {
    Layer::new(input.weight.clone(), hessian(&input.hessian, objective)?)
}

/// Converts seconds to a time budget; the shortest one above zero is a nanosecond.
fn time_budget(seconds: f64) -> Option<Duration> {
    let budget = || Duration::try_from_secs_f64(seconds).unwrap_or(Duration::MAX);
    match seconds {
        f64::INFINITY => None,
        0.0 => Some(Duration::ZERO),
        _ => Some(budget().max(Duration::from_nanos(1))),
    }
}

/// Sets an option, and returns its name.
fn set(options: &mut Options, change: Change) -> Result<&'static str, Error> {
    let name = match change {
        Change::Method(_) => "method",
        Change::Objective(_) => "objective",
        Change::Shrinkage(_) => "shrinkage",
        Change::RowWeighting(_) => "row_weighting",
        Change::MemoryLimit(_) => "memory_limit",
        Change::LeftBlock(_) => "left_block",
        Change::RightBlock(_) => "right_block",
        Change::Pattern(..) => "pattern",
        Change::Iterations(_) => "iterations",
        Change::TimeBudget(_) => "time_budget",
        Change::Tolerance(_) => "tolerance",
        Change::Patience(_) => "patience",
        Change::Temperature(_) => "temperature",
        Change::MaxExtrapolation(_) => "max_extrapolation",
        Change::LearningRate(_) => "learning_rate",
        Change::Seed(_) => "seed",
        Change::Threads(_) => "threads",
    };
    match change {
        Change::Method(method) => options.method = method,
        Change::Objective(objective) => options.objective = objective,
        Change::Shrinkage(alpha) => options.shrinkage = alpha,
        Change::RowWeighting(weighting) => options.row_weighting = Some(weighting),
        Change::MemoryLimit(bytes) => options.memory_limit = Some(bytes),
        Change::LeftBlock(rows) => options.left_block = rows,
        Change::RightBlock(cols) => options.right_block = cols,
        Change::Pattern(n, m) => options.pattern = Pattern::new(n, m)?,
        Change::Iterations(iterations) => options.iterations = iterations,
        Change::TimeBudget(seconds) => options.time_budget = time_budget(seconds),
        Change::Tolerance(tolerance) => options.tolerance = tolerance,
        Change::Patience(iterations) => options.patience = iterations,
        Change::Temperature(tau) => options.temperature = tau,
        Change::MaxExtrapolation(beta) => options.max_extrapolation = beta,
        Change::LearningRate(rate) => options.learning_rate = rate,
        Change::Seed(seed) => options.seed = seed,
        Change::Threads(threads) => options.threads = threads,
    }
    Ok(name)
}

/// A packed layer, and the threads of its products.
pub struct Packed {
    layer: PackedFactorization,
    pool: Option<ThreadPool>,
}

impl Library for Native {
    type Options = Options;
    type Factorization = Factorization;
    type Accumulator = HessianAccumulator;
    type Packed = Packed;

    fn options(preset: Preset) -> Options {
        match preset {
            Preset::Exact => Options::exact(),
            Preset::Paper => Options::paper(),
        }
    }

    fn change(options: &mut Options, change: Change) -> Result<(), Refusal> {
        let mut changed = options.clone();
        let name = set(&mut changed, change)?;
        match changed.validate() {
            // Whether options fit one another is checked when a run begins.
            Err(error @ Error::Option { name: wrong, .. }) if wrong == name => Err(error.into()),
            _ => {
                *options = changed;
                Ok(())
            }
        }
    }

    fn observe(
        input: &Input<'_>,
        options: &Options,
        observer: &mut (dyn FnMut(Seen) -> bool + Send),
    ) -> Result<Factorization, Refusal> {
        let layer = layer(input, options.objective)?;
        let descent = Descent::new(options)?.observer(|progress| {
            let seen = Seen {
                iteration: progress.iteration,
                iterations: progress.iterations,
                loss: progress.loss,
                best_loss: progress.best_loss,
                seconds: progress.elapsed.as_secs_f64(),
                annealing: progress.phase == Phase::Annealing,
            };
            if observer(seen) { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
        });
        Ok(descent.run(&layer)?)
    }

    fn factorize(input: &Input<'_>, options: &Options) -> Result<Factorization, Refusal> {
        Ok(armor_core::factorize(&layer(input, options.objective)?, options)?)
    }

    fn parts(factorization: &Factorization) -> Parts {
        Parts::of(factorization)
    }

    fn seconds(factorization: &Factorization) -> f64 {
        factorization.elapsed().as_secs_f64()
    }

    fn apply(factorization: &Factorization, x: &[f32]) -> Result<Vec<f32>, Refusal> {
        Ok(factorization.apply(ArrayView1::from(x))?.to_vec())
    }

    fn output_error(factorization: &Factorization, input: &Input<'_>) -> Result<f64, Refusal> {
        Ok(factorization.output_error(&layer(input, Objective::Full)?)?)
    }

    fn to_bytes(factorization: &Factorization, name: &str) -> Vec<u8> {
        factorization.to_safetensors(name).expect("fits")
    }

    fn from_bytes(bytes: &[u8], name: &str) -> Result<Factorization, Refusal> {
        Ok(Factorization::from_safetensors(bytes, name)?)
    }

    fn accumulator(inputs: usize, full: bool) -> HessianAccumulator {
        if full {
            HessianAccumulator::new(inputs, HessianKind::Full)
        } else {
            HessianAccumulator::new(inputs, HessianKind::Diagonal)
        }
    }

    fn add(accumulator: &mut HessianAccumulator, activations: Weight<'_>) -> Result<(), Refusal> {
        with_view!(activations, view => Ok(accumulator.add(&view)?))
    }

    fn merge(accumulator: &mut HessianAccumulator, other: &HessianAccumulator) -> Result<(), Refusal> {
        Ok(accumulator.merge(other)?)
    }

    fn tokens(accumulator: &HessianAccumulator) -> u64 {
        accumulator.tokens()
    }

    fn mean(accumulator: &HessianAccumulator) -> Result<Vec<f32>, Refusal> {
        let hessian = accumulator.hessian()?;
        let rows: Option<Vec<&[f32]>> = (0..hessian.len()).map(|row| hessian.row(row)).collect();
        Ok(match rows {
            Some(rows) => rows.concat(),
            None => hessian.diagonal().iter().map(|&value| value as f32).collect(),
        })
    }

    fn accumulator_to_bytes(accumulator: &HessianAccumulator, name: &str) -> Vec<u8> {
        accumulator.to_safetensors(name).expect("fits")
    }

    fn accumulator_from_bytes(bytes: &[u8], name: &str) -> Result<HessianAccumulator, Refusal> {
        Ok(HessianAccumulator::from_safetensors(bytes, name)?)
    }

    fn pack(factorization: &Factorization, precision: Precision, threads: usize) -> Packed {
        let pool = || ThreadPoolBuilder::new().num_threads(threads).build().expect("threads");
        Packed {
            layer: PackedFactorization::new(factorization, precision).expect("in range"),
            pool: (threads > 0).then(pool),
        }
    }

    fn packed_bytes(packed: &Packed) -> [usize; 3] {
        let bytes = packed.layer.bytes();
        [bytes.left, bytes.core, bytes.right]
    }

    fn multiply(packed: &Packed, x: Weight<'_>, y: ArrayViewMut2<'_, f32>) -> Result<(), Refusal> {
        let mut scratch = vec![f32::NAN; packed.layer.scratch_len(y.nrows())];
        let product = || with_view!(x, view => packed.layer.apply_batch_into(view, y, &mut scratch));
        Ok(match &packed.pool {
            Some(pool) => pool.install(product),
            None => product(),
        }?)
    }
}
