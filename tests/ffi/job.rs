//! Jobs through the ABI: the bytes of the crate's own, and statuses for whatever is wrong.

use std::ffi::{CStr, c_int, c_void};
use std::ops::ControlFlow;
use std::ptr;

use armor_core::PairAccumulator;
use armor_core::checkpoint::{Calibration, Job, JobSettings};
use armor_core::ffi::*;

use crate::common::pairs::Pairs;
use crate::model::{Model, files, run};
use crate::setup::{Owned, assert_ok, assert_refused, last_message};

/// The settings of [`Model::settings`] as JSON.
fn json(model: &Model, out: &str) -> String {
    let settings = model.settings(out);
    serde_json::json!({
        "checkpoint": settings.checkpoint, "hessians": settings.hessians, "out": settings.out, "alias": settings.alias,
        "include": settings.include,
        "block": 16, "iterations": 6, "resume": true
    })
    .to_string()
}

fn create(json: &str) -> Result<Owned<JobHandle>, u32> {
    let mut pointer = ptr::null_mut();
    // SAFETY: the text is as long as it says, and out is a local.
    match unsafe { armor_job_create(json.as_ptr(), json.len(), &mut pointer) } {
        ARMOR_OK => Ok(Owned::new(pointer, armor_job_free)),
        status => Err(status),
    }
}

unsafe extern "C" fn cancel(_: *const RunProgress, calls: *mut c_void) -> c_int {
    // SAFETY: the test hands over a counter of its own.
    unsafe { *calls.cast::<usize>() += 1 };
    1
}

#[test]
#[cfg_attr(miri, ignore = "maps files")]
fn its_output_is_that_of_the_crate() {
    let model = Model::new();
    run(model.settings("rust"));
    let job = create(&json(&model, "c")).unwrap_or_else(|_| panic!("{}", last_message()));
    let (mut count, mut done, mut calls, mut needed) = (0, 7, 0_usize, 0);
    let calls_pointer = (&raw mut calls).cast();
    // SAFETY: the handle is alive, and the buffers are as long as they say.
    unsafe {
        assert_ok(armor_job_layer_count(job.pointer, &mut count));
        assert_eq!(armor_job_run_layer(job.pointer, 0, Some(cancel), calls_pointer), ARMOR_CANCELLED);
        assert_eq!(calls, 1);
        assert_ok(armor_job_layer_done(job.pointer, 0, &mut done));
        assert_eq!((count, done), (24, 0));
        let message = "job: layer 0, model.layers.0.mlp.down_proj.weight, is not done";
        assert_refused(armor_job_finish(job.pointer), ARMOR_JOB_UNFINISHED, message);
        for index in 0..count {
            assert_ok(armor_job_run_layer(job.pointer, index, None, ptr::null_mut()));
        }
        assert_ok(armor_job_layer_done(job.pointer, 0, &mut done));
        assert_eq!(done, 1);
        let message = "job: there is no report before it is finished";
        assert_refused(armor_job_report(job.pointer, ptr::null_mut(), 0, &mut needed), ARMOR_JOB_UNFINISHED, message);
        assert_ok(armor_job_finish(job.pointer));
        assert_ok(armor_job_finish(job.pointer));
        assert_eq!(armor_job_report(job.pointer, ptr::null_mut(), 0, &mut needed), ARMOR_BUFFER_TOO_SMALL);
        let mut report = vec![0; needed];
        assert_ok(armor_job_report(job.pointer, report.as_mut_ptr(), needed, ptr::null_mut()));
        let report = CStr::from_ptr(report.as_ptr()).to_bytes();
        assert_eq!(report, files(&model.out("c"))["report.json"]);
    }
    assert!(files(&model.out("c")) == files(&model.out("rust")));
}

