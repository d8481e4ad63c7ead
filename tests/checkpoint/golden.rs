//! Packed cores compared with what PyTorch and compressed-tensors made of the same matrices and masks.

use std::path::{Path, PathBuf};

use armor_core::{Factorization, Format, Precision};
use safetensors::Dtype;
use serde_json::json;

use crate::model::{Tensor, Tensors, read};

/// The files `{kind}-*.safetensors` of tests/golden.
fn files(kind: &str) -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden");
    let entries = std::fs::read_dir(folder).expect("tests/golden").map(|entry| entry.expect("an entry").path());
    let ours = |path: &PathBuf| {
        let name = path.file_name().expect("a name").to_string_lossy();
        name.starts_with(kind) && name.ends_with(".safetensors")
    };
    let mut files: Vec<_> = entries.filter(ours).collect();
    files.sort();
    assert!(!files.is_empty(), "there are files of {kind}");
    files
}

/// A factorisation with this core, and the identity on both sides.
pub fn around(dense: &Tensor, mask: &[u8]) -> Factorization {
    let (rows, cols) = (dense.shape[0], dense.shape[1]);
    let values = dense.values();
    let kept = (0..rows * cols).filter(|&at| mask[at] == 1).map(|at| values[at] as f32);
    let mut bits = vec![0; rows * cols.div_ceil(8)];
    for at in (0..rows * cols).filter(|&at| mask[at] == 1) {
        bits[at / cols * cols.div_ceil(8) + at % cols / 8] |= 1 << (at % cols % 8);
    }
    let identity = (0..cols * 4).map(|at| if at % 4 == at / 4 % 4 { 1.0 } else { 0.0 });
    let shape = [rows as i64, cols as i64].iter().flat_map(|x| x.to_le_bytes()).collect();
    let tensors: Tensors = [
        ("left", Tensor::new(Dtype::F32, &[rows, 1, 1], (0..rows).map(|_| 1.0))),
        ("right", Tensor::new(Dtype::F32, &[cols / 4, 4, 4], identity)),
        ("core.compressed", Tensor::new(Dtype::F32, &[rows, cols / 2], kept)),
        ("core.bitmask", Tensor { dtype: Dtype::U8, shape: vec![rows, cols.div_ceil(8)], bytes: bits }),
        ("core.shape", Tensor { dtype: Dtype::I64, shape: vec![2], bytes: shape }),
        ("history", Tensor { dtype: Dtype::F64, shape: vec![1], bytes: 0.5_f64.to_le_bytes().to_vec() }),
    ]
    .map(|(part, tensor)| (format!("layer.armor.{part}"), tensor))
    .into();
    let words = json!({
        "armor.format": "2", "armor.pattern": "2:4", "armor.left_block": "1", "armor.right_block": "4",
        "armor.loss": "0.5", "armor.nowag_p_loss": "0.5", "armor.stop_reason": "iterations"
    });
    let words = serde_json::from_value(words).expect("texts");
    let views = tensors.iter().map(|(name, tensor)| {
        let view = safetensors::tensor::TensorView::new(tensor.dtype, tensor.shape.clone(), &tensor.bytes);
        (name, view.expect("bytes fit the shape"))
    });
    let bytes = safetensors::serialize(views, Some(words)).expect("fits");
    Factorization::from_safetensors(&bytes, "layer").expect("sound")
}

/// What a file is exported as.
pub fn export(factors: &Factorization, format: Format, precision: Precision) -> Tensors {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("export.safetensors");
    std::fs::write(&path, factors.export("layer", format, precision).expect("fits")).expect("can be written");
    read(&path)
}

#[test]
fn cutlass_is_what_pytorch_makes() {
    for path in files("cutlass") {
        let golden = read(&path);
        let packed = export(&around(&golden["dense"], &golden["mask"].bytes), Format::Cutlass, Precision::F16);
        assert_eq!(packed["layer.armor.core.packed"], golden["packed"], "{}", path.display());
        assert_eq!(packed["layer.armor.core.meta"], golden["meta"], "{}", path.display());
    }
}

#[test]
fn the_bitmask_is_what_compressed_tensors_makes() {
    for path in files("bitmask") {
        let golden = read(&path);
        let packed = export(&around(&golden["dense"], &golden["mask"].bytes), Format::SparseBitmask, Precision::F16);
        for name in ["layer.compressed", "layer.bitmask", "layer.shape"] {
            assert_eq!(packed[name], golden[name], "{} {name}", path.display());
        }
        let found = crate::decode::sparse_bitmask(&packed, "layer");
        assert_eq!(found, golden["dense"].matrix(), "{}", path.display());
    }
}
