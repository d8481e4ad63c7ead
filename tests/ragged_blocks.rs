//! Smaller last blocks give what the same weight gives when it is padded with zeros to whole blocks.
//!
//! A zero row keeps an identity row in the left wrapper and a zero row in the core; a zero column likewise. Neither
//! adds to any norm, any gradient or the energy, so only the ridge (relative to the mean diagonal) and rounding differ.

mod common;

use armor_core::{Hessian, Layer, Options, factorize};
use common::{assert_close, hessian, weight};
use ndarray::{Array1, Array2, s};

#[track_caller]
fn check((rows, cols): (usize, usize), (left, right): (usize, usize), beta: f64) {
    let (w, d) = (weight(rows, cols, 1), hessian(cols, 1));
    let mut padded = Array2::zeros((rows.next_multiple_of(left), cols.next_multiple_of(right)));
    assert_ne!(padded.dim(), w.dim());
    padded.slice_mut(s![..rows, ..cols]).assign(&w);
    let mut importance = Array1::zeros(padded.ncols());
    importance.slice_mut(s![..cols]).assign(&d);
    let options =
        Options::exact().left_block(left).right_block(right).temperature(0.0).max_extrapolation(beta).iterations(6);
    let run = |w: &Array2<f32>, d: &Array1<f32>| {
        let layer = Layer::new(w, Hessian::diagonal(d).expect("valid")).expect("valid");
        factorize(&layer, &options).expect("runs")
    };
    let (ragged, whole) = (run(&w, &d), run(&padded, &importance));
    assert_close(ragged.nowag_p_loss(), whole.nowag_p_loss(), 1e-9, 0.0, "NoWag-P's loss");
    for (iteration, (a, b)) in ragged.history().iter().zip(whole.history()).enumerate() {
        let tolerance = if iteration < 2 { 1e-5 } else { 1e-3 };
        assert_close(*a, *b, tolerance, 0.0, &format!("{rows}x{cols} in {left}, {right}: iteration {iteration}"));
    }
    let product = whole.reconstruct();
    assert!(product.slice(s![rows.., ..]).iter().all(|&x| x == 0.0), "padded rows stay zero");
    assert!(product.slice(s![.., cols..]).iter().all(|&x| x == 0.0), "padded columns stay zero");
    let core = whole.core().to_dense();
    assert!(core.slice(s![rows.., ..]).iter().chain(core.slice(s![.., cols..])).all(|&x| x == 0.0));
    assert_eq!(ragged.left().block(rows / left).dim().0, if rows % left > 0 { rows % left } else { left });
}

#[test]
fn ragged_rows() {
    check((27, 48), (8, 16), 0.0);
    check((17 * 8 + 5, 32), (8, 8), 0.95);
}

#[test]
fn ragged_columns() {
    check((47, 44), (16, 16), 0.0);
    check((30, 52), (16, 24), 0.95);
}

#[test]
fn both() {
    check((35, 52), (16, 16), 0.0);
    check((61, 76), (20, 24), 0.95);
}

#[test]
fn padding_of_wrappers_and_their_dense_form_agree() {
    let w = weight(27, 20, 2);
    let layer = Layer::new(&w, Hessian::identity(20)).expect("valid");
    let result = factorize(&layer, &Options::exact().left_block(8).right_block(16).iterations(3)).expect("runs");
    for (wrapper, len, size) in [(result.left(), 27_usize, 8), (result.right(), 20, 16)] {
        assert_eq!((wrapper.len(), wrapper.block_size(), wrapper.blocks()), (len, size, len.div_ceil(size)));
        let (padded, dense) = (wrapper.to_padded(), wrapper.to_dense());
        assert_eq!(padded.dim(), (len.div_ceil(size), size, size));
        for ((block, i, j), &value) in padded.indexed_iter() {
            let (row, col) = (block * size + i, block * size + j);
            assert_eq!(value, if row < len && col < len { dense[[row, col]] } else { 0.0 });
        }
        for ((i, j), &value) in dense.indexed_iter() {
            let expected = if i / size == j / size { wrapper.block(i / size)[[i % size, j % size]] } else { 0.0 };
            assert_eq!(value, expected);
        }
    }
}
