//! Factorisations as bytes: they come back as they went, equal ones are equal bytes, and no other bytes are taken.

#![cfg(feature = "safetensors")]

mod common;

use std::time::Duration;

use armor_core::{Error, Factorization, Hessian, Layer, Options, Pattern, factorize};
use common::{hessian, weight};
use proptest::prelude::*;
use safetensors::{Dtype, SafeTensors};
use serde_json::{Value, json};

fn run(rows: usize, cols: usize, options: &Options) -> Factorization {
    let w = weight(rows, cols, 1);
    let layer = Layer::new(&w, Hessian::from_diagonal(&hessian(cols, 1)).expect("valid")).expect("valid");
    factorize(&layer, options).expect("runs")
}

/// Last blocks smaller on both sides, and columns that are no multiple of eight.
fn ragged() -> Factorization {
    run(13, 20, &Options::exact().left_block(5).right_block(8).iterations(6))
}

/// Three of eight inputs are dead.
fn with_dead_inputs() -> Factorization {
    let mut d = hessian(8, 1);
    d.slice_mut(ndarray::s![2..5]).fill(0.0);
    let w = weight(6, 8, 1);
    let layer = Layer::new(&w, Hessian::from_diagonal(&d).expect("valid")).expect("valid");
    let result = factorize(&layer, &Options::exact().block(4).iterations(3)).expect("runs");
    assert_eq!(result.dead_inputs(), 3);
    result
}

#[test]
fn they_come_back_as_they_went() {
    for factorization in [
        ragged(),
        run(8, 16, &Options::exact().pattern(Pattern::new(3, 8).expect("valid")).block(16).iterations(2)),
        run(9, 12, &Options::paper().pattern(Pattern::new(1, 3).expect("valid")).block(6).iterations(3)),
        run(6, 8, &Options::exact().block(4).iterations(5).time_budget(Some(Duration::from_nanos(1)))),
        run(6, 8, &Options::exact().block(4).temperature(0.0).tolerance(0.9).patience(1)),
        with_dead_inputs(),
    ] {
        let bytes = factorization.to_safetensors("a.b").expect("fits");
        let read = Factorization::from_safetensors(&bytes, "a.b").expect("sound");
        assert_eq!(
            (read.left(), read.core(), read.right()),
            (factorization.left(), factorization.core(), factorization.right())
        );
        let losses = |f: &Factorization| (f.loss().to_bits(), f.nowag_p_loss().to_bits());
        assert_eq!(losses(&read), losses(&factorization));
        assert_eq!(read.history(), factorization.history());
        assert_eq!((read.ridge(), read.dead_inputs()), (factorization.ridge(), factorization.dead_inputs()));
        assert_eq!((read.stop_reason(), read.elapsed()), (factorization.stop_reason(), Duration::ZERO));
        assert_eq!(read.to_safetensors("a.b").expect("fits"), bytes);
    }
}

#[test]
fn equal_factorisations_are_equal_bytes() {
    let bytes = ragged().to_safetensors("layer").expect("fits");
    for _ in 0..8 {
        assert_eq!(ragged().to_safetensors("layer").expect("fits"), bytes);
    }
}

#[test]
fn other_readers_find_the_layout() {
    let factorization = ragged();
    let bytes = factorization.to_safetensors("layer").expect("fits");
    let file = SafeTensors::deserialize(&bytes).expect("a safetensors file");
    let mut found: Vec<_> = file.iter().map(|(name, view)| (name, view.dtype(), view.shape().to_vec())).collect();
    found.sort_by_key(|(name, ..)| *name);
    let expected = [
        ("layer.armor.core.bitmask", Dtype::U8, vec![13, 3]),
        ("layer.armor.core.compressed", Dtype::F32, vec![13, 10]),
        ("layer.armor.core.shape", Dtype::I64, vec![2]),
        ("layer.armor.history", Dtype::F64, vec![7]),
        ("layer.armor.left", Dtype::F32, vec![3, 5, 5]),
        ("layer.armor.right", Dtype::F32, vec![3, 8, 8]),
    ];
    assert_eq!(found, expected);
    let (header, _) = SafeTensors::read_metadata(&bytes).expect("a header");
    assert!(header.is_multiple_of(8), "data stay aligned");
    let left = file.tensor("layer.armor.left").expect("there");
    let first = f32::from_le_bytes(left.data()[4..8].try_into().expect("four bytes"));
    assert_eq!(first, factorization.left().block(0)[[0, 1]]);
}

#[test]
fn every_shortened_file_is_refused() {
    let bytes = ragged().to_safetensors("layer").expect("fits");
    for len in 0..bytes.len() {
        let error = Factorization::from_safetensors(&bytes[..len], "layer").expect_err("cut off");
        assert!(matches!(&error, Error::Bytes { key, .. } if key == "header"), "{len}: {error}");
    }
    let longer = [&bytes[..], &[0]].concat();
    let error = Factorization::from_safetensors(&longer, "layer").expect_err("too long");
    let all = bytes.len() - 8 - u64::from_le_bytes(bytes[..8].try_into().expect("eight")) as usize;
    assert_eq!(
        error.to_string(),
        format!("bytes: header: describes {all} bytes of data, but the file has {}", all + 1)
    );
}