#[test]
#[cfg_attr(miri, ignore = "maps files")]
fn a_caller_passes_each_hessian_and_reads_each_weight() {
    let model = Model::new();
    run(model.settings("files"));
    let of_files = Job::open(crate::model::resumed(&model.settings("files"))).expect("finished");
    let mut of_caller: serde_json::Value = serde_json::from_str(&json(&model, "c")).expect("JSON");
    of_caller["hessians"] = serde_json::Value::Null;
    of_caller["alias"] = serde_json::json!({});
    let job = create(&of_caller.to_string()).unwrap_or_else(|_| panic!("{}", last_message()));
    // SAFETY: the handle is alive, and the buffers are as long as they say.
    unsafe {
        let told = "settings: hessians: is absent, so every layer is run with a calibration of the caller's: use run_layer_on \
                    instead";
        let status = armor_job_run_layer(job.pointer, 0, None, ptr::null_mut());
        assert_refused(status, ARMOR_INVALID_SETTINGS, told);
        for (index, layer) in of_files.layers().iter().enumerate() {
            let (mut rows, mut cols, mut needed) = (0, 0, 0);
            assert_ok(armor_job_layer_shape(job.pointer, index, &mut rows, &mut cols));
            assert_eq!((rows, cols), (layer.rows, layer.cols));
            let values = model.hessians[layer.hessian.as_ref().expect("a Hessian")].values();
            let (data, kind, dtype) = (values.as_ptr().cast(), ARMOR_HESSIAN_DIAGONAL, ARMOR_DTYPE_F64);
            let hessian = HessianView { data, len: cols, row_stride: 0, kind, dtype };
            let len = rows * cols;
            let mut weight = vec![7.0_f32; len];
            let status = armor_job_layer_weight(job.pointer, index, weight.as_mut_ptr(), len, &mut needed);
            let told = format!("job: layer {index}, {}, is not done", layer.name);
            assert_refused(status, ARMOR_JOB_UNFINISHED, &told);
            assert_eq!(weight[len - 1], 7.0);
            assert_ok(armor_job_run_layer_on_hessian(job.pointer, index, &hessian, 3, None, ptr::null_mut()));
            let status = armor_job_layer_weight(job.pointer, index, ptr::null_mut(), 0, &mut needed);
            assert_eq!((status, needed), (ARMOR_BUFFER_TOO_SMALL, len));
            assert_ok(armor_job_layer_weight(job.pointer, index, weight.as_mut_ptr(), len, ptr::null_mut()));
            assert!(weight == of_files.layer_weight(index).expect("finished").into_raw_vec_and_offset().0);
        }
        assert_ok(armor_job_finish(job.pointer));
    }
    for shard in crate::model::COMPRESSED {
        assert!(files(&model.out("c"))[shard] == files(&model.out("files"))[shard]);
    }
}

