//! The seed decides the result to the bit; the number of threads does not.

mod common;

use armor_core::{Factorization, Hessian, Layer, Method, Options, factorize};
use common::{hessian, weight};

fn run(rows: usize, cols: usize, options: &Options) -> Factorization {
    let w = weight(rows, cols, 1);
    let layer = Layer::new(&w, Hessian::diagonal(&hessian(cols, 1)).expect("valid")).expect("valid");
    factorize(&layer, options).expect("runs")
}

#[track_caller]
fn assert_same_bits(a: &Factorization, b: &Factorization) {
    let bits = |values: ndarray::Array2<f32>| values.mapv(f32::to_bits);
    let exact = |values: &[f64]| values.iter().map(|x| x.to_bits()).collect::<Vec<_>>();
    assert_eq!(exact(a.history()), exact(b.history()));
    assert_eq!(bits(a.left().to_dense()), bits(b.left().to_dense()));
    assert_eq!(bits(a.core().compressed()), bits(b.core().compressed()));
    assert_eq!(a.core().bitmask(), b.core().bitmask());
    assert_eq!(bits(a.right().to_dense()), bits(b.right().to_dense()));
    assert_eq!((a.loss().to_bits(), a.nowag_p_loss().to_bits()), (b.loss().to_bits(), b.nowag_p_loss().to_bits()));
}

#[test]
fn any_number_of_threads() {
    let presets = [
        Options::exact().iterations(12),
        Options::exact().temperature(0.0).iterations(12),
        Options::paper().iterations(40).learning_rate(1e-3),
        Options::paper().method(Method::Gradient).iterations(20),
    ];
    // More than 256 rows, so every chunked sum has several chunks; ragged both ways.
    for (rows, cols, left, right) in [(301, 76, 8, 16), (70, 132, 16, 32)] {
        for preset in &presets {
            let options = preset.clone().left_block(left).right_block(right).seed(5);
            let base = run(rows, cols, &options.clone().threads(1));
            for threads in [0, 2, 3, 8] {
                assert_same_bits(&base, &run(rows, cols, &options.clone().threads(threads)));
            }
        }
    }
}

#[test]
fn another_seed_draws_another_result() {
    for preset in [Options::exact().iterations(10), Options::paper().iterations(20)] {
        let options = preset.block(16);
        let a = run(48, 64, &options.clone().seed(1));
        let b = run(48, 64, &options.clone().seed(2));
        let far = run(48, 64, &options.clone().seed(1 << 63 | 1));
        assert_ne!(a.history(), b.history());
        assert_ne!(a.core(), b.core());
        assert_ne!(a.core(), far.core(), "all bits of the seed count");
        assert_same_bits(&a, &run(48, 64, &options.clone().seed(1)));
    }
}

#[test]
fn a_greedy_exact_run_draws_nothing() {
    let options = Options::exact().block(16).temperature(0.0).iterations(10);
    assert_same_bits(&run(48, 64, &options.clone().seed(1)), &run(48, 64, &options.seed(2)));
}
