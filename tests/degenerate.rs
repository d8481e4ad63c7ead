//! Weights and Hessians at the edge of what is sound: no panic, finite factors, never worse than pruning.

mod common;

use armor_core::{Factorization, Hessian, Layer, Method, Options, Pattern, factorize};
use common::{Random, hessian, weight};
use ndarray::{Array1, Array2};

fn all_methods(w: &Array2<f32>, d: &Array1<f32>, pattern: Pattern, what: &str) -> Vec<Factorization> {
    let layer = Layer::new(w, Hessian::from_diagonal(d).expect("valid")).expect("valid");
    let presets = [
        Options::exact(),
        Options::exact().temperature(0.0).max_extrapolation(0.0),
        Options::exact().temperature(100.0),
        Options::paper().learning_rate(1e-2),
        Options::paper().method(Method::Gradient),
    ];
    presets
        .into_iter()
        .map(|preset| {
            let options = preset.left_block(8).right_block(16).pattern(pattern).iterations(15);
            let result = factorize(&layer, &options).unwrap_or_else(|error| panic!("{what}: {error}"));
            assert_sound(&result, &format!("{what}, {options:?}"));
            // What approximates numbers next to f32's end may itself lie beyond it.
            if w.iter().all(|x| x.abs() < 1e38) {
                assert!(result.reconstruct().iter().all(|x| x.is_finite()), "{what}: the product is not finite");
            }
            result
        })
        .collect()
}

#[track_caller]
fn assert_sound(result: &Factorization, what: &str) {
    assert!(result.loss().is_finite(), "{what}: loss {}", result.loss());
    assert!(result.loss() >= 0.0 && result.loss() <= result.nowag_p_loss(), "{what}: {}", result.loss());
    assert!(result.history().iter().all(|loss| loss.is_finite() && *loss >= 0.0), "{what}: {:?}", result.history());
    for (name, wrapper) in [("left", result.left()), ("right", result.right())] {
        assert!(wrapper.to_dense().iter().all(|x| x.is_finite()), "{what}: {name} is not finite");
    }
    assert!(result.core().to_compressed().iter().all(|x| x.is_finite()), "{what}: core is not finite");
}

fn check(w: &Array2<f32>, d: &Array1<f32>, what: &str) -> Vec<Factorization> {
    all_methods(w, d, Pattern::TWO_FOUR, what)
}

/// Whether an entry is made zero.
type IsZero = fn(usize, usize) -> bool;

#[test]
fn zero_rows_columns_groups_and_blocks() {
    let d = hessian(48, 1);
    let zero_where = |is_zero: IsZero| {
        let mut w = weight(20, 48, 1);
        for ((i, j), value) in w.indexed_iter_mut() {
            if is_zero(i, j) {
                *value = 0.0;
            }
        }
        w
    };
    let cases: [(&str, IsZero); 8] = [
        ("a row", |i, _| i == 3),
        ("a column", |_, j| j == 5),
        ("a group of columns", |_, j| (8..12).contains(&j)),
        ("three of four columns", |_, j| j % 4 != 0),
        ("a row block", |i, _| i < 8),
        ("a column block", |_, j| (16..32).contains(&j)),
        ("a checkerboard", |i, j| (i + j) % 2 == 0),
        ("all but one entry", |i, j| (i, j) != (13, 17)),
    ];
    for (what, is_zero) in cases {
        let w = zero_where(is_zero);
        for result in check(&w, &d, what) {
            let product = result.reconstruct();
            for i in (0..20).filter(|&i| w.row(i).iter().all(|&x| x == 0.0)) {
                let largest = product.row(i).iter().fold(0.0_f32, |most, x| most.max(x.abs()));
                assert!(largest < 1.0, "{what}: zero row {i} came back with {largest}");
            }
        }
    }
}

#[test]
fn a_weight_of_zeros() {
    for result in check(&Array2::zeros((20, 48)), &hessian(48, 1), "zeros") {
        assert_eq!((result.loss(), result.nowag_p_loss()), (0.0, 0.0));
        assert!(result.reconstruct().iter().all(|&x| x == 0.0));
    }
}

#[test]
fn inputs_that_were_never_excited() {
    let w = weight(20, 48, 2);
    let mut d = hessian(48, 2);
    for j in [0, 5, 6, 7, 16, 47] {
        d[j] = 0.0;
    }
    check(&w, &d, "some dead");
    d.fill(0.0);
    let dead = check(&w, &d, "all dead");
    let alike = check(&w, &Array1::ones(48), "all alike");
    for (dead, alike) in dead.iter().zip(&alike) {
        assert_eq!(dead.history(), alike.history(), "no calibration at all is the identity");
    }
}

