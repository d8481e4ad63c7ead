//! Wrong sizes are refused before anything is written; inputs of any type and layout are taken.

use armor_core::{Error, PackedFactorization, Precision};
use half::{bf16, f16};
use ndarray::{Array1, Array2, ShapeBuilder, s};

use crate::setup::*;

fn packed() -> PackedFactorization {
    PackedFactorization::new(&Shape::new(21, 24, 8, 8).factors(1, false), Precision::F32).expect("fits")
}

#[test]
fn sizes_that_do_not_fit() {
    let packed = packed();
    let refused = |x: (usize, usize), y: (usize, usize), scratch: usize, argument: &str, found, expected| {
        let (x, mut y, mut scratch) = (Array2::<f32>::ones(x), Array2::from_elem(y, 7.0), vec![0.0; scratch]);
        let error = packed.apply_batch_into(x.view(), y.view_mut(), &mut scratch).expect_err("a wrong size");
        assert!(
            matches!(error, Error::Length { argument: a, found: f, expected: e } if (a, f, e) == (argument, found, expected)),
            "{error}"
        );
        assert!(y.iter().all(|&y| y == 7.0), "nothing is written");
    };
    let room = packed.scratch_len(2);
    refused((2, 23), (2, 21), room, "x", 23, 24);
    refused((2, 25), (2, 21), room, "x", 25, 24);
    refused((2, 24), (2, 20), room, "y", 20, 21);
    refused((2, 24), (2, 22), room, "y", 22, 21);
    refused((2, 24), (3, 21), room, "rows of y", 3, 2);
    refused((0, 24), (1, 21), room, "rows of y", 1, 0);
    refused((2, 24), (2, 21), room - 1, "scratch", room - 1, room);
    refused((2, 24), (2, 21), 0, "scratch", 0, room);
}

#[test]
fn no_vectors_are_no_work() {
    let packed = packed();
    let (x, mut y) = (Array2::<f32>::ones((0, 24)), Array2::ones((0, 21)));
    packed.apply_batch_into(x.view(), y.view_mut(), &mut vec![0.0; packed.scratch_len(0)]).expect("nothing to do");
}

#[test]
fn scratch_does_not_grow_for_ever() {
    let packed = packed();
    assert_eq!(packed.scratch_len(64), packed.scratch_len(usize::MAX));
    let x = inputs(1000, 24, 3);
    let y = apply(&packed, &x);
    assert_eq!(y.row(999), apply(&packed, &x.slice(s![999.., ..]).to_owned()).row(0));
}

#[test]
fn every_type_and_layout_of_x_and_y() {
    let packed = packed();
    let x = inputs(5, 24, 3).mapv(|x| f16::from_f32(bf16::from_f32(x).to_f32()).to_f32());
    let x = x.mapv(|x| bf16::from_f32(x).to_f32());
    let expected = apply(&packed, &x);
    let mut scratch = vec![0.0; packed.scratch_len(5) + 3];
    let check = |y: Array2<f32>, what: &str| assert_eq!(y, expected, "{what}");
    let mut y = Array2::zeros((5, 21));
    packed.apply_batch_into(x.mapv(bf16::from_f32).view(), y.view_mut(), &mut scratch).expect("fits");
    check(y.clone(), "bf16");
    y.fill(0.0);
    packed.apply_batch_into(x.mapv(f16::from_f32).view(), y.view_mut(), &mut scratch[1..]).expect("fits");
    check(y.clone(), "f16, scratch off its line");
    y.fill(0.0);
    packed.apply_batch_into(x.mapv(f64::from).view(), y.view_mut(), &mut scratch[3..]).expect("fits");
    check(y.clone(), "f64");
    let columns = Array2::from_shape_fn((5, 24).f(), |at| x[at]);
    let mut y = Array2::zeros((5, 21).f());
    packed.apply_batch_into(columns.view(), y.view_mut(), &mut scratch).expect("fits");
    check(y.clone(), "column-major");
    let backwards = x.slice(s![..;-1, ..;-1]).to_owned();
    packed
        .apply_batch_into(backwards.slice(s![..;-1, ..;-1]), y.slice_mut(s![..;-1, ..;-1]), &mut scratch)
        .expect("fits");
    check(y.slice(s![..;-1, ..;-1]).to_owned(), "backwards");
    for (vector, expected) in expected.rows().into_iter().enumerate() {
        let mut y = Array1::zeros(42);
        packed.apply_into(x.row(vector), y.slice_mut(s![..;2]), &mut scratch).expect("fits");
        assert_eq!(y.slice(s![..;2]), expected, "every other entry");
        assert!(y.slice(s![1..;2]).iter().all(|&y| y == 0.0), "those between stay");
    }
}

#[test]
fn numbers_beyond_the_precision() {
    let shape = Shape::new(9, 8, 4, 4);
    for (tensor, entry) in [("left", [0, 0]), ("core", [0, 0]), ("right", [0, 0])] {
        let mut first = true;
        let factors = shape.factors_of(3, |name| {
            let large = name == tensor && std::mem::take(&mut first);
            if large { 1e5 } else { 1.0 }
        });
        let error = PackedFactorization::new(&factors, Precision::F16).expect_err("f16 ends at 65504");
        match error {
            Error::Overflow { argument, row, value, dtype, .. } => {
                assert_eq!((argument, row, value, dtype), (tensor, entry[0], 1e5, "f16"));
            }
            other => panic!("{other}"),
        }
        PackedFactorization::new(&factors, Precision::Bf16).expect("bf16 has f32's range");
    }
}

#[test]
fn a_file_of_factors_is_packed_at_once() {
    let factors = Shape::new(21, 24, 8, 8).factors(1, false);
    let bytes = factors.to_safetensors("layer").expect("fits");
    for precision in PRECISIONS {
        let read = PackedFactorization::from_safetensors(&bytes, "layer", precision).expect("sound");
        assert_eq!(read, PackedFactorization::new(&factors, precision).expect("fits"));
    }
    let error = PackedFactorization::from_safetensors(&bytes[..9], "layer", Precision::F32).expect_err("cut off");
    assert!(matches!(error, Error::Bytes { .. }), "{error}");
}
