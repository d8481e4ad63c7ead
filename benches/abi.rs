//! What a run costs more through the C ABI than in Rust, on the layer that ships with the repository.
//!
//! `cargo bench --features capi --bench abi` runs `armor_factorize` and `factorize` in turn, from the caller's memory to
//! the freed result, and prints the ratio of every pair's times: for one iteration, where a copy
//! of the weight would weigh most, and for the default run.

mod common;

use std::ffi::c_void;
use std::ptr;
use std::time::Instant;

use armor_core::ffi::*;
use armor_core::{Hessian, Layer, Options, factorize};
use common::{median, shipped_layer};
use half::f16;
use ndarray::Array2;

/// Iterations of a run, and how many pairs of runs are timed.
const RUNS: [(usize, usize); 2] = [(1, 200), (120, 8)];

fn main() {
    if std::env::args().any(|argument| argument == "--test") {
        return;
    }
    let (weight, hessian) = shipped_layer();
    println!(
        "| iterations | pairs | in Rust | through the ABI | ratio: median | middle half |\n|---|---|---|---|---|---|"
    );
    for (iterations, pairs) in RUNS {
        let rust = || in_rust(&weight, &hessian, iterations);
        let abi = || through_the_abi(&weight, &hessian, iterations);
        assert_eq!(rust().1, abi().1, "both are the same run");
        // Each comes first in half of the pairs.
        let seconds: Vec<(f64, f64)> = (0..pairs)
            .map(|pair| {
                if pair % 2 == 0 {
                    let (rust, _) = rust();
                    (rust, abi().0)
                } else {
                    let (abi, _) = abi();
                    (rust().0, abi)
                }
            })
            .collect();
        let mut ratios: Vec<f64> = seconds.iter().map(|(rust, abi)| abi / rust).collect();
        ratios.sort_by(f64::total_cmp);
        let milliseconds = |of: fn(&(f64, f64)) -> f64| 1e3 * median(seconds.iter().map(of).collect());
        println!(
            "| {iterations} | {pairs} | {:.2} ms | {:.2} ms | {:.4} | {:.4} to {:.4} |",
            milliseconds(|pair| pair.0),
            milliseconds(|pair| pair.1),
            median(ratios.clone()),
            ratios[pairs / 4],
            ratios[pairs - 1 - pairs / 4],
        );
    }
}

/// Seconds of a run in Rust, and its loss.
fn in_rust(weight: &Array2<f16>, hessian: &Array2<f32>, iterations: usize) -> (f64, f64) {
    let start = Instant::now();
    let hessian = Hessian::from_diagonal_of(hessian).expect("the diagonal is sound");
    let layer = Layer::new(weight, hessian).expect("the layer is sound");
    let result = factorize(&layer, &Options::exact().iterations(iterations)).expect("the options are sound");
    let loss = result.loss();
    drop(result);
    (start.elapsed().as_secs_f64(), loss)
}

/// The same through the ABI.
fn through_the_abi(weight: &Array2<f16>, hessian: &Array2<f32>, iterations: usize) -> (f64, f64) {
    let start = Instant::now();
    let (rows, cols) = weight.dim();
    let (data, dtype) = (weight.as_ptr().cast::<c_void>(), ARMOR_DTYPE_F16);
    let weight = MatrixView { data, rows, cols, row_stride: cols, dtype };
    let (data, dtype) = (hessian.as_ptr().cast::<c_void>(), ARMOR_DTYPE_F32);
    let hessian = HessianView { data, len: cols, row_stride: cols, kind: ARMOR_HESSIAN_FULL, dtype };
    let (mut options, mut result) = (ptr::null_mut(), ptr::null_mut());
    // SAFETY: a report of zeros is one.
    let mut report: RunReport = unsafe { std::mem::zeroed() };
    report.struct_size = size_of::<RunReport>();
    // SAFETY: all memory is this function's or its caller's, and both handles are freed once.
    unsafe {
        assert_eq!(armor_options_create(ARMOR_PRESET_EXACT, &mut options), ARMOR_OK);
        assert_eq!(armor_options_set_iterations(options, iterations), ARMOR_OK);
        assert_eq!(armor_factorize(&weight, &hessian, options, None, ptr::null_mut(), &mut result), ARMOR_OK);
        assert_eq!(armor_factorization_get_report(result, &mut report), ARMOR_OK);
        assert_eq!(armor_factorization_free(result), ARMOR_OK);
        assert_eq!(armor_options_free(options), ARMOR_OK);
    }
    (start.elapsed().as_secs_f64(), report.loss)
}
