//! Every group keeps exactly N of M, in every form the core is read in.

mod common;

use armor_core::{Descent, Hessian, Layer, Magnitude, Method, Options, Pattern};
use common::{hessian, weight};

#[test]
fn every_pattern_and_method() {
    for m in 2..=8 {
        for n in 1..m {
            for (method, magnitude) in [(Method::Exact, false), (Method::Paper, true), (Method::Gradient, false)] {
                check(Pattern::new(n, m).expect("0 < N < M <= 8"), method, magnitude);
            }
        }
    }
}

fn check(pattern: Pattern, method: Method, magnitude: bool) {
    let (n, m) = (pattern.n(), pattern.m());
    let (rows, cols) = (19, 7 * m);
    let w = weight(rows, cols, (10 * n + m) as u64);
    let layer = Layer::new(&w, Hessian::from_diagonal(&hessian(cols, 1)).expect("valid")).expect("valid");
    let options = Options::exact()
        .method(method)
        .left_block(8)
        .right_block(3 * m)
        .pattern(pattern)
        .temperature(20.0)
        .iterations(6);
    let mut descent = Descent::new(&options).expect("valid");
    if magnitude {
        descent = descent.initial_mask(Magnitude);
    }
    let result = descent.run(&layer).expect("runs");
    let core = result.core();
    assert_eq!((core.rows(), core.cols(), core.groups(), core.pattern()), (rows, cols, 7, pattern));
    let (dense, compressed, bits) = (core.to_dense(), core.to_compressed(), core.to_bitmask());
    assert_eq!(dense.dim(), (rows, cols));
    assert_eq!(compressed.dim(), (rows, 7 * n));
    assert_eq!(bits.dim(), (rows, cols.div_ceil(8)));
    assert_eq!(bits.iter().map(|byte| byte.count_ones() as usize).sum::<usize>(), rows * 7 * n);
    for row in 0..rows {
        for group in 0..7 {
            let (mask, values) = core.group(row, group);
            assert_eq!((mask.count_ones() as usize, values.len()), (n, n), "{pattern}: row {row}, group {group}");
            assert!(usize::from(mask) < 1 << m, "{pattern}: {mask:b}");
            let mut slot = 0;
            for j in 0..m {
                let column = group * m + j;
                let kept = mask >> j & 1 == 1;
                assert_eq!(bits[[row, column / 8]] >> (column % 8) & 1 == 1, kept, "{pattern}: [{row}, {column}]");
                if kept {
                    assert_eq!(compressed[[row, group * n + slot]], values[slot]);
                    assert_eq!(dense[[row, column]], values[slot]);
                    slot += 1;
                } else {
                    assert_eq!(dense[[row, column]].to_bits(), 0, "{pattern}: [{row}, {column}] must be zero");
                }
            }
        }
    }
}
