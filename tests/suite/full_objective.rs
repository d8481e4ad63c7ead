//! The full objective, and the output error.

use armor_core::{Hessian, Layer, Objective, RowWeighting, factorize};
use ndarray::{Array2, Axis, s};

use super::layer::{SMALL, Small};
use super::library::{Change, Input, Kind, Library, Moment, Parts, Preset, assert_refused, assert_refused_like, done};
use crate::common::coupled::{full_hessian, quadratic_form};
use crate::common::to_f64;

fn options<L: Library>(changes: &[Change]) -> L::Options {
    L::changed(Preset::Exact, &[&SMALL[..], &[Change::Objective(Objective::Full)], changes].concat())
}

fn input<'a>(small: &'a Small, full: &'a Array2<f32>) -> Input<'a> {
    Input { weight: (&small.weight).into(), hessian: Moment::Full(full.into()) }
}

pub fn a_run_is_that_of_the_crate<L: Library>() {
    let (small, full) = (Small::new(), full_hessian(16, 40, 1));
    let layer = Layer::new(&small.weight, Hessian::from_full(&full).expect("valid")).expect("valid");
    let changes = [Change::Shrinkage(0.2), Change::RowWeighting(RowWeighting::NoWag), Change::MemoryLimit(1 << 20)];
    let in_rust = Small::options().objective(Objective::Full).shrinkage(0.2).row_weighting(RowWeighting::NoWag);
    let in_rust = factorize(&layer, &in_rust).expect("runs");
    let found = done(L::factorize(&input(&small, &full), &options::<L>(&changes)));
    L::parts(&found).assert_same_bits(&Parts::of(&in_rust));
    let error = done(L::output_error(&found, &input(&small, &full)));
    assert_eq!(error.to_bits(), in_rust.output_error(&layer).expect("fits").to_bits());
}

pub fn a_ridge_is_reported<L: Library>() {
    let (small, full) = (Small::new(), full_hessian(16, 3, 2));
    let result = done(L::factorize(&input(&small, &full), &options::<L>(&[Change::Shrinkage(0.0)])));
    let ridge = L::parts(&result).ridge;
    assert!(ridge > 0.0 && ridge < 1e-3, "{ridge}");
}

pub fn hessians_that_it_cannot_use<L: Library>() {
    let small = Small::new();
    let refused = |full: &Array2<f32>, kind, message: &str| {
        assert_refused(L::factorize(&input(&small, full), &options::<L>(&[])), kind, message);
    };
    let message = "hessian: only its diagonal is known, but the full objective needs all of it";
    assert_refused(L::factorize(&small.input(), &options::<L>(&[])), Kind::NotFull, message);
    let mut full = full_hessian(16, 40, 3);
    let limited = options::<L>(&[Change::MemoryLimit(100)]);
    let message = "option memory_limit: is 100 bytes, but a 12 × 16 layer needs ";
    assert_refused_like(L::factorize(&input(&small, &full), &limited), Kind::MemoryLimit, message);
    (full[[2, 9]], full[[9, 2]]) = (100.0, 50.0);
    let message = "hessian: entry [2, 9] is 100, but [9, 2] is 50, expected a symmetric matrix";
    refused(&full, Kind::Asymmetric, message);
    full[[2, 9]] = f32::NAN;
    refused(&full, Kind::NotFinite, "hessian: entry [2, 9] is NaN, expected a finite f32 number");
}

pub fn output_errors_are_those_of_the_definition<L: Library>() {
    let (small, full) = (Small::new(), full_hessian(16, 40, 4));
    let found = small.factorized::<L>();
    let (weight, product) = (to_f64(&small.weight), to_f64(&L::parts(&found).product));
    let diagonal = full.diag().to_owned().insert_axis(Axis(0));
    for (hessian, moment) in [
        (to_f64(&full), Moment::Full((&full).into())),
        (to_f64(&Array2::from_diag(&full.diag())), Moment::Diagonal((&diagonal).into())),
    ] {
        let expected = quadratic_form(&(&weight - &product), &hessian) / quadratic_form(&weight, &hessian);
        let error = done(L::output_error(&found, &Input { weight: (&small.weight).into(), hessian: moment }));
        assert!((error - expected).abs() < 1e-4 * expected, "{error} is not {expected}");
    }
}

pub fn output_errors_of_another_shape<L: Library>() {
    let (small, full) = (Small::new(), full_hessian(16, 40, 4));
    let found = small.factorized::<L>();
    let fewer = Input { weight: small.weight.slice(s![..11, ..]).into(), hessian: Moment::Full((&full).into()) };
    let refusal = L::output_error(&found, &fewer).expect_err("11 rows");
    assert_eq!(refusal.kind, Kind::Shape);
    // The crate's argument is the layer, that of the ABI its weight.
    assert_eq!(refusal.message.trim_start_matches("layer."), "weight rows: has length 11, expected 12");
}
