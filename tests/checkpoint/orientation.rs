//! Weights that are stored as [inputs, outputs], and weights of experts in one tensor of three axes.

use armor_core::Format;
use armor_core::checkpoint::{Job, JobSettings};
use safetensors::Dtype;

use crate::model::{Tensor, Tensors, read, run};
use crate::small::{SIZE, Small, integers, layers, mark, named, report, square};

const COLS: usize = 48;

/// A tensor of two axes with its axes exchanged.
fn transposed(tensor: &Tensor) -> Tensor {
    let values = tensor.matrix();
    Tensor::new(tensor.dtype, &[tensor.shape[1], tensor.shape[0]], values.t().iter().map(|&value| value as f32))
}

/// The tensors that a job writes.
fn output(small: &Small, out: &str, format: Format, change: impl FnOnce(&mut JobSettings)) -> Tensors {
    let mut settings = small.settings(out);
    settings.format = format;
    change(&mut settings);
    run(settings);
    let name = if format == Format::Reconstructed { "model.safetensors" } else { "armor-model.safetensors" };
    read(&small.path(out).join(name))
}

#[test]
fn a_transposed_weight_is_compressed_along_its_inputs() {
    for (rows, cols) in [(SIZE, COLS), (SIZE, SIZE)] {
        let weight = Tensor::weight(Dtype::F32, rows, cols, 1);
        let hessian = ("a.hessian_diag", Tensor::diagonal(cols, 2));
        let plain = Small::new(&named([("a.weight", weight.clone())]), &named([hessian.clone()]));
        let stored = named([("a.weight", transposed(&weight))]);
        let marked = Small::new(&stored, &named([hessian.clone(), ("a.transposed", mark(1))]));
        let unmarked = Small::new(&stored, &named([hessian]));
        let glob = |settings: &mut JobSettings| settings.transposed = Some(vec!["a.*".to_owned()]);
        for format in [Format::Factors, Format::Reconstructed] {
            let expected = output(&plain, &format.to_string(), format, |_| {});
            for found in [
                output(&marked, &format.to_string(), format, |_| {}),
                output(&unmarked, &format.to_string(), format, glob),
            ] {
                match format {
                    Format::Reconstructed => assert_eq!(found["a.weight"], transposed(&expected["a.weight"])),
                    _ => assert_eq!(found, expected),
                }
            }
        }
        let file = std::fs::read(marked.path("factors/armor-model.safetensors")).expect("a file");
        let (_, header) = safetensors::SafeTensors::read_metadata(&file).expect("sound");
        let words = header.metadata().as_ref().expect("metadata");
        assert_eq!(words.get("a.armor.transposed").map(String::as_str), Some("true"));
    }
}

