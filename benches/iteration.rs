//! One iteration of the default preset by parts, on one and two threads, against a product on the same threads.
//!
//! `cargo bench --bench iteration` prints criterion's figures for every part and then one table with GFLOP/s, counting
//! 16 · block · m · k flops an iteration, and their ratio to faer's 4096³ product timed in between.

mod common;

use std::cell::{Cell, RefCell};
use std::ops::ControlFlow;
use std::time::{Duration, Instant};

use armor_core::{AnnealedSweep, Descent, Layer, LeastSquares, Options};
use common::{Clock, Parts, Product, TimedSweep, TimedWrappers, flops, hessian, median, trained_like};
use criterion::{BenchmarkId, Criterion, SamplingMode, Throughput};

struct Case {
    rows: usize,
    cols: usize,
    block: usize,
    /// Iterations of one run.
    run: usize,
}

const CASES: [Case; 3] = [
    Case { rows: 1536, cols: 576, block: 64, run: 41 },
    Case { rows: 4096, cols: 4096, block: 128, run: 6 },
    Case { rows: 11008, cols: 4096, block: 128, run: 6 },
];

const THREADS: [usize; 2] = [1, 2];

/// Iterations that are measured of every case at least; criterion's samples go round through them.
const MEASURED: usize = 15;

/// Measured iterations of one case on one number of threads.
#[derive(Default)]
struct Pool {
    iterations: Vec<Parts>,
    product_rates: Vec<f64>,
}

/// A part of an iteration and its seconds.
type Part = (&'static str, fn(&Parts) -> f64);

const PARTS: [Part; 5] = [
    ("left", |parts| parts.left),
    ("right", |parts| parts.right),
    ("core", |parts| parts.core),
    ("sweep", |parts| parts.sweep),
    ("whole", |parts| parts.whole),
];

impl Pool {
    /// Adds one run of a few iterations, the first of which pays for the memory and is left out.
    fn run(&mut self, layer: &Layer<'_>, case: &Case, threads: usize, product: &mut Product) {
        const PRODUCTS: usize = 9;
        if self.product_rates.len() < PRODUCTS {
            self.product_rates.push(product.rate(threads));
        }
        let clock = Clock::default();
        let options = Options::exact().block(case.block).iterations(case.run).threads(threads);
        let mut last = Instant::now();
        let observer_clock = clock.clone();
        Descent::new(&options)
            .expect("the options are sound")
            .wrapper_update(TimedWrappers(clock.clone(), LeastSquares::default()))
            .core_update(TimedSweep(clock.clone(), AnnealedSweep::default()))
            .observer(move |_| {
                observer_clock.finish_iteration(last.elapsed().as_secs_f64());
                last = Instant::now();
                ControlFlow::Continue(())
            })
            .run(layer)
            .expect("the layer is sound");
        let measured = clock.0.lock().expect("the run is over");
        self.iterations.extend(&measured[1..]);
    }

    fn median(&self, seconds: fn(&Parts) -> f64) -> f64 {
        median(self.iterations.iter().map(seconds).collect())
    }
}

fn main() {
    let mut criterion = Criterion::default().configure_from_args();
    let product = RefCell::new(Product::new());
    let mut pools = Vec::new();
    for case in &CASES {
        let (weight, diagonal) = trained_like(case.rows, case.cols);
        let layer = Layer::new(&weight, hessian(&diagonal)).expect("the layer is sound");
        let name = format!("{}x{}/{}", case.rows, case.cols, case.block);
        let mut group = criterion.benchmark_group(&name);
        group.sample_size(10).warm_up_time(Duration::from_millis(1)).measurement_time(Duration::from_secs(1));
        group.sampling_mode(SamplingMode::Flat);
        group.throughput(Throughput::Elements(flops(case.rows, case.cols, case.block) as u64));
        let case_pools = THREADS.map(|_| RefCell::new(Pool::default()));
        for (part, seconds) in PARTS {
            for (threads, pool) in THREADS.into_iter().zip(&case_pools) {
                let taken = Cell::new(0);
                group.bench_with_input(BenchmarkId::new(part, threads), &threads, |bencher, _| {
                    bencher.iter_custom(|count| {
                        while pool.borrow().iterations.len() < MEASURED {
                            // Both numbers of threads in turn, so that they meet the machine in the same mood.
                            for (threads, pool) in THREADS.into_iter().zip(&case_pools) {
                                pool.borrow_mut().run(&layer, case, threads, &mut product.borrow_mut());
                            }
                        }
                        let pool = pool.borrow();
                        let start = taken.get();
                        taken.set(start + count as usize);
                        let all = pool.iterations.iter().map(seconds).cycle();
                        Duration::from_secs_f64(all.skip(start % MEASURED).take(count as usize).sum())
                    });
                });
            }
        }
        group.finish();
        pools.push((case, case_pools));
    }
    criterion.final_summary();
    print_table(&pools);
}

fn print_table(pools: &[(&Case, [RefCell<Pool>; 2])]) {
    println!("\nmedian ms of an iteration; GFLOP/s at 16 · block · m · k; ratio to faer's 4096³ product\n");
    println!(
        "| layer, block | threads | left | right | core | of it sweep | whole | GFLOP/s | product | ratio | speed-up |"
    );
    println!("|---|---|---|---|---|---|---|---|---|---|---|");
    for (case, pools) in pools {
        let one_thread = pools[0].borrow().median(|parts| parts.whole);
        for (threads, pool) in THREADS.iter().zip(pools) {
            let pool = pool.borrow();
            if pool.iterations.is_empty() {
                continue;
            }
            let ms: Vec<String> =
                PARTS.iter().map(|(_, seconds)| format!("{:.2}", 1e3 * pool.median(*seconds))).collect();
            let whole = pool.median(|parts| parts.whole);
            let rate = flops(case.rows, case.cols, case.block) / whole / 1e9;
            let product = median(pool.product_rates.clone());
            println!(
                "| {} × {}, {} | {threads} | {} | {rate:.0} | {product:.0} | {:.2} | {:.2} |",
                case.rows,
                case.cols,
                case.block,
                ms.join(" | "),
                rate / product,
                one_thread / whole
            );
        }
    }
}
