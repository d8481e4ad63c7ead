//! Wrappers whose last block is smaller: the padded form and the dense form agree.

mod common;

use armor_core::{Hessian, Layer, Options, factorize};
use common::weight;

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
