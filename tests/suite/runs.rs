//! Factors: their values, their product, and what decides their bits.

use armor_core::{Hessian, Layer, Method, Options, factorize};
use ndarray::{Array1, Array2, Array3, Axis, s};

use super::layer::{ITERATIONS, LEFT_BLOCK, RIGHT_BLOCK, Small};
use super::library::{Change, Input, Kind, Library, Moment, Parts, Preset, assert_refused, done};
use crate::common::{Mat, hessian, to_f64, weight};

pub fn factors_are_those_of_the_crate<L: Library>() {
    let small = Small::new();
    let found = small.factorized::<L>();
    L::parts(&found).assert_same_bits(&Parts::of(&small.in_rust()));
    // A result that was read from bytes took no time, and that of Miri was.
    assert_eq!(L::seconds(&found) > 0.0, !cfg!(miri));
    let parts = L::parts(&found);
    assert_eq!((parts.iterations, parts.stop_reason.as_str()), (ITERATIONS, "iterations"));
    assert_eq!(parts.history.len(), ITERATIONS + 1);
    assert!(parts.losses[0] <= parts.losses[1]);
    let [left, right] = [12_usize.div_ceil(LEFT_BLOCK), 16 / RIGHT_BLOCK];
    assert_eq!(parts.left.dim(), (left, LEFT_BLOCK, LEFT_BLOCK));
    assert_eq!(parts.right.dim(), (right, RIGHT_BLOCK, RIGHT_BLOCK));
}

/// Puts blocks on the diagonal of a square matrix of `len` rows.
fn dense(blocks: &Array3<f32>, len: usize) -> Mat {
    let mut dense = Mat::zeros((len, len));
    let size = blocks.dim().1;
    for (index, block) in blocks.outer_iter().enumerate() {
        let (start, end) = (index * size, len.min((index + 1) * size));
        let used = block.slice(s![..end - start, ..end - start]).mapv(f64::from);
        dense.slice_mut(s![start..end, start..end]).assign(&used);
    }
    dense
}

fn twin_product(parts: &Parts) -> Mat {
    let (rows, cols) = parts.core.dim();
    dense(&parts.left, rows).dot(&to_f64(&parts.core)).dot(&dense(&parts.right, cols))
}

pub fn the_product_is_that_of_the_factors<L: Library>() {
    let parts = L::parts(&Small::new().factorized::<L>());
    let expected = twin_product(&parts);
    let largest = expected.iter().fold(0.0_f64, |largest, x| largest.max(x.abs()));
    for (found, expected) in parts.product.iter().zip(&expected) {
        assert!((f64::from(*found) - expected).abs() <= 1e-6 * largest, "{found} is not {expected}");
    }
}

pub fn the_core_keeps_n_of_m<L: Library>() {
    let small = Small::new();
    let patterns: &[(usize, usize)] = if cfg!(miri) { &[(2, 4)] } else { &[(2, 4), (3, 8), (1, 2), (4, 8)] };
    for &(n, m) in patterns {
        let options = L::changed(
            Preset::Exact,
            &[Change::Pattern(n, m), Change::LeftBlock(5), Change::RightBlock(m), Change::Iterations(ITERATIONS)],
        );
        let parts = small.parts::<L>(&options);
        assert_eq!((parts.pattern, parts.values.dim()), ((n, m), (12, 16 * n / m)));
        for (i, (row, values)) in parts.core.outer_iter().zip(parts.values.outer_iter()).enumerate() {
            let kept: Vec<usize> = (0..16).filter(|j| parts.bitmask[[i, j / 8]] >> (j % 8) & 1 == 1).collect();
            assert_eq!(kept.iter().map(|&j| row[j]).collect::<Vec<_>>(), values.to_vec());
            assert!((0..16).all(|j| kept.contains(&j) || row[j] == 0.0), "row {i} has a value outside its mask");
            assert!((0..16 / m).all(|group| kept.iter().filter(|&&j| j / m == group).count() == n));
        }
    }
}

