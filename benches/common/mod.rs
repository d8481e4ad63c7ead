//! What the benches share: layers, the machine's own rate, timed parts, memory.

#![allow(dead_code, reason = "every bench uses its own part")]

use std::fs;
use std::ops::ControlFlow;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use armor_core::bench::SweepTimes;
use armor_core::{
    AnnealedSweep, BoxError, CoreUpdate, Descent, Hessian, Layer, LeastSquares, Options, State, Step, WrapperUpdate,
};
use faer::linalg::matmul::matmul;
use faer::{Accum, MatMut, MatRef, Par};
use half::f16;
use ndarray::{Array1, Array2};
use safetensors::SafeTensors;

/// A generator of the benches' own, so the layers never change with a dependency.
pub struct Random(pub u64);

impl Random {
    pub fn uniform(&mut self) -> f64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((z ^ (z >> 31)) >> 11) as f64 / (1u64 << 53) as f64
    }

    pub fn normal(&mut self) -> f64 {
        (0..4).map(|_| self.uniform()).sum::<f64>() * 3f64.sqrt() - 12f64.sqrt()
    }
}

/// A layer with the structure of a trained one: a weight of `rows` × `cols` and its Hessian's diagonal.
///
/// Half the energy is Gaussian noise, half a product of rank 64 whose singular values fall like 1/√r; rows and columns
/// have log-normal scales (σ 0.3), and so have the inputs (σ 1), of which one in a hundred is ten times as strong.
pub fn trained_like(rows: usize, cols: usize) -> (Array2<f32>, Array1<f32>) {
    const RANK: usize = 64;
    let mut random = Random((rows as u64) << 32 | cols as u64);
    let mut scales = |count: usize| -> Vec<f64> { (0..count).map(|_| (0.3 * random.normal()).exp()).collect() };
    let (row_scales, col_scales) = (scales(rows), scales(cols));
    let falling: Vec<f64> = (1..=RANK).map(|r| 1.0 / (r as f64).sqrt()).collect();
    let norm = falling.iter().map(|s| s * s).sum::<f64>().sqrt();
    let left = Array2::from_shape_fn((rows, RANK), |(_, r)| (random.normal() * falling[r] / norm) as f32);
    let right = Array2::from_shape_fn((RANK, cols), |_| random.normal() as f32);
    let mut weight = left.dot(&right);
    for ((i, j), value) in weight.indexed_iter_mut() {
        let noise = random.normal() as f32;
        *value = 0.02 * (*value + noise) * (row_scales[i] * col_scales[j]) as f32;
    }
    let diagonal = Array1::from_shape_fn(cols, |_| {
        let strong = if random.uniform() < 0.01 { 100.0 } else { 1.0 };
        (strong * (2.0 * random.normal()).exp()) as f32
    });
    (weight, diagonal)
}

const SHIPPED: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/examples/data/smollm2-135m-layer10-gate_proj.safetensors");

/// The layer that ships with the repository: its weight and its whole Hessian.
pub fn shipped_layer() -> (Array2<f16>, Array2<f32>) {
    let bytes = fs::read(SHIPPED).expect("the layer ships with the repository");
    let file = SafeTensors::deserialize(&bytes).expect("the file is whole");
    let tensor = |end: &str| {
        let name = file.names().into_iter().find(|name| name.ends_with(end)).expect("the file has both tensors");
        file.tensor(name).expect("the name is the file's own")
    };
    let (weight, hessian) = (tensor(".weight"), tensor(".hessian"));
    let halves = weight.data().as_chunks::<2>().0.iter().map(|&bytes| f16::from_le_bytes(bytes)).collect();
    let weight = Array2::from_shape_vec((weight.shape()[0], weight.shape()[1]), halves).expect("the shape fits");
    let entries = hessian.data().as_chunks::<4>().0.iter().map(|&bytes| f32::from_le_bytes(bytes)).collect();
    let full = Array2::from_shape_vec((hessian.shape()[0], hessian.shape()[1]), entries).expect("the shape fits");
    (weight, full)
}

pub fn hessian(diagonal: &Array1<f32>) -> Hessian {
    Hessian::from_diagonal(diagonal).expect("the diagonal is sound")
}

/// Activations of `tokens` × `inputs`: Gaussian, one input in a hundred ten times as strong.
pub fn activations(tokens: usize, inputs: usize) -> Array2<f32> {
    let mut random = Random(tokens as u64 ^ (inputs as u64) << 32);
    let scales: Vec<f64> = (0..inputs).map(|_| if random.uniform() < 0.01 { 10.0 } else { 1.0 }).collect();
    Array2::from_shape_fn((tokens, inputs), |(_, j)| (scales[j] * random.normal()) as f32)
}

/// A full Hessian with this diagonal: half of every input's energy is its own, half comes from 64 shared directions.
pub fn full_hessian(diagonal: &Array1<f32>) -> Hessian {
    const RANK: usize = 64;
    let k = diagonal.len();
    let mut random = Random(k as u64);
    let mut shared = Array2::from_shape_fn((k, RANK), |_| random.normal() as f32);
    for (mut row, d) in shared.rows_mut().into_iter().zip(diagonal) {
        let norm = row.dot(&row).sqrt();
        row.mapv_inplace(|x| x / norm * (0.5 * d).sqrt());
    }
    let mut full = shared.dot(&shared.t());
    for (entry, &d) in full.diag_mut().iter_mut().zip(diagonal) {
        *entry = d;
    }
    Hessian::from_full(&full).expect("the Hessian is sound")
}

