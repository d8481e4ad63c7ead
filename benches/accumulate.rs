//! Accumulating a full Hessian, on one and two threads, against a product on the same threads.
//!
//! `cargo bench --bench accumulate` prints one table: GFLOP/s, counting tokens · k² flops, and their ratio to faer's
//! 4096³ product, timed in between.

mod common;

use std::time::Instant;

use armor_core::{Element, HessianAccumulator, HessianKind};
use common::{Product, activations, median};
use half::bf16;
use ndarray::Array2;
use rayon::{ThreadPool, ThreadPoolBuilder};

const INPUTS: [usize; 3] = [576, 1536, 4096];
const THREADS: [usize; 2] = [1, 2];
const TOKENS: usize = 2048;
const TURNS: usize = 5;

/// Seconds of one call.
fn seconds<T: Element>(activations: &Array2<T>, accumulator: &mut HessianAccumulator, pool: &ThreadPool) -> f64 {
    pool.install(|| {
        let start = Instant::now();
        accumulator.add(activations).expect("the activations are sound");
        start.elapsed().as_secs_f64()
    })
}

fn main() {
    let mut product = Product::new();
    println!("GFLOP/s at tokens · k², {TOKENS} tokens a call, medians of {TURNS}; ratio to faer's 4096³ product\n");
    println!("| k | input | threads | ms a call | GFLOP/s | product | ratio |");
    println!("|---|---|---|---|---|---|---|");
    for inputs in INPUTS {
        let single = activations(TOKENS, inputs);
        let brain = single.mapv(bf16::from_f32);
        let mut accumulator = HessianAccumulator::new(inputs, HessianKind::Full);
        for threads in THREADS {
            let pool = ThreadPoolBuilder::new().num_threads(threads).build().expect("the threads start");
            let (mut rates, mut brains, mut singles) = (Vec::new(), Vec::new(), Vec::new());
            for _ in 0..TURNS {
                rates.push(product.rate(threads));
                // The first call ever pays for the memory, and the product has emptied the caches.
                seconds(&brain, &mut accumulator, &pool);
                brains.push(seconds(&brain, &mut accumulator, &pool));
                singles.push(seconds(&single, &mut accumulator, &pool));
            }
            let product = median(rates);
            for (name, seconds) in [("bf16", median(brains)), ("f32", median(singles))] {
                let rate = TOKENS as f64 * (inputs as f64).powi(2) / seconds / 1e9;
                println!(
                    "| {inputs} | {name} | {threads} | {:.1} | {rate:.0} | {product:.0} | {:.2} |",
                    1e3 * seconds,
                    rate / product
                );
            }
        }
    }
}
