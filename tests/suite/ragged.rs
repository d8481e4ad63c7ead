//! Smaller last blocks give what the same weight gives when it is padded with zeros to whole blocks.
//!
//! A zero row keeps an identity row in the left wrapper and a zero row in the core; a zero column likewise. Neither
//! adds to any norm, any gradient or the energy, so only the ridge (relative to the mean diagonal) and rounding differ.

use ndarray::{Array1, Array2, Axis, s};

use super::library::{Change, Input, Library, Moment, Parts, Preset, done};
use crate::common::{assert_close, hessian, weight};

#[track_caller]
fn check<L: Library>((rows, cols): (usize, usize), (left, right): (usize, usize), beta: f64) {
    let (w, d) = (weight(rows, cols, 1), hessian(cols, 1));
    let mut padded = Array2::zeros((rows.next_multiple_of(left), cols.next_multiple_of(right)));
    assert_ne!(padded.dim(), w.dim());
    padded.slice_mut(s![..rows, ..cols]).assign(&w);
    let mut importance = Array1::zeros(padded.ncols());
    importance.slice_mut(s![..cols]).assign(&d);
    let changes = [
        Change::LeftBlock(left),
        Change::RightBlock(right),
        Change::Temperature(0.0),
        Change::MaxExtrapolation(beta),
        Change::Iterations(6),
    ];
    let run = |w: &Array2<f32>, d: &Array1<f32>| -> Parts {
        let diagonal = d.view().insert_axis(Axis(0));
        let input = Input { weight: w.into(), hessian: Moment::Diagonal(diagonal.into()) };
        L::parts(&done(L::factorize(&input, &L::changed(Preset::Exact, &changes))))
    };
    let (ragged, whole) = (run(&w, &d), run(&padded, &importance));
    assert_close(ragged.losses[1], whole.losses[1], 1e-9, 0.0, "NoWag-P's loss");
    assert_eq!(ragged.history.len(), whole.history.len());
    for (iteration, (a, b)) in ragged.history.iter().zip(&whole.history).enumerate() {
        let tolerance = if iteration < 2 { 1e-5 } else { 1e-3 };
        assert_close(*a, *b, tolerance, 0.0, &format!("{rows}x{cols} in {left}, {right}: iteration {iteration}"));
    }
    for matrix in [&whole.product, &whole.core] {
        assert!(matrix.slice(s![rows.., ..]).iter().all(|&x| x == 0.0), "padded rows stay zero");
        assert!(matrix.slice(s![.., cols..]).iter().all(|&x| x == 0.0), "padded columns stay zero");
    }
    assert_eq!(ragged.product.dim(), (rows, cols));
    assert_eq!(ragged.left.dim(), (rows.div_ceil(left), left, left));
    let (blocks, last) = (rows.div_ceil(left), (rows - 1) % left + 1);
    let last_block = ragged.left.index_axis(Axis(0), blocks - 1);
    let mut padding = last_block.indexed_iter().filter(|((i, j), _)| *i >= last || *j >= last);
    assert!(padding.all(|(_, &x)| x == 0.0), "a smaller last block is padded with zeros");
}

pub fn rows<L: Library>() {
    check::<L>((27, 48), (8, 16), 0.0);
    check::<L>((17 * 8 + 5, 32), (8, 8), 0.95);
}

pub fn columns<L: Library>() {
    check::<L>((47, 44), (16, 16), 0.0);
    check::<L>((30, 52), (16, 24), 0.95);
}

pub fn both<L: Library>() {
    check::<L>((35, 52), (16, 16), 0.0);
    check::<L>((61, 76), (20, 24), 0.95);
}
