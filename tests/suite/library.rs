//! What every way to the library can do.

use armor_core::{Factorization, Method, Objective, Precision, RowWeighting, Weight};
use ndarray::{Array2, Array3, ArrayViewMut2};

/// A way to call the library.
pub trait Library {
    type Options: Sync;
    type Factorization: Sync;
    type Accumulator;
    type Packed: Sync;

    fn options(preset: Preset) -> Self::Options;

    /// Changes one option. A value outside its range changes nothing.
    fn change(options: &mut Self::Options, change: Change) -> Result<(), Refusal>;

    /// Factorises a layer, and calls `observer` after every iteration; `false` cancels the run.
    fn observe(
        layer: &Input<'_>,
        options: &Self::Options,
        observer: &mut (dyn FnMut(Seen) -> bool + Send),
    ) -> Result<Self::Factorization, Refusal>;

    fn factorize(layer: &Input<'_>, options: &Self::Options) -> Result<Self::Factorization, Refusal>;

    fn parts(factorization: &Self::Factorization) -> Parts;

    fn seconds(factorization: &Self::Factorization) -> f64;

    fn apply(factorization: &Self::Factorization, x: &[f32]) -> Result<Vec<f32>, Refusal>;

    fn output_error(factorization: &Self::Factorization, layer: &Input<'_>) -> Result<f64, Refusal>;

    fn to_bytes(factorization: &Self::Factorization, name: &str) -> Vec<u8>;

    fn from_bytes(bytes: &[u8], name: &str) -> Result<Self::Factorization, Refusal>;

    fn accumulator(inputs: usize, full: bool) -> Self::Accumulator;

    fn add(accumulator: &mut Self::Accumulator, activations: Weight<'_>) -> Result<(), Refusal>;

    fn merge(accumulator: &mut Self::Accumulator, other: &Self::Accumulator) -> Result<(), Refusal>;

    fn tokens(accumulator: &Self::Accumulator) -> u64;

    /// Returns the Hessian row by row, or its diagonal.
    fn mean(accumulator: &Self::Accumulator) -> Result<Vec<f32>, Refusal>;

    fn accumulator_to_bytes(accumulator: &Self::Accumulator, name: &str) -> Vec<u8>;

    fn accumulator_from_bytes(bytes: &[u8], name: &str) -> Result<Self::Accumulator, Refusal>;

    /// Packs a factorisation for products on this number of threads; 0 means the threads of the process.
    fn pack(factorization: &Self::Factorization, precision: Precision, threads: usize) -> Self::Packed;

    /// Returns the bytes of the left wrapper, of the core and of the right wrapper.
    fn packed_bytes(packed: &Self::Packed) -> [usize; 3];

    /// Multiplies every row of x, and writes the rows of y, which may lie apart.
    fn multiply(packed: &Self::Packed, x: Weight<'_>, y: ArrayViewMut2<'_, f32>) -> Result<(), Refusal>;

    /// Creates the options of a preset with changes that are in range.
    fn changed(preset: Preset, changes: &[Change]) -> Self::Options {
        let mut options = Self::options(preset);
        for &change in changes {
            Self::change(&mut options, change).unwrap_or_else(|refusal| panic!("{change:?}: {refusal:?}"));
        }
        options
    }
}

#[derive(Clone, Copy, Debug)]
pub enum Preset {
    Exact,
    Paper,
}

/// A new value of one option.
#[derive(Clone, Copy, Debug)]
pub enum Change {
    Method(Method),
    Objective(Objective),
    Shrinkage(f64),
    RowWeighting(RowWeighting),
    MemoryLimit(usize),
    LeftBlock(usize),
    RightBlock(usize),
    Pattern(usize, usize),
    Iterations(usize),
    /// Seconds; infinity is no limit.
    TimeBudget(f64),
    Tolerance(f64),
    Patience(usize),
    Temperature(f64),
    MaxExtrapolation(f64),
    LearningRate(f64),
    Seed(u64),
    Threads(usize),
}

/// A weight and the Hessian of its inputs. The entries of a row are neighbours; rows may lie apart.
pub struct Input<'a> {
    pub weight: Weight<'a>,
    pub hessian: Moment<'a>,
}

pub enum Moment<'a> {
    /// Of this number of inputs.
    Identity(usize),
    /// A matrix of one row.
    Diagonal(Weight<'a>),
    Full(Weight<'a>),
}

/// What an observer sees of an iteration.
#[derive(Clone, Copy, Debug)]
pub struct Seen {
    pub iteration: usize,
    pub iterations: usize,
    pub loss: f64,
    pub best_loss: f64,
    pub seconds: f64,
    pub annealing: bool,
}

/// Everything that can be read of a factorisation, except its time.
#[derive(Debug, PartialEq)]
pub struct Parts {
    pub pattern: (usize, usize),
    /// Blocks × p × p.
    pub left: Array3<f32>,
    /// Blocks × q × q.
    pub right: Array3<f32>,
    pub core: Array2<f32>,
    pub values: Array2<f32>,
    pub bitmask: Array2<u8>,
    pub product: Array2<f32>,
    pub history: Vec<f64>,
    pub losses: [f64; 2],
    pub ridge: f64,
    pub dead_inputs: usize,
    pub overhead: f64,
    pub iterations: usize,
    pub stop_reason: String,
    /// With values of 4 and of 2 bytes.
    pub stored_bytes: [usize; 2],
}

impl Parts {
    /// Reads a factorisation of the crate.
    pub fn of(factorization: &Factorization) -> Self {
        let (left, core, right) = (factorization.left(), factorization.core(), factorization.right());
        Parts {
            pattern: (core.pattern().n(), core.pattern().m()),
            left: left.to_padded(),
            right: right.to_padded(),
            core: core.to_dense(),
            values: core.to_compressed(),
            bitmask: core.to_bitmask(),
            product: factorization.reconstruct(),
            history: factorization.history().to_vec(),
            losses: [factorization.loss(), factorization.nowag_p_loss()],
            ridge: factorization.ridge(),
            dead_inputs: factorization.dead_inputs(),
            overhead: factorization.overhead(),
            iterations: factorization.iterations(),
            stop_reason: factorization.stop_reason().as_str().to_owned(),
            stored_bytes: [4, 2].map(|bytes| factorization.stored_bytes(bytes)),
        }
    }

    /// Asserts that all numbers have the same bits.
    #[track_caller]
    pub fn assert_same_bits(&self, other: &Self) {
        // Equal numbers have equal bits, but for zeros and what compares unequal anyway.
        assert_eq!(self, other);
        assert_eq!(self.float_bits(), other.float_bits());
    }

    fn float_bits(&self) -> Vec<u64> {
        let matrices = [&self.core, &self.values, &self.product].into_iter().flatten();
        let floats = self.left.iter().chain(&self.right).chain(matrices).map(|value| value.to_bits().into());
        let doubles = self.history.iter().chain(&self.losses).chain([&self.ridge, &self.overhead]);
        floats.chain(doubles.map(|value| value.to_bits())).collect()
    }
}

/// Why a call was refused.
#[derive(Clone, Debug, PartialEq)]
pub struct Refusal {
    pub kind: Kind,
    pub message: String,
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Kind {
    Shape,
    NotFinite,
    Negative,
    Option,
    Bytes,
    Asymmetric,
    NotFull,
    MemoryLimit,
    /// A kind that no property expects.
    Other,
}

#[track_caller]
pub fn assert_refused<T>(result: Result<T, Refusal>, kind: Kind, message: &str) {
    let refusal = result.err().unwrap_or_else(|| panic!("must be refused: {message}"));
    assert_eq!(refusal, Refusal { kind, message: message.to_owned() });
}

/// Asserts only how the message begins.
#[track_caller]
pub fn assert_refused_like<T>(result: Result<T, Refusal>, kind: Kind, beginning: &str) {
    let refusal = result.err().unwrap_or_else(|| panic!("must be refused: {beginning}"));
    assert_eq!(refusal.kind, kind, "{}", refusal.message);
    assert!(refusal.message.starts_with(beginning), "{} for {beginning}", refusal.message);
}

/// Unwraps a result that must not be refused.
#[track_caller]
pub fn done<T>(result: Result<T, Refusal>) -> T {
    result.unwrap_or_else(|refusal| panic!("{refusal:?}"))
}
