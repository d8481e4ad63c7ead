//! The worked example of docs/formats.md is what is written.

use std::fmt::Write;
use std::path::Path;

use armor_core::{Factorization, Format, Precision};
use safetensors::Dtype;

use crate::golden::{around, export};
use crate::model::Tensor;

/// The example's core, a number where one is kept; kept zeros are 0.0, the rest is None.
const CORE: [[Option<f32>; 8]; 4] = [
    [Some(1.0), Some(2.0), None, None, Some(3.0), None, Some(4.0), None],
    [None, Some(5.0), Some(6.0), None, Some(7.0), None, None, Some(8.0)],
    [None, Some(9.0), None, Some(10.0), None, None, Some(11.0), Some(12.0)],
    [Some(0.0), Some(13.0), None, None, None, Some(14.0), Some(0.0), None],
];

fn example() -> Factorization {
    let dense = CORE.iter().flatten().map(|entry| entry.unwrap_or(0.0));
    let mask: Vec<u8> = CORE.iter().flatten().map(|entry| entry.is_some().into()).collect();
    around(&Tensor::new(Dtype::F32, &[4, 8], dense), &mask)
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect::<Vec<_>>().join(" ")
}

/// Every tensor but the wrappers and the history, row by row.
fn listing(format: Format) -> String {
    let mut text = String::new();
    for (name, tensor) in export(&example(), format, Precision::F16) {
        if ["left", "right", "history"].iter().any(|part| name.ends_with(part)) {
            continue;
        }
        writeln!(text, "{name} {:?} {:?}", tensor.dtype, tensor.shape).expect("a string");
        let rows = if name.ends_with("shape") { 1 } else { tensor.shape[0] };
        for row in tensor.bytes.chunks(tensor.bytes.len() / rows) {
            writeln!(text, "    {}", hex(row)).expect("a string");
        }
    }
    text
}

#[test]
fn the_bytes_of_the_worked_example_are_those_of_the_page() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/formats.md");
    let page = std::fs::read_to_string(path).expect("docs/formats.md");
    let mut blocks: Vec<String> =
        [Format::Factors, Format::DenseCore, Format::SparseBitmask, Format::Reconstructed].map(listing).into();
    let file = example().export("layer", Format::Factors, Precision::F16).expect("fits");
    let length = u64::from_le_bytes(file[..8].try_into().expect("eight bytes")) as usize;
    blocks.push(hex(&file[..8]));
    // The page breaks the header's one line where it likes.
    let (page, header) = (page.as_str(), String::from_utf8_lossy(&file[8..8 + length]).into_owned());
    let lacks: Vec<&String> = blocks.iter().filter(|block| !page.contains(*block)).collect();
    assert!(lacks.is_empty(), "docs/formats.md lacks:\n{}", lacks.into_iter().cloned().collect::<String>());
    let squeezed = |text: &str| text.split_whitespace().collect::<String>();
    assert!(squeezed(page).contains(&squeezed(&header)), "docs/formats.md lacks:\n{header}");
}
