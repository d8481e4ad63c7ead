//! A model in every format and back.

use armor_core::checkpoint::{CheckpointError, Job};
use armor_core::{Error, FactorPrecision, Factorization, Format, Objective, Precision};
use safetensors::Dtype;
use serde_json::Value;

use crate::common::relative_loss;
use crate::decode::approximation;
use crate::model::{COMPRESSED, Model, SHARDS, Tensor, files, output_names, read, run};

#[test]
fn every_format_holds_the_loss_that_is_reported() {
    let model = Model::new();
    for format in Format::ALL {
        for dtype in Precision::ALL {
            if format != Format::Cutlass || dtype != Precision::F32 {
                holds_the_reported_loss(&model, format, dtype.into());
            }
        }
    }
}

#[test]
fn every_factor_has_its_own_number_type() {
    let model = Model::new();
    let mixed = FactorPrecision { left: Precision::F32, core: Precision::Bf16, right: Precision::F16 };
    for format in Format::ALL {
        if format != Format::Reconstructed {
            holds_the_reported_loss(&model, format, mixed);
        }
    }
    let tensors = read(&model.out("factors-f32, bf16, f16").join(COMPRESSED[0]));
    let dtype = |part: &str| tensors[&format!("model.layers.0.self_attn.q_proj.armor.{part}")].dtype;
    assert_eq!([dtype("left"), dtype("core.compressed"), dtype("right")], [Dtype::F32, Dtype::BF16, Dtype::F16]);
    let mut settings = model.settings("refused");
    (settings.format, settings.dtype) = (Format::Reconstructed, Some(mixed));
    let refused = Job::open(settings).expect_err("one matrix has one type").to_string();
    let every = refused.lines().skip(1).collect::<Vec<_>>();
    let problem = "format reconstructed: dtype f32, bf16, f16 does not fit, expected one type";
    assert!(every.len() == 24 && every.iter().all(|line| line.ends_with(problem)), "{refused}");
}

/// Compresses the model, decodes what is stored, and compares its loss with the report's.
fn holds_the_reported_loss(model: &Model, format: Format, dtype: FactorPrecision) {
    let mut settings = model.settings(&format!("{format}-{dtype}"));
    (settings.format, settings.dtype) = (format, Some(dtype));
    let out = settings.out.clone();
    let report: Value = serde_json::from_str(&run(settings).report().expect("finished")).expect("JSON");
    let layers = report["layers"].as_array().expect("layers");
    assert_eq!(layers.len(), 3 * 4 + 2 * 3 + 2 * 3);
    let this = concat!("armor-core ", env!("CARGO_PKG_VERSION"));
    assert_eq!(report["writer"], this);
    for shard in output_names(format).0 {
        let bytes = std::fs::read(out.join(shard)).expect("a shard");
        let (_, header) = safetensors::SafeTensors::read_metadata(&bytes).expect("sound");
        let writer = header.metadata().as_ref().and_then(|words| words.get("armor.writer"));
        assert_eq!(writer.map(String::as_str), Some(this), "{shard}");
    }
    for layer in layers {
        let text = |key: &str| layer[key].as_str().expect("a text");
        let number = |key: &str| layer[key].as_f64().expect("a number");
        let file = out.join(text("file"));
        let bytes = std::fs::read(&file).expect("a shard");
        let found = approximation(&read(&file), &bytes, text("name"), format);
        let (weight, diagonal) = model.layer(text("name"), text("hessian"));
        let loss = relative_loss(&weight, &diagonal, &found);
        let reported = number("loss");
        let what = format!("{format} {dtype} {}: {loss} {reported}", text("name"));
        assert!((loss - reported).abs() < 1e-6 * reported, "{what}");
        assert!(reported < number("nowag_p_loss"), "{what}");
        if format == Format::Factors {
            let stem = text("name").strip_suffix(".weight").expect("a weight");
            let factors = Factorization::from_safetensors(&bytes, stem).expect("sound");
            // The parser of JSON rounds the last bit.
            assert!((factors.loss() - reported).abs() < 1e-15 && factors.iterations() == 6, "{what}");
        }
    }
}

#[test]
fn what_is_not_selected_is_copied_bit_for_bit() {
    let model = Model::new();
    let mut settings = model.settings("out");
    settings.include = vec!["*.self_attn.?_proj.weight".to_owned()];
    settings.exclude = vec!["model.layers.2.*".to_owned()];
    let out = settings.out.clone();
    let job = run(settings);
    let selected: Vec<&str> = job.layers().iter().map(|layer| layer.name.as_str()).collect();
    assert_eq!(selected.len(), 8);
    for (name, tensors) in COMPRESSED.iter().zip(&model.shards) {
        let found = read(&out.join(name));
        for (tensor, content) in tensors {
            let copy = found.get(tensor);
            assert_eq!(copy.is_none(), selected.contains(&tensor.as_str()), "{tensor}");
            assert!(copy.is_none_or(|copy| copy == content), "{tensor}");
        }
    }
    let index = std::fs::read(out.join("armor-model.safetensors.index.json")).expect("an index");
    let index: Value = serde_json::from_slice(&index).expect("JSON");
    let map = index["weight_map"].as_object().expect("a map");
    let tensors =
        COMPRESSED.iter().flat_map(|&name| read(&out.join(name)).into_keys().map(move |tensor| (tensor, name)));
    let tensors: Vec<_> = tensors.collect();
    assert_eq!(map.len(), tensors.len());
    assert!(tensors.iter().all(|(tensor, name)| map[tensor] == **name));
    let bytes: usize =
        COMPRESSED.iter().flat_map(|name| read(&out.join(name))).map(|(_, tensor)| tensor.bytes.len()).sum();
    assert_eq!(index["metadata"]["total_size"], bytes);
    assert!(!out.join(".parts").exists());
}

