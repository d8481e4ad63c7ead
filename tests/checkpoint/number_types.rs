//! The number types of what is stored: each weight's own unless the settings choose one, and told before the work where a
//! type does not hold the values.

use armor_core::checkpoint::{Job, JobSettings};
use armor_core::{Format, Precision};
use safetensors::Dtype;

use crate::model::{Tensor, Tensors, read, run};
use crate::small::{SIZE, Small, mark, named, report};

fn one(weight: Tensor) -> Small {
    let cols = weight.shape[1];
    Small::new(
        &named([("a.weight", weight)]),
        &named([("a.hessian_diag", Tensor::diagonal(cols, 1)), ("a.transposed", mark(0))]),
    )
}

#[test]
fn a_weight_keeps_its_type() {
    for (dtype, name) in [(Dtype::F32, "f32"), (Dtype::F16, "f16"), (Dtype::BF16, "bf16")] {
        let small = one(Tensor::weight(dtype, 64, 64, 1));
        let job = run(small.settings("out"));
        assert_eq!(report(&job)["layers"][0]["dtype"], name);
        let found = read(&small.path("out/armor-model.safetensors"));
        for part in ["left", "right", "core.compressed"] {
            assert_eq!(found[&format!("a.armor.{part}")].dtype, dtype);
        }
        let mut settings = small.settings("dense");
        settings.format = Format::Reconstructed;
        run(settings);
        assert_eq!(read(&small.path("dense/model.safetensors"))["a.weight"].dtype, dtype);
    }
}

#[test]
fn values_beyond_a_type_are_told_before_any_layer_runs() {
    let scaled =
        |scale: f32| Tensor::new(Dtype::F32, &[SIZE, SIZE], crate::common::weight(SIZE, SIZE, 1).mapv(|x| x * scale));
    let f16 = Some(Precision::F16.into());
    let told = one(scaled(1e6)).refused(|settings| (settings.format, settings.dtype) = (Format::Reconstructed, f16));
    assert!(told.starts_with("model.safetensors: a.weight: ") && told.contains("f16"), "{told}");
    for (scale, format, warns) in [
        (1e-7, Format::Reconstructed, true),
        // The wrappers carry the scale.
        (1e-7, Format::Factors, false),
        (1.0, Format::Reconstructed, false),
    ] {
        let small = one(scaled(scale));
        let mut settings = small.settings("out");
        (settings.format, settings.dtype) = (format, f16);
        let job = Job::open(settings.clone()).expect("sound");
        let told: Vec<&str> = job.warnings().collect();
        assert_eq!(told.len(), usize::from(warns), "{scale} {format}: {told:?}");
        assert!(told.iter().all(|told| told.starts_with("a.weight: its values are too small for f16: ")), "{told:?}");
        let report = report(&run(settings));
        let loss = |key: &str| report["layers"][0][key].as_f64().expect("a number");
        assert_eq!(loss("loss") > 1.01 * loss("loss_in_f32"), warns, "{report}");
    }
}

/// The value of FP8 E4M3 bits: sign, four bits of the exponent, three of the fraction.
fn value_of(bits: u8) -> f32 {
    let (exponent, fraction) = (i32::from(bits >> 3 & 15), f32::from(bits & 7) / 8.0);
    let size = if exponent == 0 { fraction * 2f32.powi(-6) } else { (1.0 + fraction) * 2f32.powi(exponent - 7) };
    if bits >> 7 == 1 { -size } else { size }
}

