//! Equal values give equal factors, whatever their type and wherever their rows lie.

use armor_core::{Element, Weight};
use half::{bf16, f16};
use ndarray::{Array2, Axis, s};

use super::layer::{SMALL, Small};
use super::library::{Input, Library, Moment, Parts, Preset, done};

/// The small layer with numbers that all four types hold exactly: seven significant bits.
fn exact() -> Small {
    let mut small = Small::new();
    let round =
        |x: f32| bf16::from_f32(f16::from_f32(bf16::from_f32(x.clamp(-100.0, 100.0)).to_f32()).to_f32()).to_f32();
    small.weight.mapv_inplace(round);
    small.diagonal.mapv_inplace(round);
    small
}

/// Converts a matrix, and puts its rows apart; what lies between them is NaN.
fn apart<T: Element>(matrix: &Array2<f32>, convert: impl Fn(f32) -> T) -> Array2<T> {
    let (rows, cols) = matrix.dim();
    Array2::from_shape_fn((rows, cols + 4), |(i, j)| convert(if j < cols { matrix[[i, j]] } else { f32::NAN }))
}

fn run<'a, L: Library>(weight: Weight<'a>, hessian: Moment<'a>) -> Parts {
    L::parts(&done(L::factorize(&Input { weight, hessian }, &L::changed(Preset::Exact, &SMALL))))
}

/// Writes the layer in another type, in each of the ways that there are.
fn as_type<L: Library, T: Element>(small: &Small, expected: &Parts, convert: impl Fn(f32) -> T + Copy) {
    let diagonal = small.diagonal.clone().insert_axis(Axis(0));
    let (wide, alone) = (apart(&small.weight, convert), small.weight.mapv(convert));
    for (converted, value) in alone.iter().zip(&small.weight) {
        assert_eq!(converted.to_f64(), f64::from(*value), "the values of the test must be exact");
    }
    let converted = diagonal.mapv(convert);
    if !cfg!(miri) {
        run::<L>((&alone).into(), Moment::Diagonal((&converted).into())).assert_same_bits(expected);
    }
    let full = apart(&Array2::from_diag(&small.diagonal), convert);
    run::<L>(wide.slice(s![.., ..16]).into(), Moment::Full(full.slice(s![.., ..16]).into())).assert_same_bits(expected);
}

pub fn every_type_and_stride_gives_the_same_bits<L: Library>() {
    let small = exact();
    let expected = Parts::of(&small.in_rust());
    as_type::<L, f32>(&small, &expected, |x| x);
    as_type::<L, f64>(&small, &expected, f64::from);
    as_type::<L, f16>(&small, &expected, f16::from_f32);
    as_type::<L, bf16>(&small, &expected, bf16::from_f32);
}

pub fn only_the_diagonal_is_read<L: Library>() {
    let small = exact();
    let full = |off: f32| {
        Array2::from_shape_fn((16, 16), |(i, j)| if i == j { f64::from(small.diagonal[i]) } else { f64::from(off) })
    };
    let expected = Parts::of(&small.in_rust());
    // Neither symmetric numbers nor finite ones are needed off the diagonal.
    for full in [full(-3.0), full(f32::NAN)] {
        run::<L>((&small.weight).into(), Moment::Full((&full).into())).assert_same_bits(&expected);
    }
}

pub fn no_calibration_is_a_diagonal_of_ones<L: Library>() {
    let small = Small::new();
    let ones = Array2::<f32>::ones((1, 16));
    let identity = run::<L>((&small.weight).into(), Moment::Identity(16));
    identity.assert_same_bits(&run::<L>((&small.weight).into(), Moment::Diagonal((&ones).into())));
    assert_ne!(identity.product, small.in_rust().reconstruct());
}

pub fn dead_inputs_are_counted<L: Library>() {
    let mut small = Small::new();
    small.diagonal.slice_mut(s![3..6]).fill(0.0);
    let found = L::parts(&small.factorized::<L>());
    found.assert_same_bits(&Parts::of(&small.in_rust()));
    assert_eq!(found.dead_inputs, 3);
    let zeros = Array2::<f32>::zeros((1, 16));
    let nothing = run::<L>((&small.weight).into(), Moment::Diagonal((&zeros).into()));
    assert_eq!(nothing.dead_inputs, 16);
    let identity = run::<L>((&small.weight).into(), Moment::Identity(16));
    Parts { dead_inputs: 0, ..nothing }.assert_same_bits(&identity);
}
