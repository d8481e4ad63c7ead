//! Products of every size, pattern, precision and instruction set.

use armor_core::PackedFactorization;
use ndarray::{Array2, s};

use crate::common::{Random, masks};
use crate::setup::*;
use crate::twin::{assert_within_two_ulps_of_twin, error, twin};

/// A batch that is multiplied side by side, and what is left over.
const MANY: usize = 66;

/// Rows around panels and strips; columns around the groups that share a word, and the chunks that share a sum; blocks
/// that divide nothing.
fn shapes() -> Vec<Shape> {
    let mut shapes = vec![Shape::new(1, 4, 1, 4)];
    for rows in [1, 2, 15, 16, 17, 31, 33, 47, 48, 49, 63, 64, 65, 79, 80, 127, 128, 129, 200] {
        shapes.push(Shape::new(rows, 88, rows.min(16), 8));
        shapes.push(Shape::new(rows, 20, rows, 20));
    }
    for groups in [1, 2, 9, 10, 11, 19, 20, 21, 39, 40, 41, 42, 81, 160] {
        shapes.push(Shape::new(37, 4 * groups, 13, (4 * groups).min(64)));
        shapes.push(Shape::new(70, 4 * groups, 64, 4));
    }
    for block in [1, 2, 3, 5, 7, 15, 16, 17, 63, 64, 65, 66, 100, 127, 128, 129] {
        shapes.push(Shape::new(130, 40, block, 12));
        shapes.push(Shape::new(24, 132, 24, (block.div_ceil(4) * 4).min(132)));
    }
    shapes
}

#[test]
fn every_size_is_within_two_scaled_ulps_of_the_twin() {
    for (seed, shape) in shapes().into_iter().enumerate() {
        let factors = shape.factors(seed as u64, false);
        for precision in PRECISIONS {
            let packed = PackedFactorization::new(&factors, precision).expect("fits");
            for batch in [3, MANY] {
                let x = inputs(batch, shape.cols, seed as u64);
                let found = error(&apply(&packed, &x), &twin(&factors, precision, &x));
                assert!(found <= 2.0, "{shape:?} in {precision}, batch {batch}: {found} scaled ulps");
            }
        }
    }
}

#[test]
fn long_rows_of_either_kind_are_within_two_scaled_ulps() {
    for (shape, positive) in [(Shape::new(192, 11008, 64, 128), false), (Shape::new(128, 11008, 128, 128), true)] {
        let factors = shape.factors(5, positive);
        for precision in PRECISIONS {
            let packed = PackedFactorization::new(&factors, precision).expect("fits");
            let mut x = inputs(2, shape.cols, 9);
            if positive {
                x.mapv_inplace(f32::abs);
            }
            let found = error(&apply(&packed, &x), &twin(&factors, precision, &x));
            assert!(found <= 2.0, "{shape:?} in {precision}: {found} scaled ulps");
        }
    }
}

#[test]
fn a_batch_of_any_size_gives_the_bits_of_its_vectors() {
    for shape in [Shape::new(150, 84, 50, 28), Shape::new(48, 172, 48, 64), Shape::new(70, 164, 33, 36)] {
        let factors = shape.factors(3, false);
        for precision in PRECISIONS {
            let packed = PackedFactorization::new(&factors, precision).expect("fits");
            let x = inputs(130, shape.cols, 4);
            let each: Vec<Array2<f32>> =
                (0..130).map(|v| apply(&packed, &x.slice(s![v..v + 1, ..]).to_owned())).collect();
            for batch in (0..20).chain([31, 32, 33, 63, 64, 65, 95, 96, 127, 128, 130]) {
                let y = apply(&packed, &x.slice(s![..batch, ..]).to_owned());
                for (v, row) in y.rows().into_iter().enumerate() {
                    assert_eq!(row, each[v].row(0), "{shape:?} in {precision}: vector {v} of {batch}");
                }
            }
        }
    }
}

#[test]
fn every_instruction_set_gives_the_same_product() {
    for shape in [Shape::new(150, 84, 50, 28), Shape::new(16, 4, 16, 4), Shape::new(70, 172, 33, 64)] {
        let factors = shape.factors(6, false);
        for precision in PRECISIONS {
            assert_within_two_ulps_of_twin(shape, &factors, precision, &[1, 2, 3, 4, 7, 8, 9, 16, 64]);
        }
    }
}

#[test]
fn every_number_of_threads_gives_the_same_bits() {
    // Large enough for other threads to be worth waking.
    let shape = Shape::new(1040, 1024, 80, 64);
    let packed = PackedFactorization::new(&shape.factors(1, false), armor_core::Precision::Bf16).expect("fits");
    let x = inputs(9 + MANY, shape.cols, 2);
    let products = [1, 2, 3, 8].map(|threads| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().expect("threads");
        pool.install(|| apply(&packed, &x))
    });
    assert!(products.iter().all(|product| *product == products[0] && product == apply(&packed, &x)));
}

#[test]
fn every_mask_in_every_lane_picks_its_columns() {
    let all = masks(armor_core::Pattern::TWO_FOUR);
    for shift in 0..all.len() {
        let mut random = Random::new(2);
        let number = |_: &str| random.normal() as f32;
        let factors = Shape::new(64, 44, 64, 44).build(number, |row, group| all[(row + group + shift) % all.len()]);
        for precision in PRECISIONS {
            let packed = PackedFactorization::new(&factors, precision).expect("fits");
            let x = inputs(5 + MANY, 44, shift as u64);
            let found = error(&apply(&packed, &x), &twin(&factors, precision, &x));
            assert!(found <= 2.0, "shift {shift} in {precision}: {found} scaled ulps");
        }
    }
}

#[test]
fn other_patterns_match_the_twin() {
    for (pattern, cols) in [((1, 4), 40), ((3, 4), 12), ((4, 8), 72), ((1, 2), 6), ((5, 7), 49), ((1, 8), 8)] {
        let shape = Shape { pattern, ..Shape::new(35, cols, 9, cols) };
        let factors = shape.factors(7, false);
        for precision in PRECISIONS {
            let packed = PackedFactorization::new(&factors, precision).expect("fits");
            let x = inputs(5 + MANY, cols, 3);
            let found = error(&apply(&packed, &x), &twin(&factors, precision, &x));
            assert!(found <= 2.0, "{shape:?} in {precision}: {found} scaled ulps");
        }
    }
}

#[test]
fn the_core_alone_is_a_plain_sparse_matrix() {
    let shape = Shape::new(70, 84, 50, 28);
    let factors = shape.factors(6, false);
    let packed = PackedFactorization::new(&factors, armor_core::Precision::F32).expect("fits");
    let x = inputs(3, shape.cols, 8);
    let (mut y, mut scratch) = (Array2::zeros((3, 70)), vec![0.0; packed.scratch_len(3)]);
    packed.apply_core(x.view(), y.view_mut(), &mut scratch).expect("fits");
    let core = factors.core().to_dense().mapv(f64::from);
    let (product, scale) =
        (core.dot(&x.mapv(f64::from).t()), core.mapv(f64::abs).dot(&x.mapv(|x| f64::from(x.abs())).t()));
    let found = error(&y, &(product.reversed_axes(), scale.reversed_axes()));
    assert!(found <= 2.0, "{found} scaled ulps");
}