#[test]
#[cfg_attr(miri, ignore = "maps files")]
fn a_layer_on_pairs_is_that_of_the_crate() {
    let model = Model::new();
    let settings = |out: &str| {
        serde_json::json!({
            "checkpoint": model.path(), "out": model.out(out), "include": ["model.layers.0.*_proj.weight"], "block": 16,
            "iterations": 6, "correction": 0.75
        })
        .to_string()
    };
    let pairs = Pairs::drifting(50, 96, 0.3, 1);
    let mut of_rust = PairAccumulator::new(96);
    of_rust.add(&pairs.dense, &pairs.compressed).expect("finite");
    let rust = JobSettings::from_json(settings("rust").as_bytes()).and_then(Job::open).expect("sound");
    let calibration = Calibration::Pairs(&of_rust.moments().expect("has tokens"));
    rust.run_layer_on(0, calibration, |_| ControlFlow::Continue(())).expect("runs");

    let job = create(&settings("c")).unwrap_or_else(|_| panic!("{}", last_message()));
    let view = |values: &ndarray::Array2<f32>| {
        let (rows, cols) = values.dim();
        MatrixView { data: values.as_ptr().cast(), rows, cols, row_stride: cols, dtype: ARMOR_DTYPE_F32 }
    };
    let mut accumulator = ptr::null_mut();
    // SAFETY: the handles are alive, and the buffers are as long as they say.
    unsafe {
        assert_ok(armor_pair_accumulator_create(96, &mut accumulator));
        let accumulator = Owned::new(accumulator, armor_pair_accumulator_free);
        let on =
            |index: usize| armor_job_run_layer_on_pairs(job.pointer, index, accumulator.pointer, None, ptr::null_mut());
        assert_eq!((on(0), last_message().as_str()), (ARMOR_INVALID_SHAPE, "accumulator: no tokens were added"));
        assert_ok(armor_pair_accumulator_add(accumulator.pointer, &view(&pairs.dense), &view(&pairs.compressed)));
        let told = "hessian: covers 96 inputs, but the weight has 64 columns";
        assert_refused(on(1), ARMOR_INVALID_SHAPE, told);
        assert_refused(on(7), ARMOR_NO_SUCH_LAYER, "index: is 7, but the job has 7 layers");
        let null = armor_job_run_layer_on_pairs(job.pointer, 0, ptr::null(), None, ptr::null_mut());
        assert_refused(null, ARMOR_NULL_POINTER, "accumulator: is NULL");
        let (mut calls, pairs) = (0_usize, accumulator.pointer);
        let counter = (&raw mut calls).cast();
        assert_eq!(armor_job_run_layer_on_pairs(job.pointer, 0, pairs, Some(cancel), counter), ARMOR_CANCELLED);
        assert_eq!(calls, 1);
        assert_ok(on(0));
        let mut weight = vec![0.0_f32; 64 * 96];
        assert_ok(armor_job_layer_weight(job.pointer, 0, weight.as_mut_ptr(), weight.len(), ptr::null_mut()));
        assert!(weight == rust.layer_weight(0).expect("done").into_raw_vec_and_offset().0);

        let mut factors = ptr::null_mut();
        let told = "job: layer 1, model.layers.0.mlp.gate_proj.weight, is not done";
        assert_refused(armor_job_layer_factorization(job.pointer, 1, &mut factors), ARMOR_JOB_UNFINISHED, told);
        assert_ok(armor_job_layer_factorization(job.pointer, 0, &mut factors));
        let factors = Owned::new(factors, armor_factorization_free);
        assert_refused(armor_job_replace_layer(job.pointer, 1, factors.pointer), ARMOR_JOB_UNFINISHED, told);
        assert_ok(armor_job_replace_layer(job.pointer, 0, factors.pointer));
        let mut again = vec![0.0_f32; 64 * 96];
        assert_ok(armor_job_layer_weight(job.pointer, 0, again.as_mut_ptr(), again.len(), ptr::null_mut()));
        assert!(again == weight);
    }
}

