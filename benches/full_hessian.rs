//! An iteration of the full objective beside the diagonal one's, against the time that its flops take at the rate of a
//! large product in the same run.
//!
//! `cargo bench --bench full_hessian` prints the table.

mod common;

use armor_core::{Layer, Objective, Options};
use common::{Product, flops, full_hessian, median, seconds_of_iterations, trained_like};

const SIZES: [(usize, usize, usize); 3] = [(1536, 576, 64), (2048, 2048, 128), (4096, 4096, 128)];
const THREADS: usize = 2;
const ROUNDS: usize = 3;

fn main() {
    let mut product = Product::new();
    println!("| m × k, block | ms, full | ms, diagonal | sgemm GFLOP/s | full over its flops | full over diagonal |");
    println!("|---|---|---|---|---|---|");
    for (rows, cols, block) in SIZES {
        let (weight, diagonal) = trained_like(rows, cols);
        let layer = Layer::new(&weight, full_hessian(&diagonal)).expect("the layer is sound");
        let (mut full, mut separable, mut rates) = (Vec::new(), Vec::new(), Vec::new());
        for _ in 0..ROUNDS {
            full.extend(seconds_of_iterations(&layer, &options(block).objective(Objective::Full)));
            rates.push(product.rate(THREADS));
            separable.extend(seconds_of_iterations(&layer, &options(block)));
        }
        let (full, separable, rate) = (median(full), median(separable), median(rates));
        let implied = full_flops(rows, cols, block) / (1e9 * rate);
        println!(
            "| {rows} × {cols}, {block} | {:.1} | {:.1} | {rate:.0} | {:.1} | {:.1} |",
            1e3 * full,
            1e3 * separable,
            full / implied,
            full / separable
        );
    }
}

/// Flops of an iteration: five products with a triangle of k × k, m k² each, and the blocks' own.
fn full_flops(rows: usize, cols: usize, block: usize) -> f64 {
    5.0 * rows as f64 * (cols as f64).powi(2) + flops(rows, cols, block)
}

fn options(block: usize) -> Options {
    Options::exact().block(block).threads(THREADS).iterations(4)
}
