//! Seconds of an iteration and peak memory of a run against the size of the layer, block 128, two threads.
//!
//! `cargo bench --bench scaling` prints criterion's figures and a table, and writes `target/performance/scaling.csv`.

mod common;

use std::cell::{Cell, RefCell};
use std::fs;
use std::time::Duration;

use armor_core::{Layer, Options};
use common::{hessian, median, peak_memory, reset_peak_memory, seconds_of_iterations, trained_like};
use criterion::{BenchmarkId, Criterion, SamplingMode, Throughput};

const SIZES: [(usize, usize); 9] = [
    (512, 512),
    (1024, 512),
    (1024, 1024),
    (2048, 1024),
    (2048, 2048),
    (4096, 2048),
    (4096, 4096),
    (8192, 4096),
    (8192, 8192),
];
const BLOCK: usize = 128;
const THREADS: usize = 2;

/// One size, measured.
struct Row {
    rows: usize,
    cols: usize,
    seconds: f64,
    /// Bytes at the peak over those of the weight in f32; the weight itself counts.
    memory: Option<f64>,
}

fn main() {
    let mut criterion = Criterion::default().configure_from_args();
    let mut group = criterion.benchmark_group("scaling");
    group.sample_size(10).warm_up_time(Duration::from_millis(1)).measurement_time(Duration::from_secs(1));
    group.sampling_mode(SamplingMode::Flat);
    let mut table = Vec::new();
    for (rows, cols) in SIZES {
        let (weight, diagonal) = trained_like(rows, cols);
        let layer = Layer::new(&weight, hessian(&diagonal)).expect("the layer is sound");
        let memory = memory_of_a_run(&layer).map(|bytes| 1.0 + bytes / (4 * rows * cols) as f64);
        let (pool, taken) = (RefCell::new(Vec::new()), Cell::new(0));
        group.throughput(Throughput::Elements((rows * cols) as u64));
        group.bench_function(BenchmarkId::from_parameter(format!("{rows}x{cols}")), |bencher| {
            bencher.iter_custom(|count| {
                let mut pool = pool.borrow_mut();
                let (start, end) = (taken.get(), taken.get() + count as usize);
                while pool.len() < end {
                    pool.extend(run(&layer));
                }
                taken.set(end);
                Duration::from_secs_f64(pool[start..end].iter().sum())
            });
        });
        let seconds = median(pool.into_inner());
        table.push(Row { rows, cols, seconds, memory });
    }
    group.finish();
    criterion.final_summary();
    report(&table);
}

/// Bytes that a run needs at its peak, the weight not counted.
fn memory_of_a_run(layer: &Layer<'_>) -> Option<f64> {
    reset_peak_memory();
    let before = peak_memory()?;
    run(layer);
    Some(peak_memory()? - before)
}

/// Seconds of a few iterations.
fn run(layer: &Layer<'_>) -> Vec<f64> {
    seconds_of_iterations(layer, &Options::exact().block(BLOCK).threads(THREADS).iterations(5))
}

fn report(table: &[Row]) {
    println!("\n| m × k | ms an iteration | ns an entry | peak memory over the f32 weight |\n|---|---|---|---|");
    let mut csv = String::from("rows,cols,seconds,memory\n");
    for Row { rows, cols, seconds, memory } in table.iter().filter(|row| row.seconds.is_finite()) {
        let nanoseconds = 1e9 * seconds / (rows * cols) as f64;
        let memory = memory.map_or("unknown".to_owned(), |ratio| format!("{ratio:.2}"));
        println!("| {rows} × {cols} | {:.2} | {nanoseconds:.2} | {memory} |", 1e3 * seconds);
        csv.push_str(&format!("{rows},{cols},{seconds},{memory}\n"));
    }
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/target/performance");
    let written = fs::create_dir_all(folder).and_then(|()| fs::write(format!("{folder}/scaling.csv"), csv));
    match written {
        Ok(()) => println!("wrote target/performance/scaling.csv"),
        Err(error) => eprintln!("target/performance/scaling.csv: {error}"),
    }
}