#[test]
#[cfg_attr(miri, ignore = "maps files")]
fn what_is_wrong_with_a_call_on_a_layer() {
    let model = Model::new();
    let of_files = create(&json(&model, "files")).unwrap_or_else(|_| panic!("{}", last_message()));
    let of_caller = serde_json::json!({
        "checkpoint": model.path(), "out": model.out("c"), "include": ["model.layers.*.weight"], "block": 16, "iterations": 6
    });
    let job = create(&of_caller.to_string()).unwrap_or_else(|_| panic!("{}", last_message()));
    let identity = |len| HessianView { data: ptr::null(), len, row_stride: 0, kind: ARMOR_HESSIAN_IDENTITY, dtype: 0 };
    let (sound, mut sizes, mut calls) = (identity(96), [0_usize; 2], 0_usize);
    let calls_pointer = (&raw mut calls).cast();
    let places = sizes.as_mut_ptr();
    // SAFETY: the handles are alive, and the library must refuse each of these.
    unsafe {
        let on = |job: *const JobHandle, index: usize, hessian: *const HessianView| {
            armor_job_run_layer_on_hessian(job, index, hessian, 1, None, ptr::null_mut())
        };
        let told =
            "settings: hessians: is given, so every layer is run with the Hessian of its file: use run_layer instead";
        assert_refused(on(of_files.pointer, 0, &sound), ARMOR_INVALID_SETTINGS, told);
        assert_refused(on(ptr::null(), 0, &sound), ARMOR_NULL_POINTER, "job: is NULL");
        assert_refused(on(job.pointer, 0, ptr::null()), ARMOR_NULL_POINTER, "hessian: is NULL");
        let beyond = "index: is 24, but the job has 24 layers";
        assert_refused(on(job.pointer, 24, &sound), ARMOR_NO_SUCH_LAYER, beyond);
        let told = "hessian: covers 95 inputs, but the weight has 96 columns";
        assert_refused(on(job.pointer, 0, &identity(95)), ARMOR_INVALID_SHAPE, told);
        let cancelled = armor_job_run_layer_on_hessian(job.pointer, 0, &sound, 1, Some(cancel), calls_pointer);
        assert_eq!((cancelled, calls), (ARMOR_CANCELLED, 1));
        let shape = armor_job_layer_shape(job.pointer, 24, places, places.add(1));
        assert_refused(shape, ARMOR_NO_SUCH_LAYER, beyond);
        let null = armor_job_layer_shape(job.pointer, 0, ptr::null_mut(), places);
        assert_refused(null, ARMOR_NULL_POINTER, "rows: is NULL");
        let null = armor_job_layer_shape(job.pointer, 0, places, ptr::null_mut());
        assert_refused(null, ARMOR_NULL_POINTER, "cols: is NULL");
        let same = armor_job_layer_shape(job.pointer, 0, places, places);
        assert_refused(same, ARMOR_OVERLAP, "cols: overlaps rows");
        let beyond_weight = armor_job_layer_weight(job.pointer, 24, ptr::null_mut(), 0, places);
        assert_refused(beyond_weight, ARMOR_NO_SUCH_LAYER, beyond);
        let mut factors = ptr::null_mut();
        let beyond_factors = armor_job_layer_factorization(job.pointer, 24, &mut factors);
        assert_refused(beyond_factors, ARMOR_NO_SUCH_LAYER, beyond);
        let null = armor_job_layer_factorization(job.pointer, 0, ptr::null_mut());
        assert_refused(null, ARMOR_NULL_POINTER, "out: is NULL");
        let null = armor_job_replace_layer(job.pointer, 0, ptr::null());
        assert_refused(null, ARMOR_NULL_POINTER, "factorization: is NULL");
        let null = armor_job_layer_weight(job.pointer, 0, ptr::null_mut(), 1, ptr::null_mut());
        assert_refused(null, ARMOR_NULL_POINTER, "buffer: is NULL");
    }
    assert_eq!(sizes, [0, 0]);
}

#[test]
#[cfg_attr(miri, ignore = "maps files")]
fn the_plan_is_that_of_the_crate() {
    let model = Model::new();
    let job = create(&json(&model, "c")).unwrap_or_else(|_| panic!("{}", last_message()));
    let mut needed = 0;
    // SAFETY: the handle is alive, and the buffers are as long as they say.
    let plan = unsafe {
        assert_eq!(armor_job_plan(job.pointer, ptr::null_mut(), 0, &mut needed), ARMOR_BUFFER_TOO_SMALL);
        let mut plan = vec![0; needed];
        assert_ok(armor_job_plan(job.pointer, plan.as_mut_ptr(), needed, ptr::null_mut()));
        CStr::from_ptr(plan.as_ptr()).to_str().expect("UTF-8").to_owned()
    };
    let settings = model.settings("rust");
    assert_eq!(plan, Job::open(settings).expect("sound").plan());
}