/// A sound file, taken apart to be changed.
struct Parts {
    header: Value,
    data: Vec<u8>,
}

impl Parts {
    fn new() -> Self {
        let bytes = ragged().to_safetensors("layer").expect("fits");
        let len = u64::from_le_bytes(bytes[..8].try_into().expect("eight bytes")) as usize;
        let header = serde_json::from_slice(&bytes[8..8 + len]).expect("JSON");
        Parts { header, data: bytes[8 + len..].to_vec() }
    }

    fn bytes(&self) -> Vec<u8> {
        let header = self.header.to_string();
        [&(header.len() as u64).to_le_bytes(), header.as_bytes(), &self.data].concat()
    }

    fn tensor(&mut self, part: &str) -> &mut Value {
        &mut self.header[format!("layer.armor.{part}")]
    }

    /// A tensor's bytes from `at`.
    fn data(&mut self, part: &str, at: usize) -> &mut [u8] {
        let start = self.tensor(part)["data_offsets"][0].as_u64().expect("an offset") as usize;
        &mut self.data[start + at..]
    }
}

#[track_caller]
fn assert_refused(change: impl FnOnce(&mut Parts), message: &str) {
    let mut parts = Parts::new();
    Factorization::from_safetensors(&parts.bytes(), "layer").expect("sound until it is changed");
    change(&mut parts);
    let error = Factorization::from_safetensors(&parts.bytes(), "layer").expect_err(message);
    assert_eq!(error.to_string(), format!("bytes: {message}"));
}

#[test]
fn headers_that_lie() {
    assert_refused(
        |parts| parts.tensor("left")["shape"] = json!([3, 25]),
        "layer.armor.left: has shape [3, 25], expected [3, 5, 5]",
    );
    assert_refused(
        |parts| parts.tensor("core.bitmask")["shape"] = json!([39, 1]),
        "layer.armor.core.bitmask: has shape [39, 1], expected [13, 3]",
    );
    assert_refused(
        |parts| parts.tensor("right")["dtype"] = json!("I32"),
        "layer.armor.right: is I32, expected F32 or F16 or BF16",
    );
    assert_refused(
        |parts| {
            let history = parts.tensor("history").take();
            let header = parts.header.as_object_mut().expect("an object");
            header.remove("layer.armor.history");
            header.insert("other".to_owned(), history);
        },
        "layer.armor.history: no such tensor",
    );
    for (at, size, shown) in [(0, 0_i64, "[0, 20]"), (8, -1, "[13, -1]"), (0, i64::MAX, "[9223372036854775807, 20]")] {
        assert_refused(
            |parts| parts.data("core.shape", at)[..8].copy_from_slice(&size.to_le_bytes()),
            &format!("layer.armor.core.shape: is {shown}, expected two sizes above zero"),
        );
    }
    assert_refused(
        |parts| parts.data("core.shape", 0)[..8].copy_from_slice(&16_i64.to_le_bytes()),
        "layer.armor.left: has shape [3, 5, 5], expected [4, 5, 5]",
    );
}

#[test]
fn offsets_that_add_up_beyond_the_address_space() {
    let mut tensors = serde_json::Map::new();
    let step = u64::MAX / 8;
    for index in 0..9 {
        let offsets = [step.wrapping_mul(index), step.wrapping_mul(index + 1)];
        tensors.insert(format!("t{index}"), json!({"dtype": "U8", "shape": [step], "data_offsets": offsets}));
    }
    let header = Value::Object(tensors).to_string();
    let bytes = [&(header.len() as u64).to_le_bytes(), header.as_bytes(), &[0; 16]].concat();
    let error = Factorization::from_safetensors(&bytes, "layer").expect_err("a lie");
    assert!(matches!(&error, Error::Bytes { key, .. } if key == "header"), "{error}");
    let vast = [&u64::MAX.to_le_bytes(), header.as_bytes()].concat();
    let error = Factorization::from_safetensors(&vast, "layer").expect_err("a lie");
    assert!(error.to_string().starts_with("bytes: header: cut off: "), "{error}");
}