#[test]
fn an_orientation_that_is_not_known_is_not_guessed() {
    let hessian = ("a.hessian_diag", Tensor::diagonal(SIZE, 2));
    let small = Small::new(&named([("a.weight", square(1))]), &named([hessian.clone()]));
    small.file("config.json", r#"{"model_type": "gpt2"}"#);
    let told = small.refused(|_| {});
    assert!(told.starts_with("model.safetensors: a.weight: is square, and models of the type gpt2 store"), "{told}");
    let mut settings = small.settings("out");
    settings.transposed = Some(Vec::new());
    assert!(!run(settings).layers()[0].transposed);
    small.file("config.json", r#"{"model_type": "x", "decoder": {"model_type": "gpt2"}}"#);
    assert!(small.refused(|_| {}).contains("models of the type gpt2"));
    small.file("config.json", r#"{"model_type": "llama"}"#);
    let job = Job::open(small.settings("out-of-llama")).expect("sound");
    let told: Vec<&str> = job.warnings().collect();
    let expected = "1 square weights are taken as [outputs, inputs], such as a.weight: neither a.transposed nor the setting \
                    \"transposed\" says how they are stored";
    assert_eq!(told, [expected]);

    let of_gpt2 = |hessians: Tensors| {
        let small = Small::new(&named([("a.weight", square(1))]), &hessians);
        small.file("config.json", r#"{"model_type": "gpt2"}"#);
        small
    };
    let counted = of_gpt2(named([hessian.clone(), ("a.tokens", integers(&[9]))]));
    assert!(counted.refused(|_| {}).contains("is square"), "a count of tokens says nothing of the orientation");
    let recorded = of_gpt2(named([hessian.clone(), ("a.transposed", mark(0))]));
    let job = Job::open(recorded.settings("out")).expect("calibration has recorded it");
    assert!(!job.layers()[0].transposed && job.warnings().next().is_none());

    let experts = named([("e", stacked(&[square(1), square(2)]))]);
    let diagonals = stacked(&[Tensor::diagonal(SIZE, 1), Tensor::diagonal(SIZE, 2)]);
    let told = Small::new(&experts, &named([("e.hessian_diag", diagonals)])).refused(|_| {});
    let problem = "model.safetensors: e: has square slices, which models store in either orientation: ";
    assert!(told.starts_with(problem), "{told}");

    let marked = Small::new(&named([("a.weight", square(1))]), &named([hessian, ("a.transposed", mark(1))]));
    let told = marked.refused(|settings| settings.transposed = Some(Vec::new()));
    let expected = "a.weight: is stored as [inputs, outputs] according to a.transposed, and as [outputs, inputs] according \
                    to the setting \"transposed\"";
    assert!(told.ends_with(expected), "{told}");

    let wide = named([("a.weight", Tensor::weight(Dtype::F32, COLS, SIZE, 1))]);
    let small = Small::new(&wide, &named([("a.hessian_diag", Tensor::diagonal(COLS, 1))]));
    let told = small.refused(|_| {});
    assert!(told.contains("has shape [48], expected [32]"), "{told}");
    assert!(
        told.ends_with("if the weight is stored as [inputs, outputs], name it in the setting \"transposed\""),
        "{told}"
    );
}

/// Tensors of the same shape, one behind the other along a new axis.
fn stacked(tensors: &[Tensor]) -> Tensor {
    let shape = [&[tensors.len()], &tensors[0].shape[..]].concat();
    Tensor { dtype: tensors[0].dtype, shape, bytes: tensors.iter().flat_map(|tensor| tensor.bytes.clone()).collect() }
}

#[test]
fn experts_in_one_tensor_are_compressed_one_by_one() {
    const EXPERTS: usize = 11;
    let weights: Vec<Tensor> = (0..EXPERTS).map(|e| Tensor::weight(Dtype::BF16, SIZE, COLS, e as u64)).collect();
    let diagonals: Vec<Tensor> = (0..EXPERTS).map(|e| Tensor::diagonal(COLS, 100 + e as u64)).collect();
    let (mut single, mut hessians) = (Tensors::new(), Tensors::new());
    for (e, (weight, diagonal)) in weights.iter().zip(&diagonals).enumerate() {
        single.insert(format!("mlp.experts.up.{e}.weight"), weight.clone());
        hessians.insert(format!("mlp.experts.up.{e}.hessian_diag"), diagonal.clone());
    }
    let single = Small::new(&single, &hessians);
    let mut tokens = vec![7; EXPERTS];
    tokens[3] = 0;
    let of_all =
        named([("mlp.experts.up.hessian_diag", stacked(&diagonals)), ("mlp.experts.up.tokens", integers(&tokens))]);
    let whole = Small::new(&named([("mlp.experts.up", stacked(&weights))]), &of_all);
    assert_eq!(
        output(&single, "factors", Format::Factors, |_| {}),
        output(&whole, "factors", Format::Factors, |_| {}),
        "each expert has the factors of a tensor of its own"
    );
    let expected = output(&single, "dense", Format::Reconstructed, |_| {});
    let expected: Vec<Tensor> = (0..EXPERTS).map(|e| expected[&format!("mlp.experts.up.{e}.weight")].clone()).collect();
    let found = output(&whole, "dense", Format::Reconstructed, |_| {});
    assert_eq!(found, named([("mlp.experts.up", stacked(&expected))]));

    // [E, inputs, outputs].
    let exchanged: Vec<Tensor> = weights.iter().map(transposed).collect();
    let mut of_exchanged = of_all;
    of_exchanged.insert("mlp.experts.up.transposed".to_owned(), mark(1));
    let exchanged = Small::new(&named([("mlp.experts.up", stacked(&exchanged))]), &of_exchanged);
    let expected: Vec<Tensor> = expected.iter().map(transposed).collect();
    let found = output(&exchanged, "dense", Format::Reconstructed, |_| {});
    assert_eq!(found, named([("mlp.experts.up", stacked(&expected))]));

    let job = Job::open(whole.settings("again")).expect("sound");
    assert_eq!(layers(&job)[..3], ["mlp.experts.up.0", "mlp.experts.up.1", "mlp.experts.up.2"]);
    assert_eq!(layers(&job)[10], "mlp.experts.up.10");
    assert_eq!((job.layers()[2].tokens, job.layers()[3].tokens), (Some(7), Some(0)));
    let told: Vec<&str> = job.warnings().collect();
    assert_eq!(told, ["no calibration token reached 1 layers, whose inputs all count alike, such as mlp.experts.up.3"]);
}

#[test]
fn tokens_are_counted_and_too_few_are_told() {
    let full =
        Tensor::new(Dtype::F32, &[SIZE, SIZE], (0..SIZE * SIZE).map(|at| f32::from(u8::from(at % (SIZE + 1) == 0))));
    let hessians = named([("a.hessian", full), ("a.tokens", integers(&[SIZE as i64 - 1])), ("a.transposed", mark(0))]);
    let small = Small::new(&named([("a.weight", square(1))]), &hessians);
    let mut settings = small.settings("out");
    settings.options = settings.options.objective(armor_core::Objective::Full);
    let job = run(settings);
    let told: Vec<&str> = job.warnings().collect();
    let expected = "1 layers have fewer calibration tokens than inputs, such as a.weight with 31 tokens and 32 inputs";
    assert_eq!(told, [expected]);
    let report = report(&job);
    assert_eq!((&report["layers"][0]["tokens"], &report["warnings"][0]), (&31.into(), &expected.into()));
}