#[test]
#[cfg_attr(miri, ignore = "maps files")]
fn names_are_copied_with_a_nul() {
    let model = Model::new();
    let job = create(&json(&model, "c")).unwrap_or_else(|_| panic!("{}", last_message()));
    let name = c"model.layers.0.mlp.down_proj.weight";
    let length = name.to_bytes_with_nul().len();
    let (mut needed, mut buffer) = (0, vec![0x55; length]);
    // SAFETY: the handle is alive, and the buffers are as long as they say.
    unsafe {
        let message = format!("buffer: holds {} elements, needs {length}", length - 1);
        let short = armor_job_layer_name(job.pointer, 0, buffer.as_mut_ptr(), length - 1, &mut needed);
        assert_refused(short, ARMOR_BUFFER_TOO_SMALL, &message);
        assert_eq!((needed, buffer[0]), (length, 0x55));
        assert_ok(armor_job_layer_name(job.pointer, 0, buffer.as_mut_ptr(), length, ptr::null_mut()));
        assert_eq!(CStr::from_ptr(buffer.as_ptr()), name);
        let beyond = armor_job_layer_name(job.pointer, 24, buffer.as_mut_ptr(), length, ptr::null_mut());
        assert_refused(beyond, ARMOR_NO_SUCH_LAYER, "index: is 24, but the job has 24 layers");
        let beyond = armor_job_run_layer(job.pointer, usize::MAX, None, ptr::null_mut());
        assert_eq!(beyond, ARMOR_NO_SUCH_LAYER);
    }
}

#[test]
#[cfg_attr(miri, ignore = "maps files")]
fn what_cannot_be_opened() {
    let model = Model::new();
    let refused = |json: &str, expected: u32, message: &str| {
        let status = create(json).err().unwrap_or(ARMOR_OK);
        assert_eq!(status, expected, "{}", last_message());
        assert!(last_message().contains(message), "{}", last_message());
    };
    refused("{", ARMOR_INVALID_SETTINGS, "settings: document: EOF while parsing");
    refused("{}", ARMOR_INVALID_SETTINGS, "settings: document: missing field `checkpoint`");
    refused("{}\0", ARMOR_INVALID_SETTINGS, "settings: document: trailing characters");
    let sound = json(&model, "c");
    refused(&sound.replace("\"iterations\":6", "\"iterations\":0"), ARMOR_OPTION_OUT_OF_RANGE, "option iterations: 0");
    refused(&sound.replace("hessians.safetensors", "absent"), ARMOR_FILE, "absent: ");
    let path = model.path().join(crate::model::SHARDS[0]);
    let bytes = std::fs::read(&path).expect("a file");
    std::fs::write(&path, &bytes[..bytes.len() - 1]).expect("can be written");
    refused(&sound, ARMOR_INVALID_CHECKPOINT, "model-00001-of-00002.safetensors: header: describes");
    std::fs::write(&path, bytes).expect("can be written");
    std::fs::create_dir(model.out("c")).expect("a folder");
    std::fs::write(model.out("c").join("file"), "").expect("can be written");
    refused(&sound, ARMOR_OTHER_JOB, "holds files, but no job");
}

#[test]
fn arguments_that_are_none() {
    let mut out = ptr::null_mut();
    // SAFETY: the library must refuse each of these.
    unsafe {
        assert_refused(armor_job_create(ptr::null(), 1, &mut out), ARMOR_NULL_POINTER, "settings: is NULL");
        assert_refused(armor_job_create(b"{}".as_ptr(), 2, ptr::null_mut()), ARMOR_NULL_POINTER, "out: is NULL");
        assert_refused(
            armor_job_create([0xff].as_ptr(), 1, &mut out),
            ARMOR_INVALID_TEXT,
            "settings: byte 0 is not UTF-8",
        );
        assert_refused(armor_job_layer_count(ptr::null(), &mut 0), ARMOR_NULL_POINTER, "job: is NULL");
        assert_refused(armor_job_finish(ptr::null()), ARMOR_NULL_POINTER, "job: is NULL");
        assert_ok(armor_job_free(ptr::null_mut()));
        let options = crate::setup::small_options();
        let wrong = options.pointer.cast::<JobHandle>();
        assert_refused(armor_job_finish(wrong), ARMOR_WRONG_HANDLE, "job: is not a handle of a job");
    }
    assert!(out.is_null());
}