/// Flops that are counted for an iteration: 16 · block · m · k, eight dense products of a block.
pub fn flops(rows: usize, cols: usize, block: usize) -> f64 {
    16.0 * block as f64 * rows as f64 * cols as f64
}

/// A product of two 4096 × 4096 f32 matrices by faer: the rate that everything is measured against.
pub struct Product {
    lhs: Vec<f32>,
    rhs: Vec<f32>,
    out: Vec<f32>,
}

impl Product {
    const SIZE: usize = 4096;

    pub fn new() -> Self {
        let values = |seed| {
            let mut random = Random(seed);
            (0..Self::SIZE * Self::SIZE).map(|_| random.uniform() as f32).collect()
        };
        Product { lhs: values(1), rhs: values(2), out: vec![0.0; Self::SIZE * Self::SIZE] }
    }

    /// GFLOP/s of one run on this many threads.
    pub fn rate(&mut self, threads: usize) -> f64 {
        let n = Self::SIZE;
        let par = if threads == 1 { Par::Seq } else { Par::rayon(threads) };
        let (lhs, rhs) = (MatRef::from_row_major_slice(&self.lhs, n, n), MatRef::from_row_major_slice(&self.rhs, n, n));
        let start = Instant::now();
        matmul(MatMut::from_row_major_slice_mut(&mut self.out, n, n), Accum::Replace, lhs, rhs, 1.0, par);
        2.0 * (n as f64).powi(3) / start.elapsed().as_secs_f64() / 1e9
    }
}

/// Seconds of one iteration's parts.
#[derive(Clone, Copy, Debug, Default)]
pub struct Parts {
    pub left: f64,
    pub right: f64,
    /// The whole core update.
    pub core: f64,
    /// Its share that is no gradient product: random numbers, solves, and what a solved row changes.
    pub sweep: f64,
    pub whole: f64,
}

/// The default preset's updates with a clock.
#[derive(Clone, Default)]
pub struct Clock(pub Arc<Mutex<Vec<Parts>>>);

pub struct TimedWrappers(pub Clock, pub LeastSquares);
pub struct TimedSweep(pub Clock, pub AnnealedSweep);

impl Clock {
    /// Changes the parts of the iteration under way.
    fn with_last(&self, change: impl FnOnce(&mut Parts)) {
        if let Some(last) = self.0.lock().expect("no thread panics with the clock").last_mut() {
            change(last);
        }
    }
}

impl WrapperUpdate for TimedWrappers {
    fn update(&mut self, state: &mut State<'_>, _step: &Step) -> Result<(), BoxError> {
        let start = Instant::now();
        self.1.update_left(state);
        let left = start.elapsed();
        self.1.update_right(state);
        let right = start.elapsed() - left;
        let parts = Parts { left: left.as_secs_f64(), right: right.as_secs_f64(), ..Parts::default() };
        self.0.0.lock().expect("no thread panics with the clock").push(parts);
        Ok(())
    }

    fn is_monotone(&self) -> bool {
        self.1.is_monotone()
    }

    fn allows_extrapolation(&self) -> bool {
        self.1.allows_extrapolation()
    }
}

impl CoreUpdate for TimedSweep {
    fn update(&mut self, state: &mut State<'_>, step: &Step) -> Result<(), BoxError> {
        let start = Instant::now();
        self.1.update(state, step)?;
        let core = start.elapsed().as_secs_f64();
        let SweepTimes { gradient, sweep, .. } = self.1.times();
        let share = |part: Duration| part.as_secs_f64() / (gradient + sweep).as_secs_f64();
        self.0.with_last(|parts| (parts.core, parts.sweep) = (core, core * share(sweep)));
        Ok(())
    }

    fn is_monotone(&self) -> bool {
        self.1.is_monotone()
    }

    fn allows_extrapolation(&self) -> bool {
        self.1.allows_extrapolation()
    }

    fn anneals(&self) -> bool {
        self.1.anneals()
    }
}

impl Clock {
    pub fn finish_iteration(&self, seconds: f64) {
        self.with_last(|parts| parts.whole = seconds);
    }
}

/// Seconds of every iteration of a run but the first, which pays for the memory.
pub fn seconds_of_iterations(layer: &Layer<'_>, options: &Options) -> Vec<f64> {
    let mut seconds = Vec::new();
    let mut last = Instant::now();
    Descent::new(options)
        .expect("the options are sound")
        .observer(|_| {
            seconds.push(last.elapsed().as_secs_f64());
            last = Instant::now();
            ControlFlow::Continue(())
        })
        .run(layer)
        .expect("the layer is sound");
    seconds.remove(0);
    seconds
}

pub fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    let middle = values.len() / 2;
    if values.is_empty() {
        f64::NAN
    } else if values.len() % 2 == 1 {
        values[middle]
    } else {
        (values[middle - 1] + values[middle]) / 2.0
    }
}

/// Forgets the largest memory this process has had, where the system can; Linux can.
pub fn reset_peak_memory() {
    let _ = fs::write("/proc/self/clear_refs", "5");
}

/// Largest resident memory since then, in bytes; `None` where the system does not say.
pub fn peak_memory() -> Option<f64> {
    let status = fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    Some(line.trim().strip_suffix(" kB")?.parse::<f64>().ok()? * 1024.0)
}
