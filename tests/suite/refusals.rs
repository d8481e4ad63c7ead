//! Layers that are refused, with the first position that is wrong.

use armor_core::Weight;
use half::{bf16, f16};
use ndarray::{Array2, Axis, s};

use super::layer::Small;
use super::library::{Input, Kind, Library, Moment, Preset, assert_refused};

#[track_caller]
fn refused<'a, L: Library>(weight: Weight<'a>, hessian: Moment<'a>, kind: Kind, message: &str) {
    assert_refused(L::factorize(&Input { weight, hessian }, &L::options(Preset::Exact)), kind, message);
}

pub fn the_first_value_that_is_not_finite<L: Library>() {
    // Bad numbers between the rows do not count.
    let matrix = |bad: f64| {
        Array2::from_shape_fn((12, 20), |at| match at {
            (_, 16..) | (7, 3) | (7, 4) | (9, 0) => bad,
            _ => 1.0,
        })
    };
    let check = |weight: Weight<'_>, shown: &str| {
        let message = format!("weight: entry [7, 3] is {shown}, expected a finite f32 number");
        refused::<L>(weight, Moment::Identity(16), Kind::NotFinite, &message);
    };
    for (bad, shown) in [(f64::NAN, "NaN"), (f64::INFINITY, "inf"), (f64::NEG_INFINITY, "-inf")] {
        check(matrix(bad).slice(s![.., ..16]).into(), shown);
        check(matrix(bad).mapv(|x| x as f32).slice(s![.., ..16]).into(), shown);
        check(matrix(bad).mapv(f16::from_f64).slice(s![.., ..16]).into(), shown);
        check(matrix(bad).mapv(bf16::from_f64).slice(s![.., ..16]).into(), shown);
    }
    // Finite numbers beyond the range of f32.
    check(matrix(-1e300).slice(s![.., ..16]).into(), &(-1e300_f64).to_string());
}

pub fn hessians_that_cannot_be<L: Library>() {
    let small = Small::new();
    for (value, kind, message) in [
        (f32::NAN, Kind::NotFinite, "hessian: entry [5, 5] is NaN, expected a finite f32 number"),
        (f32::INFINITY, Kind::NotFinite, "hessian: entry [5, 5] is inf, expected a finite f32 number"),
        (-0.5, Kind::Negative, "hessian: diagonal entry 5 is -0.5, expected a non-negative number"),
    ] {
        let mut diagonal = small.diagonal.clone();
        (diagonal[5], diagonal[6]) = (value, value);
        let full = Array2::from_diag(&diagonal);
        refused::<L>((&small.weight).into(), Moment::Full((&full).into()), kind, message);
        let diagonal = diagonal.insert_axis(Axis(0));
        refused::<L>((&small.weight).into(), Moment::Diagonal((&diagonal).into()), kind, message);
    }
}

pub fn shapes<L: Library>() {
    let small = Small::new();
    for len in [1, 15, 17] {
        let message = format!("hessian: covers {len} inputs, but the weight has 16 columns");
        refused::<L>((&small.weight).into(), Moment::Identity(len), Kind::Shape, &message);
        let diagonal = Array2::<f32>::ones((1, len));
        refused::<L>((&small.weight).into(), Moment::Diagonal((&diagonal).into()), Kind::Shape, &message);
    }
    let odd = small.weight.slice(s![.., ..15]);
    let message = "weight: 15 columns are not a multiple of 4, the group of the 2:4 pattern";
    refused::<L>(odd.into(), Moment::Identity(15), Kind::Shape, message);
    let none = small.weight.slice(s![..0, ..]);
    refused::<L>(none.into(), Moment::Identity(16), Kind::Shape, "weight: 0 × 16 has no entries");
}
