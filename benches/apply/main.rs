//! Packed layers against dense ones, side by side in one run: products with 1, 4, 16 and 128 vectors on one and two
//! threads, and how near they come to the machine's read bandwidth, measured in between.
//!
//! `cargo bench --bench apply` prints tables and writes `target/performance/apply.csv`. Arguments `ROWS COLS` measure
//! one shape alone, `ROWS COLS BATCH…` some batches of it, `--threads=4,8` other numbers of threads.

#[path = "../common/mod.rs"]
mod common;
mod dense;
mod factors;

use std::fs;
use std::hint::black_box;
use std::time::Instant;

use armor_core::{PackedFactorization, Precision};
use common::median;
use dense::{Dense, Lines, by_faer};
use factors::random_factors;
use ndarray::Array2;
use pulp::Simd;
use rayon::prelude::*;

const SHAPES: [(usize, usize); 5] = [(4096, 4096), (11008, 4096), (4096, 11008), (14336, 4096), (5120, 13824)];
const BLOCK: usize = 128;
const BATCHES: [usize; 4] = [1, 4, 16, 128];
const PRECISIONS: [Precision; 2] = [Precision::F32, Precision::Bf16];

/// A layer in every form.
struct Layer {
    rows: usize,
    cols: usize,
    weight: Vec<f32>,
    dense: [Dense; 2],
    packed: [PackedFactorization; 2],
    /// Memory that no cache holds, to be read.
    buffer: Lines,
}

impl Layer {
    fn new(rows: usize, cols: usize) -> Self {
        let factors = random_factors(rows, cols, BLOCK);
        let weight: Vec<f32> = (0..rows * cols).map(|i| (i * 37 % 101) as f32 / 50.0 - 1.0).collect();
        let dense = PRECISIONS.map(|precision| Dense::new(rows, cols, precision, |i, j| weight[i * cols + j]));
        let packed = PRECISIONS.map(|precision| PackedFactorization::new(&factors, precision).expect("fits"));
        Layer { rows, cols, weight, dense, packed, buffer: Lines::new(256 << 20) }
    }
}

/// Medians of one shape, batch and number of threads: seconds, and bytes a second.
struct Row {
    shape: (usize, usize),
    threads: usize,
    batch: usize,
    bandwidth: f64,
    faer: f64,
    /// By precision: dense, core alone, with wrappers.
    seconds: [[f64; 3]; 2],
    /// By precision: dense, with wrappers.
    bytes: [[usize; 2]; 2],
}

fn main() {
    let sizes: Vec<usize> = std::env::args().filter_map(|argument| argument.parse().ok()).collect();
    let shapes = if let &[rows, cols, ..] = sizes.as_slice() { vec![(rows, cols)] } else { SHAPES.to_vec() };
    let batches = if sizes.len() > 2 { &sizes[2..] } else { &BATCHES };
    if std::env::args().any(|argument| argument == "--test") {
        return;
    }
    let threads = std::env::args().find_map(|argument| {
        argument.strip_prefix("--threads=").map(|list| list.split(',').filter_map(|count| count.parse().ok()).collect())
    });
    let threads: Vec<usize> = threads.unwrap_or_else(|| vec![1, 2]);
    let mut table = Vec::new();
    for (rows, cols) in shapes {
        let layer = Layer::new(rows, cols);
        for &threads in &threads {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().expect("threads");
            for &batch in batches {
                let row = pool.install(|| measure(&layer, threads, batch));
                print(&row);
                table.push(row);
            }
        }
    }
    write(&table);
}

