//! Independent readers of every format, from their description alone.

use armor_core::{Factorization, Format};
use ndarray::s;

use crate::common::Mat;
use crate::model::{Tensor, Tensors};

/// What a weight of the compressed shard stands for.
pub fn approximation(shard: &Tensors, file: &[u8], name: &str, format: Format) -> Mat {
    let stem = name.strip_suffix(".weight").expect("a weight");
    let core = match format {
        Format::Reconstructed => return shard[name].matrix(),
        Format::Factors => {
            let factors = Factorization::from_safetensors(file, stem).expect("sound");
            return factors.reconstruct().mapv(f64::from);
        }
        Format::DenseCore => shard[&format!("{stem}.armor.core.dense")].matrix(),
        Format::SparseBitmask => sparse_bitmask(shard, stem),
        Format::Cutlass => cutlass(shard, stem),
        other => panic!("{other} has no reader"),
    };
    let left = wrapper(&shard[&format!("{stem}.armor.left")], core.nrows());
    let right = wrapper(&shard[&format!("{stem}.armor.right")], core.ncols());
    left.dot(&core).dot(&right)
}

/// The blocks of a wrapper on the diagonal.
fn wrapper(tensor: &Tensor, len: usize) -> Mat {
    let (blocks, size, values) = (tensor.shape[0], tensor.shape[1], tensor.values());
    let mut dense = Mat::zeros((blocks * size, blocks * size));
    for ((i, j), entry) in dense.indexed_iter_mut() {
        if i / size == j / size {
            *entry = values[(i * size) + j % size];
        }
    }
    dense.slice(s![..len, ..len]).to_owned()
}

pub fn sparse_bitmask(shard: &Tensors, stem: &str) -> Mat {
    let shape = shard[&format!("{stem}.shape")].values();
    let (rows, cols) = (shape[0] as usize, shape[1] as usize);
    let bits = &shard[&format!("{stem}.bitmask")].bytes;
    let mut values = shard[&format!("{stem}.compressed")].values().into_iter();
    Mat::from_shape_fn((rows, cols), |(i, j)| {
        let kept = bits[i * cols.div_ceil(8) + j / 8] >> (j % 8) & 1 == 1;
        if kept { values.next().expect("a value for every bit") } else { 0.0 }
    })
}

/// Undoes the three steps by which metadata words are reordered, one after the other.
fn cutlass(shard: &Tensors, stem: &str) -> Mat {
    let (packed, meta) = (&shard[&format!("{stem}.armor.core.packed")], &shard[&format!("{stem}.armor.core.meta")]);
    let (rows, words) = (meta.shape[0], meta.shape[1]);
    let stored: Vec<u16> = meta.bytes.as_chunks().0.iter().map(|&bytes| u16::from_le_bytes(bytes)).collect();
    // Pairs of columns become a matrix again.
    let mut matrix = vec![vec![0; words]; rows];
    for (index, word) in stored.into_iter().enumerate() {
        let (pair, within) = (index / (2 * rows), index % (2 * rows));
        matrix[within / 2][2 * pair + within % 2] = word;
    }
    // In every block of 2 × 2 words two change places.
    for i in (0..rows).step_by(2) {
        for j in (0..words).step_by(2) {
            let upper = matrix[i][j + 1];
            matrix[i][j + 1] = matrix[i + 1][j];
            matrix[i + 1][j] = upper;
        }
    }
    // Row 4 j + i of 32 was row 8 i + j.
    let packed = packed.matrix();
    let mut core = Mat::zeros((rows, 16 * words));
    for row in 0..rows {
        let moved = row / 32 * 32 + 4 * (row % 8) + row % 32 / 8;
        for group in 0..4 * words {
            let nibble = matrix[moved][group / 4] >> (4 * (group % 4)) & 15;
            let (first, second) = (usize::from(nibble & 3), usize::from(nibble >> 2));
            assert!(first < second, "columns of a group ascend");
            core[[row, 4 * group + first]] = packed[[row, 2 * group]];
            core[[row, 4 * group + second]] = packed[[row, 2 * group + 1]];
        }
    }
    core
}