#[test]
fn importances_that_span_f32() {
    let w = weight(20, 48, 3);
    check(&w, &Array1::from_shape_fn(48, |j| 10.0_f32.powi(j as i32 - 24)), "d from 1e-24 to 1e23");
    check(&w, &Array1::from_shape_fn(48, |j| if j == 7 { f32::MAX } else { f32::MIN_POSITIVE }), "one huge d");
    check(&w, &Array1::from_elem(48, f32::from_bits(1)), "smallest d");
    check(&w, &Array1::from_elem(48, f32::MAX), "largest d");
}

#[test]
fn constant_and_low_rank_matrices() {
    let d = Array1::ones(48);
    for value in [1.0, -3.5, 1e-30, 1e30] {
        check(&Array2::from_elem((20, 48), value), &d, &format!("all {value}"));
    }
    let outer = Array2::from_shape_fn((20, 48), |(i, j)| (i as f32 - 9.5) * (j as f32 - 20.0));
    check(&outer, &hessian(48, 1), "rank one");
    check(&Array2::from_shape_fn((20, 48), |(i, _)| i as f32), &d, "equal columns");
    check(&Array2::from_shape_fn((20, 48), |(_, j)| j as f32), &d, "equal rows");
}

#[test]
fn the_smallest_matrices() {
    for (rows, cols) in [(1, 4), (1, 8), (2, 4), (4, 4), (1, 48), (40, 4)] {
        for result in check(&weight(rows, cols, 4), &hessian(cols, 4), &format!("{rows}x{cols}")) {
            assert_eq!(result.reconstruct().dim(), (rows, cols));
        }
    }
    let four_eight = Pattern::new(4, 8).expect("valid");
    all_methods(&weight(1, 8, 5), &hessian(8, 5), four_eight, "1x8");
    all_methods(&Array2::zeros((1, 8)), &hessian(8, 5), four_eight, "1x8 of zeros");
    all_methods(&weight(1, 2, 6), &hessian(2, 6), Pattern::new(1, 2).expect("valid"), "1x2");
}

#[test]
fn outliers() {
    let mut w = weight(20, 48, 6);
    w[[7, 9]] = 1e30;
    check(&w, &hessian(48, 6), "one outlier");
    w[[7, 9]] = f32::MAX;
    check(&w, &hessian(48, 6), "the largest outlier");
    let mut w = weight(20, 48, 6);
    w.row_mut(3).mapv_inplace(|x| x * 1e20);
    check(&w, &hessian(48, 6), "one huge row");
    w.column_mut(11).mapv_inplace(|x| x * 1e-20);
    check(&w, &hessian(48, 6), "one huge row and a small column");
}

#[test]
fn the_ends_of_f32() {
    let mut random = Random::new(1);
    let d = hessian(48, 7);
    let mut sized = |size: f32| Array2::from_shape_fn((20, 48), |_| size * (2.0 * random.uniform() - 1.0) as f32);
    let (small, large, smallest) = (sized(1e-38), sized(3e38), sized(f32::MIN_POSITIVE));
    check(&small, &d, "about 1e-38");
    check(&smallest, &d, "subnormal");
    check(&Array2::from_elem((20, 48), f32::from_bits(1)), &d, "the smallest number");
    check(&Array2::from_elem((20, 48), f32::MAX), &d, "the largest number");
    for result in check(&large, &d, "about 3e38") {
        assert!(result.loss() < 0.5, "the fold must not lose a large weight: {}", result.loss());
    }
    let both = ndarray::Zip::indexed(&small).and(&large).map_collect(|(i, _), s, l| if i % 2 == 0 { *s } else { *l });
    check(&both, &d, "rows of both ends");
    let both = ndarray::Zip::indexed(&small).and(&large).map_collect(|(_, j), s, l| if j % 2 == 0 { *s } else { *l });
    check(&both, &d, "columns of both ends");
}

#[test]
fn a_small_weight_keeps_its_precision() {
    for size in [1e-30_f32, 1e-20, 1e20, 1e30] {
        let w = weight(20, 48, 8);
        let d = hessian(48, 8);
        let base = check(&w, &d, "one");
        let scaled = check(&w.mapv(|x| x * size), &d, "scaled");
        for (a, b) in base.iter().zip(&scaled) {
            assert!((a.nowag_p_loss() - b.nowag_p_loss()).abs() < 1e-5, "{size}");
        }
        // Of the runs that draw nothing, where rounding cannot lead another way.
        let (a, b) = (base[1].loss(), scaled[1].loss());
        assert!(a < 0.5 * base[1].nowag_p_loss(), "the run must do something: {a}");
        assert!((a - b).abs() < 1e-2 * a, "{size}: {a} and {b}");
    }
}

#[test]
fn a_weight_that_is_already_sparse() {
    let mut w = weight(20, 48, 9);
    for ((i, j), value) in w.indexed_iter_mut() {
        if (i + j) % 4 < 2 {
            *value = 0.0;
        }
    }
    for result in check(&w, &hessian(48, 9), "2:4 already") {
        assert!(result.loss() < 1e-13, "{}", result.loss());
        assert!(result.nowag_p_loss() < 1e-13, "{}", result.nowag_p_loss());
    }
}