fn measure(layer: &Layer, threads: usize, batch: usize) -> Row {
    let Layer { rows, cols, .. } = *layer;
    let rounds = if batch == 128 { 5 } else { 15 };
    let x = Array2::from_shape_fn((batch, cols), |(i, j)| ((i * 7 + j * 3) % 11) as f32 - 5.0);
    // An odd number of cache lines from one vector to the next, as in the packed layers' own memory.
    let stride = cols + 16;
    let mut apart = vec![0.0; batch * stride];
    for (row, apart) in x.rows().into_iter().zip(apart.chunks_exact_mut(stride)) {
        apart[..cols].copy_from_slice(row.as_slice().expect("contiguous"));
    }
    let (mut y, mut flat) = (Array2::zeros((batch, rows)), vec![0.0; batch * rows]);
    let mut scratch = vec![0.0; layer.packed[0].scratch_len(batch)];
    let mut times: [Vec<f64>; 10] = Default::default();
    for _ in 0..rounds {
        times[0].push(seconds(|| read(&layer.buffer)));
        let inputs = x.as_slice().expect("contiguous");
        times[1].push(seconds(|| by_faer(&layer.weight, cols, inputs, &mut flat, threads)));
        for (index, packed) in layer.packed.iter().enumerate() {
            for (slot, ahead) in [(2 + 3 * index, false), (8 + index, true)] {
                times[slot].push(seconds(|| layer.dense[index].multiply(&apart, stride, &mut flat, ahead)));
            }
            let core = || packed.apply_core(x.view(), y.view_mut(), &mut scratch).expect("fits");
            times[3 + 3 * index].push(seconds(core));
            let whole = || packed.apply_batch_into(x.view(), y.view_mut(), &mut scratch).expect("fits");
            times[4 + 3 * index].push(seconds(whole));
        }
    }
    let [bandwidth, faer, a, b, c, d, e, f, ahead @ ..] = times.map(median);
    let bytes = [0, 1].map(|index| [layer.dense[index].bytes(), layer.packed[index].bytes().total()]);
    let bandwidth = layer.buffer.bytes() as f64 / bandwidth;
    // Some processors read dense rows faster when they are asked ahead, some without: the faster counts.
    let seconds = [[a.min(ahead[0]), b, c], [d.min(ahead[1]), e, f]];
    Row { shape: (rows, cols), threads, batch, bandwidth, faer, seconds, bytes }
}

fn seconds(work: impl FnOnce()) -> f64 {
    let start = Instant::now();
    work();
    start.elapsed().as_secs_f64()
}

/// Reads memory on all threads, in runs as long as a strip.
fn read(buffer: &Lines) {
    struct Sum<'a>(&'a [f32]);
    impl pulp::WithSimd for Sum<'_> {
        type Output = f32;

        #[inline(always)]
        fn with_simd<S: Simd>(self, simd: S) -> f32 {
            let mut sums = [simd.splat_f32s(0.0); 8];
            let (vectors, _) = S::as_simd_f32s(self.0);
            for eight in vectors.chunks_exact(8) {
                for (sum, &vector) in sums.iter_mut().zip(eight) {
                    *sum = simd.add_f32s(*sum, vector);
                }
            }
            let total = sums.iter().fold(simd.splat_f32s(0.0), |total, &sum| simd.add_f32s(total, sum));
            simd.reduce_sum_f32s(total)
        }
    }
    let arch = pulp::Arch::new();
    let total: f32 = buffer.floats().par_chunks(1 << 16).map(|part| arch.dispatch(Sum(part))).sum();
    black_box(total);
}

fn print(row: &Row) {
    let (rows, cols) = row.shape;
    println!(
        "\n{rows} × {cols}, batch {}, threads {}: read bandwidth {:.1} GB/s, faer f32 {:.3} ms\n",
        row.batch,
        row.threads,
        row.bandwidth / 1e9,
        1e3 * row.faer
    );
    println!("| | dense ms | core ms | ours ms | ours, of the bandwidth | over dense | its limit | over faer f32 |");
    println!("|---|---|---|---|---|---|---|---|");
    for (index, precision) in PRECISIONS.iter().enumerate() {
        let ([dense, core, ours], [dense_bytes, bytes]) = (row.seconds[index], row.bytes[index]);
        println!(
            "| {precision} | {:.3} | {:.3} | {:.3} | {:.2} | {:.2} | {:.2} | {:.2} |",
            1e3 * dense,
            1e3 * core,
            1e3 * ours,
            bytes as f64 / ours / row.bandwidth,
            dense / ours,
            dense_bytes as f64 / bytes as f64,
            row.faer / ours
        );
    }
}

fn write(table: &[Row]) {
    let mut csv = String::from("rows,cols,threads,batch,precision,bandwidth,faer,dense,core,ours,bytes,dense_bytes\n");
    for row in table {
        for (index, precision) in PRECISIONS.iter().enumerate() {
            let ((rows, cols), [dense, core, ours], [dense_bytes, bytes]) =
                (row.shape, row.seconds[index], row.bytes[index]);
            csv.push_str(&format!(
                "{rows},{cols},{},{},{precision},{},{},{dense},{core},{ours},{bytes},{dense_bytes}\n",
                row.threads, row.batch, row.bandwidth, row.faer
            ));
        }
    }
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/target/performance");
    match fs::create_dir_all(folder).and_then(|()| fs::write(format!("{folder}/apply.csv"), csv)) {
        Ok(()) => println!("\nwrote target/performance/apply.csv"),
        Err(error) => eprintln!("target/performance/apply.csv: {error}"),
    }
}
