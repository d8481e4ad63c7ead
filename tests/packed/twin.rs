//! The f64 twin of a packed product, and the distance of a result from it.

use armor_core::{FactorPrecision, Factorization, InstructionSet, PackedFactorization, Precision};
use half::{bf16, f16};
use ndarray::Array2;

use crate::common::{Mat, dense, dense_core};
use crate::setup::{Shape, inputs};

/// Rounds every entry to the number type.
pub fn rounded(matrix: &Mat, precision: Precision) -> Mat {
    matrix.mapv(|x| match precision {
        Precision::F32 => x,
        Precision::F16 => f16::from_f64(x).to_f64(),
        Precision::Bf16 => bf16::from_f32(x as f32).to_f64(),
        other => unreachable!("{other} has no twin"),
    })
}

/// Computes A S B x for every row x, from dense f64 matrices of the rounded numbers; and |A| |S| |B| |x|, which the
/// rounding errors are proportional to.
pub fn twin(factors: &Factorization, precision: impl Into<FactorPrecision>, x: &Array2<f32>) -> (Mat, Mat) {
    let precision = precision.into();
    let a = rounded(&dense(factors.left()), precision.left);
    let s = rounded(&dense_core(factors.core()), precision.core);
    let b = rounded(&dense(factors.right()), precision.right);
    let x = x.mapv(f64::from).reversed_axes();
    let product = a.dot(&s.dot(&b.dot(&x)));
    let abs = |part: &Mat| part.mapv(f64::abs);
    let scale = abs(&a).dot(&abs(&s).dot(&abs(&b).dot(&abs(&x))));
    (product.reversed_axes(), scale.reversed_axes())
}

/// Gives the largest error in units of 2⁻²³ · (|A| |S| |B| |x|).
pub fn error(y: &Array2<f32>, (product, scale): &(Mat, Mat)) -> f64 {
    assert_eq!(y.dim(), product.dim());
    let errors = y.iter().zip(product.iter().zip(scale)).map(|(&y, (&product, &scale))| {
        let error = (f64::from(y) - product).abs();
        if error == 0.0 { 0.0 } else { error / (scale * f64::from(f32::EPSILON)) }
    });
    errors.fold(0.0, |largest, error| if error > largest || error.is_nan() { error } else { largest })
}

/// Checks that the packed factors have this precision, and that products of these batch sizes are within two scaled ulps
/// of the twin on every instruction set.
pub fn assert_within_two_ulps_of_twin(
    shape: Shape,
    factors: &Factorization,
    precision: impl Into<FactorPrecision>,
    batches: &[usize],
) {
    let precision = precision.into();
    let packed = PackedFactorization::new(factors, precision).expect("fits");
    assert_eq!(packed.precision(), precision);
    for &batch in batches {
        let x = inputs(batch, shape.cols, 8);
        let twin = twin(factors, precision, &x);
        for set in InstructionSet::available() {
            let mut y = Array2::zeros((batch, shape.rows));
            let mut scratch = vec![f32::NAN; packed.scratch_len(batch)];
            packed.apply_batch_on(set, x.view(), y.view_mut(), &mut scratch).expect("fits");
            let found = error(&y, &twin);
            assert!(found <= 2.0, "{shape:?} in {precision} on {set:?}, batch {batch}: {found} scaled ulps");
        }
    }
}