pub fn a_vector_is_multiplied<L: Library>() {
    let found = Small::new().factorized::<L>();
    let x: Vec<f32> = (0..16).map(|j| j as f32 - 7.5).collect();
    let y = done(L::apply(&found, &x));
    let expected = Small::new().in_rust().apply(Array1::from(x.clone()).view()).expect("fits");
    assert_eq!(y, expected.to_vec());
    let twin = twin_product(&L::parts(&found)).dot(&Array1::from_iter(x.iter().map(|&x| f64::from(x))));
    let largest = twin.iter().fold(0.0_f64, |largest, y| largest.max(y.abs()));
    for (found, expected) in y.iter().zip(&twin) {
        assert!((f64::from(*found) - expected).abs() <= 1e-6 * largest, "{found} is not {expected}");
    }
    let nan: Vec<f32> = (0..16).map(|j| if j == 3 { f32::NAN } else { 1.0 }).collect();
    assert!(done(L::apply(&found, &nan)).iter().any(|y| y.is_nan()), "NaN spreads as in any product");
}

pub fn vectors_of_another_length<L: Library>() {
    let found = Small::new().factorized::<L>();
    for len in [1, 15, 17] {
        let message = format!("x: has length {len}, expected 16");
        assert_refused(L::apply(&found, &vec![1.0; len]), Kind::Shape, &message);
    }
}

/// Runs a layer that neither block size divides.
fn run<L: Library>(rows: usize, cols: usize, options: &L::Options) -> Parts {
    let (weight, diagonal) = (weight(rows, cols, 1), hessian(cols, 1).insert_axis(Axis(0)));
    let input = Input { weight: (&weight).into(), hessian: Moment::Diagonal((&diagonal).into()) };
    L::parts(&done(L::factorize(&input, options)))
}

pub fn any_number_of_threads_gives_the_same_bits<L: Library>() {
    let presets: [(Preset, &[Change]); 4] = [
        (Preset::Exact, &[Change::Iterations(12)]),
        (Preset::Exact, &[Change::Temperature(0.0), Change::Iterations(12)]),
        (Preset::Paper, &[Change::Iterations(40), Change::LearningRate(1e-3)]),
        (Preset::Paper, &[Change::Method(Method::Gradient), Change::Iterations(20)]),
    ];
    // More than 256 rows, so that every sum that is cut in chunks has several of them.
    for (rows, cols, left, right) in [(301, 76, 8, 16), (70, 132, 16, 32)] {
        for (preset, changes) in presets {
            let blocks = [Change::LeftBlock(left), Change::RightBlock(right), Change::Seed(5)];
            let mut options = L::changed(preset, &[changes, &blocks].concat());
            done(L::change(&mut options, Change::Threads(1)));
            let base = run::<L>(rows, cols, &options);
            for threads in [0, 2, 3, 8] {
                done(L::change(&mut options, Change::Threads(threads)));
                base.assert_same_bits(&run::<L>(rows, cols, &options));
            }
        }
    }
}

pub fn another_seed_draws_another_result<L: Library>() {
    for (preset, iterations) in [(Preset::Exact, 10), (Preset::Paper, 20)] {
        let blocks = [Change::LeftBlock(16), Change::RightBlock(16), Change::Iterations(iterations)];
        let seeded = |seed| run::<L>(48, 64, &L::changed(preset, &[&blocks[..], &[Change::Seed(seed)]].concat()));
        let (a, b, far) = (seeded(1), seeded(2), seeded(1 << 63 | 1));
        assert_ne!(a.history, b.history);
        assert_ne!(a.core, b.core);
        assert_ne!(a.core, far.core, "all bits of the seed count");
        a.assert_same_bits(&seeded(1));
        a.assert_same_bits(&by_the_crate(preset, iterations));
    }
}

/// Runs the crate with the seed 1.
fn by_the_crate(preset: Preset, iterations: usize) -> Parts {
    let options = match preset {
        Preset::Exact => Options::exact(),
        Preset::Paper => Options::paper(),
    };
    let (weight, hessian): (Array2<f32>, _) =
        (weight(48, 64, 1), Hessian::from_diagonal(&hessian(64, 1)).expect("valid"));
    let layer = Layer::new(&weight, hessian).expect("valid");
    Parts::of(&factorize(&layer, &options.block(16).iterations(iterations).seed(1)).expect("runs"))
}

pub fn a_greedy_exact_run_draws_nothing<L: Library>() {
    let greedy = [Change::LeftBlock(16), Change::RightBlock(16), Change::Temperature(0.0), Change::Iterations(10)];
    let seeded = |seed| run::<L>(48, 64, &L::changed(Preset::Exact, &[&greedy[..], &[Change::Seed(seed)]].concat()));
    seeded(1).assert_same_bits(&seeded(2));
}
