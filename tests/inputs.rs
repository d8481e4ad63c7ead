//! Equal values give equal factors, wherever they lie in memory: strides that only Rust has.

mod common;

use armor_core::{Factorization, Hessian, Layer, Options, Weight, factorize};
use common::Random;
use ndarray::{Array1, Array2, Array3, ArrayView1, ArrayView2, Axis, ShapeBuilder, s};

const SHAPE: (usize, usize) = (27, 44);

/// Values that every element type holds exactly: seven significant bits.
fn values() -> (Array2<f32>, Array1<f32>) {
    let mut random = Random::new(1);
    let mut value = |span: f64| ((random.uniform() - 0.5) * span).round() as f32 / 16.0;
    let w = Array2::from_shape_fn(SHAPE, |_| value(250.0));
    (w, Array1::from_shape_fn(SHAPE.1, |_| value(120.0).abs() + 0.0625))
}

fn run<'a>(w: impl Into<Weight<'a>>, hessian: Hessian) -> Factorization {
    let layer = Layer::new(w, hessian).expect("valid");
    assert_eq!((layer.rows(), layer.cols()), SHAPE);
    factorize(&layer, &Options::exact().left_block(8).right_block(16).iterations(6)).expect("runs")
}

#[track_caller]
fn assert_same(a: &Factorization, b: &Factorization) {
    assert_eq!(a.history(), b.history());
    assert_eq!((a.left(), a.core(), a.right()), (b.left(), b.core(), b.right()));
    assert_eq!((a.loss(), a.nowag_p_loss()), (b.loss(), b.nowag_p_loss()));
}

fn base() -> Factorization {
    let (w, d) = values();
    run(&w, Hessian::from_diagonal(&d).expect("valid"))
}

#[test]
fn f64_is_rounded_to_f32() {
    let (w, d) = values();
    let third = w.mapv(|x| f64::from(x) / 3.0);
    let rounded = third.mapv(|x| x as f32);
    let hessian = || Hessian::from_diagonal(&d).expect("valid");
    assert_same(&run(&rounded, hessian()), &run(&third, hessian()));
}

#[test]
fn every_stride() {
    let (w, d) = values();
    let hessian = || Hessian::from_diagonal(&d).expect("valid");
    let same = |view: ArrayView2<'_, f32>| {
        assert_eq!(view, w);
        assert_same(&base(), &run(view, hessian()));
    };

    let mut columns = Array2::zeros(SHAPE.f());
    columns.assign(&w);
    assert_eq!(columns.strides(), [1, SHAPE.0 as isize]);
    same(columns.view());

    let transposed = w.t().as_standard_layout().into_owned();
    same(transposed.t());

    let mut reversed = Array2::zeros(SHAPE);
    reversed.slice_mut(s![..;-1, ..;-1]).assign(&w);
    let view = reversed.slice(s![..;-1, ..;-1]);
    assert!(view.strides().iter().all(|&stride| stride < 0));
    same(view);

    let mut apart = Array2::from_elem((3 * SHAPE.0 + 5, 2 * SHAPE.1 + 7), f32::NAN);
    apart.slice_mut(s![4..4 + 3 * SHAPE.0;3, 6..6 + 2 * SHAPE.1;2]).assign(&w);
    same(apart.slice(s![4..4 + 3 * SHAPE.0;3, 6..6 + 2 * SHAPE.1;2]));

    let mut stacked = Array3::from_elem((SHAPE.1, 3, SHAPE.0), f32::NAN);
    stacked.index_axis_mut(Axis(1), 1).assign(&w.t());
    same(stacked.index_axis(Axis(1), 1).reversed_axes());
}

#[test]
fn equal_rows_that_share_memory() {
    let row = values().0.row(0).to_owned();
    let shared = row.broadcast(SHAPE).expect("rows can be shared");
    let owned = shared.to_owned();
    let hessian = || Hessian::identity(SHAPE.1);
    assert_same(&run(&owned, hessian()), &run(shared, hessian()));
}

#[test]
fn a_hessian_with_any_stride() {
    let (w, d) = values();
    let mut apart = Array1::from_elem(3 * SHAPE.1, f32::NAN);
    apart.slice_mut(s![..;-3]).assign(&d);
    let view: ArrayView1<'_, f32> = apart.slice(s![..;-3]);
    assert_same(&base(), &run(&w, Hessian::from_diagonal(&view).expect("valid")));
    let mut full = Array2::from_elem((SHAPE.1, SHAPE.1), -3.0_f32);
    full.diag_mut().assign(&d);
    assert_same(&base(), &run(&w, Hessian::from_diagonal_of(&full.t()).expect("valid")));
}