#[test]
fn metadata_that_do_not_fit() {
    let set = |key: &'static str, value: &'static str| {
        move |parts: &mut Parts| parts.header["__metadata__"][key] = json!(value)
    };
    let this = concat!("armor-core ", env!("CARGO_PKG_VERSION"));
    let reads = format!("this version, {this}, reads format 2 only");
    assert_refused(set("armor.format", "3"), &format!("armor.format: is \"3\", written by {this}; {reads}"));
    let of_format_1 = |parts: &mut Parts| {
        let metadata = parts.header["__metadata__"].as_object_mut().expect("metadata");
        metadata.insert("armor.format".to_owned(), json!("1"));
        assert_eq!(metadata.remove("armor.writer"), Some(json!(this)));
    };
    assert_refused(of_format_1, &format!("armor.format: is \"1\", written by armor-core before format 2; {reads}"));
    let of_no_version = |parts: &mut Parts| {
        let metadata = parts.header["__metadata__"].as_object_mut().expect("metadata");
        metadata.insert("armor.format".to_owned(), json!("4"));
        metadata.remove("armor.writer");
    };
    assert_refused(of_no_version, &format!("armor.format: is \"4\", written by an unknown version; {reads}"));
    assert_refused(set("armor.left_block", "4"), "layer.armor.left: has shape [3, 5, 5], expected [4, 4, 4]");
    assert_refused(set("armor.left_block", "0"), "armor.left_block: is 0, expected 1 to 13");
    assert_refused(set("armor.right_block", "21"), "armor.right_block: is 21, expected 1 to 20");
    assert_refused(set("armor.right_block", "x"), "armor.right_block: \"x\": invalid digit found in string");
    assert_refused(set("armor.pattern", "2:2"), "armor.pattern: \"2:2\": pattern: 2:2 is not N:M with 0 < N < M ≤ 8");
    assert_refused(
        set("armor.pattern", "1:3"),
        "layer.armor.core.shape: 20 columns are not a multiple of 3, the group of 1:3",
    );
    assert_refused(set("armor.pattern", "2:5"), "armor.right_block: is 8, expected a multiple of 5, the group of 2:5");
    assert_refused(set("armor.loss", "NaN"), "armor.loss: is NaN, expected a finite number, not negative");
    assert_refused(
        set("armor.nowag_p_loss", "-1"),
        "armor.nowag_p_loss: is -1, expected a finite number, not negative",
    );
    assert_refused(set("armor.dead_inputs", "21"), "armor.dead_inputs: is 21, expected 0 to 20");
    assert_refused(set("armor.dead_inputs", "-1"), "armor.dead_inputs: \"-1\": invalid digit found in string");
    assert_refused(set("armor.stop_reason", "bored"), "armor.stop_reason: \"bored\" is not a reason to stop");
    assert_refused(
        |parts| drop(parts.header["__metadata__"].as_object_mut().expect("an object").remove("armor.loss")),
        "armor.loss: no such metadata",
    );
}

#[test]
fn values_that_cannot_be() {
    let nan = f32::NAN.to_le_bytes();
    for (part, index) in [("left", 7), ("right", 1), ("core.compressed", 129)] {
        assert_refused(
            |parts| parts.data(part, 4 * index)[..4].copy_from_slice(&nan),
            &format!("layer.armor.{part}: value {index} is NaN, expected a finite number"),
        );
    }
    assert_refused(
        |parts| parts.data("history", 16)[..8].copy_from_slice(&f64::INFINITY.to_le_bytes()),
        "layer.armor.history: entry 2 is inf, expected a finite number, not negative",
    );
    // The last left block has three rows; entry [0, 3] of its five by five is padding.
    assert_refused(
        |parts| parts.data("left", 4 * (2 * 25 + 3))[..4].copy_from_slice(&1.5_f32.to_le_bytes()),
        "layer.armor.left: block 2 has 1.5 at [0, 3], in its padding; expected 0",
    );
    // Row 4, whose three bytes start at 12: group 3 is the upper half of the second byte.
    assert_refused(
        |parts| parts.data("core.bitmask", 13)[0] |= 0xf0,
        "layer.armor.core.bitmask: mask: 0b00001111 of row 4, group 3 does not keep 2 of 4",
    );
    assert_refused(
        |parts| parts.data("core.bitmask", 14)[0] |= 0x20,
        "layer.armor.core.bitmask: keeps column 21 of row 4, expected columns below 20",
    );
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    /// Damage is refused, or is a change of value that leaves the file sound; it never panics.
    #[test]
    fn damage_never_panics(at in any::<prop::sample::Index>(), bit in 0..8_u32, more in 0..3_usize) {
        let mut bytes = ragged_bytes().to_vec();
        for step in 0..=more {
            let at = (at.index(bytes.len()) + 7 * step) % bytes.len();
            bytes[at] ^= 1 << bit;
        }
        match Factorization::from_safetensors(&bytes, "layer") {
            Ok(read) => {
                prop_assert_eq!((read.core().rows(), read.core().cols()), (13, 20));
                let product = read.apply(ndarray::Array1::ones(20).view());
                prop_assert_eq!(product.expect("fits").len(), 13);
            }
            Err(error) => prop_assert!(matches!(error, Error::Bytes { .. }), "{}", error),
        }
    }
}

fn ragged_bytes() -> &'static [u8] {
    static BYTES: std::sync::OnceLock<Vec<u8>> = std::sync::OnceLock::new();
    BYTES.get_or_init(|| ragged().to_safetensors("layer").expect("fits"))
}
