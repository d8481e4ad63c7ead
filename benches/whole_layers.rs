//! Whole runs on the layers of a 7B Llama, 60 iterations at block 128 on two threads: seconds, loss, and what all
//! linear layers of the model would take.
//!
//! `cargo bench --bench whole_layers` runs each shape once, on a weight with the structure of a trained one (see
//! `trained_like` in `benches/common`).

mod common;

use armor_core::{Layer, Options, factorize};
use common::{hessian, trained_like};

/// Output and input features, and how often the shape occurs in the model's 32 blocks.
const SHAPES: [(usize, usize, usize); 3] = [(4096, 4096, 32 * 4), (11008, 4096, 32 * 2), (4096, 11008, 32)];
const ITERATIONS: usize = 60;

fn main() {
    if std::env::args().any(|argument| argument == "--test") {
        return;
    }
    println!("| m × k | NoWag-P | loss | seconds |\n|---|---|---|---|");
    let mut model = 0.0;
    for (rows, cols, count) in SHAPES {
        let (weight, diagonal) = trained_like(rows, cols);
        let layer = Layer::new(&weight, hessian(&diagonal)).expect("the layer is sound");
        let options = Options::exact().block(128).iterations(ITERATIONS).threads(2);
        let result = factorize(&layer, &options).expect("the options are sound");
        let seconds = result.elapsed().as_secs_f64();
        println!("| {rows} × {cols} | {:.5} | {:.5} | {seconds:.1} |", result.nowag_p_loss(), result.loss());
        model += count as f64 * seconds;
    }
    println!("\nall linear layers of a 7B Llama, 32 × [4 × 4096², 3 × 4096 × 11008]: {:.2} hours", model / 3600.0);
}