#[test]
fn one_file_is_a_checkpoint_too_whatever_the_alignment_of_its_data() {
    let model = Model::new();
    let name = "model.layers.0.self_attn.q_proj";
    let tensor = &model.shards[0][&format!("{name}.weight")];
    let file = model.folder.path().join("single.safetensors");
    crate::model::write(&file, &[(format!("{name}.weight"), tensor.clone())].into());
    let aligned = std::fs::read(&file).expect("a file");
    let length = u64::from_le_bytes(aligned[..8].try_into().expect("eight bytes")) as usize;
    let text = std::str::from_utf8(&aligned[8..8 + length]).expect("text").trim_end();
    let header = format!("{text}{}", " ".repeat((8 - text.len() % 8) % 8 + 1));
    let misaligned = [&(header.len() as u64).to_le_bytes(), header.as_bytes(), &aligned[8 + length..]].concat();
    let mut outputs = Vec::new();
    for (out, bytes) in [("aligned", &aligned), ("misaligned", &misaligned)] {
        std::fs::write(&file, bytes).expect("can be written");
        let mut settings = model.settings(out);
        settings.checkpoint.clone_from(&file);
        settings.alias.clear();
        settings.include = vec![format!("{name}.weight")];
        run(settings);
        outputs.push(read(&model.out(out).join("armor-single.safetensors")));
    }
    assert_eq!(outputs[0], outputs[1]);
    assert!(outputs[0].contains_key(&format!("{name}.armor.left")));
}

#[test]
fn every_file_is_the_same_in_every_run_on_any_number_of_threads() {
    let model = Model::new();
    let mut outputs = Vec::new();
    for (out, threads, in_flight) in [("a", 1, 1), ("b", 3, 1), ("c", 0, 4)] {
        let mut settings = model.settings(out);
        settings.options = settings.options.threads(threads);
        let job = Job::open(settings).expect("sound");
        job.run(in_flight, &|_| {}).expect("runs");
        job.finish(&|_, _| {}).expect("finishes");
        outputs.push(files(&model.out(out)));
    }
    assert!(outputs.iter().all(|output| *output == outputs[0]));
    assert_eq!(outputs[0].len(), 6);
}

#[test]
fn the_whole_hessian_is_an_objective() {
    let mut model = Model::new();
    model.hessians = model
        .hessians
        .iter()
        .map(|(name, diagonal)| {
            let values = diagonal.values();
            let k = values.len();
            let entry = |i: usize, j: usize| {
                let scale = (values[i] * values[j]).sqrt() as f32;
                if i == j { scale } else { scale * 0.3_f32.powi(1 + i.abs_diff(j) as i32) }
            };
            let full = Tensor::new(Dtype::F32, &[k, k], (0..k * k).map(|at| entry(at / k, at % k)));
            (name.replace("hessian_diag", "hessian"), full)
        })
        .collect();
    model.save();
    for (objective, dtype) in [(Objective::Full, Precision::Bf16), (Objective::Diagonal, Precision::F16)] {
        let mut settings = model.settings(&format!("{objective:?}"));
        settings.options = settings.options.objective(objective);
        settings.dtype = Some(dtype.into());
        let report: Value = serde_json::from_str(&run(settings).report().expect("finished")).expect("JSON");
        for layer in report["layers"].as_array().expect("layers") {
            let number = |key: &str| layer[key].as_f64().expect("a number");
            assert!(number("loss") < number("nowag_p_loss") && number("loss_in_f32") < number("nowag_p_loss"));
            assert!((number("loss") - number("loss_in_f32")).abs() < 1e-2 * number("loss"), "{layer}");
            assert_ne!(number("loss"), number("loss_in_f32"));
        }
    }
}

#[test]
fn an_overflow_keeps_the_work_and_another_dtype_takes_it() {
    let mut model = Model::new();
    let name = "model.layers.0.self_attn.q_proj.weight";
    let large = crate::common::weight(64, 64, 1).mapv(|x| 1e12 * x);
    model.shards[0].insert(name.to_owned(), Tensor::new(Dtype::F32, &[64, 64], large));
    model.save();
    let mut settings = model.settings("out");
    settings.dtype = Some(Precision::F16.into());
    let found = Job::open(settings.clone()).expect_err("is found before any layer runs").to_string();
    assert!(found.starts_with(&format!("{}: {name}: ", SHARDS[0])), "{found}");
    settings.check_values = false;
    let job = Job::open(settings.clone()).expect("values are not checked");
    let error = job.run(1, &|_| {}).expect_err("f16 ends at 65504");
    let overflow = matches!(&error, CheckpointError::InTensor { source: Error::Overflow { dtype: "f16", .. }, .. });
    assert!(overflow, "{error}");
    assert!(error.to_string().starts_with(&format!("{}: {name}: ", SHARDS[0])), "{error}");
    let mut other = settings;
    (other.dtype, other.resume, other.check_values) = (Some(Precision::Bf16.into()), true, true);
    let job = Job::open(other.clone()).expect("the same job but for its dtype");
    let done = job.layers().iter().position(|layer| layer.name == name).expect("is selected");
    assert!(job.is_done(done));
    job.run(1, &|_| {}).expect("runs");
    job.finish(&|_, _| {}).expect("finishes");
    other.out = model.out("fresh");
    run(other);
    assert!(files(&model.out("out")) == files(&model.out("fresh")));
}