#[test]
fn weights_in_fp8_become_bf16() {
    const ROWS: usize = 160;
    const COLS: usize = 132;
    let bits: Vec<u8> = (0..ROWS * COLS).map(|at| (at * 37 + at / COLS * 11) as u8 & 0xf7).collect();
    let quantized = Tensor { dtype: Dtype::F8_E4M3, shape: vec![ROWS, COLS], bytes: bits.clone() };
    let scales_of = |shape: &[usize]| {
        let count: usize = shape.iter().product();
        Tensor::new(Dtype::F32, shape, (0..count).map(|at| 0.5 + at as f32 / 7.0))
    };
    type ScaleAt = fn(usize, usize) -> usize;
    let cases: [(&str, &[usize], ScaleAt); 4] = [
        ("weight_scale_inv", &[2, 2], |row, col| row / 128 * 2 + col / 128),
        ("weight_scale", &[1], |_, _| 0),
        ("weight_scale", &[ROWS], |row, _| row),
        ("weight_scale", &[ROWS, 1], |row, _| row),
    ];
    for (ending, shape, scale_at) in cases {
        let scales = scales_of(shape);
        let factor = |row: usize, col: usize| scales.values()[scale_at(row, col)] as f32;
        let values = (0..ROWS * COLS).map(|at| value_of(bits[at]) * factor(at / COLS, at % COLS));
        let plain = one(Tensor::new(Dtype::F32, &[ROWS, COLS], values));
        let tensors: Tensors = named([
            ("a.weight", quantized.clone()),
            ("a.input_scale", scales_of(&[1])),
            ("b.weight", quantized.clone()),
        ])
        .into_iter()
        .chain([(format!("a.{ending}"), scales.clone()), (format!("b.{ending}"), scales)])
        .collect();
        let small = Small::new(&tensors, &named([("a.hessian_diag", Tensor::diagonal(COLS, 1))]));
        small.file("config.json", r#"{"quantization_config": {"quant_method": "fp8"}, "hidden_size": 4}"#);
        let mut settings = plain.settings("out");
        settings.dtype = Some(Precision::Bf16.into());
        run(settings);
        // A core in bf16 is larger than a weight in FP8, so only a weight that is named is compressed.
        assert!(small.refused(|_| {}).contains("a.weight would grow from 21120 to "));
        let mut settings = small.settings("out");
        settings.include = vec!["a.weight".to_owned()];
        let job = run(settings);
        let found = read(&small.path("out/armor-model.safetensors"));
        let mut expected = read(&plain.path("out/armor-model.safetensors"));
        // b has no Hessian: it stays in FP8, with its scale.
        expected.extend(tensors.clone().into_iter().filter(|(name, _)| name.starts_with("b.")));
        assert_eq!(found, expected, "{ending} {shape:?}");
        let dropped: Vec<_> =
            report(&job)["dropped"].as_array().expect("a list").iter().map(|t| t["name"].clone()).collect();
        assert_eq!(dropped, ["a.input_scale".to_owned(), format!("a.{ending}")]);
        let config: serde_json::Value =
            serde_json::from_slice(&std::fs::read(small.path("out/config.json")).expect("a file")).expect("JSON");
        assert_eq!(config["quantization_config"]["base"]["quant_method"], "fp8");
        let reconstructed = |settings: &mut JobSettings| settings.format = Format::Reconstructed;
        let told = small.refused(reconstructed);
        assert!(told.starts_with("model.safetensors: b.weight: stays in FP8"), "{told}");

        let hessians = ["a.hessian_diag", "b.hessian_diag"].map(|name| (name, Tensor::diagonal(COLS, 1)));
        let whole = Small::new(&tensors, &named(hessians));
        whole.file("config.json", r#"{"quantization_config": {"quant_method": "fp8"}, "hidden_size": 4}"#);
        let mut settings = whole.settings("dense");
        reconstructed(&mut settings);
        run(settings);
        let types = read(&whole.path("dense/model.safetensors")).into_iter().map(|(name, tensor)| (name, tensor.dtype));
        let expected = ["a.weight", "b.weight"].map(|name| (name.to_owned(), Dtype::BF16));
        assert_eq!(types.collect::<Vec<_>>(), expected);
        let config = std::fs::read_to_string(whole.path("dense/config.json")).expect("a file");
        assert_eq!(config, "{\n  \"hidden_size\": 4\n}\n");
    }
    let without = one(quantized);
    let told = without.refused(|_| {});
    assert_eq!(told, "model.safetensors: a.weight: is F8_E4M3, but there is no a.weight_scale_inv or a.weight_scale");
}
