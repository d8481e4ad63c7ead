//! Options: what the setters take and refuse, and that they do what the crate's do.

use std::ffi::CStr;
use std::ptr;

use armor_core::ffi::*;
use armor_core::{Hessian, Layer, Method, Options, Pattern, factorize};

use crate::setup::*;

type Set = unsafe fn(*mut OptionsHandle) -> u32;

/// What is refused, and how the message begins.
const REFUSED: [(Set, u32, &str); 24] = [
    (|o| unsafe { armor_options_set_method(o, 0) }, ARMOR_UNKNOWN_VALUE, "method: 0 is not"),
    (|o| unsafe { armor_options_set_method(o, 4) }, ARMOR_UNKNOWN_VALUE, "method: 4 is not"),
    (|o| unsafe { armor_options_set_left_block(o, 0) }, ARMOR_OPTION_OUT_OF_RANGE, "option left_block: 0 is"),
    (|o| unsafe { armor_options_set_left_block(o, 4097) }, ARMOR_OPTION_OUT_OF_RANGE, "option left_block: 4097 is"),
    (|o| unsafe { armor_options_set_right_block(o, 0) }, ARMOR_OPTION_OUT_OF_RANGE, "option right_block: 0 is"),
    (|o| unsafe { armor_options_set_right_block(o, 6) }, ARMOR_OPTION_OUT_OF_RANGE, "option right_block: 6 is"),
    (|o| unsafe { armor_options_set_pattern(o, 0, 4) }, ARMOR_OPTION_OUT_OF_RANGE, "pattern: 0:4 is"),
    (|o| unsafe { armor_options_set_pattern(o, 4, 4) }, ARMOR_OPTION_OUT_OF_RANGE, "pattern: 4:4 is"),
    (|o| unsafe { armor_options_set_pattern(o, 2, 9) }, ARMOR_OPTION_OUT_OF_RANGE, "pattern: 2:9 is"),
    (|o| unsafe { armor_options_set_iterations(o, 0) }, ARMOR_OPTION_OUT_OF_RANGE, "option iterations: 0 is"),
    (
        |o| unsafe { armor_options_set_iterations(o, 10_000_001) },
        ARMOR_OPTION_OUT_OF_RANGE,
        "option iterations: 10000001",
    ),
    (|o| unsafe { armor_options_set_time_budget(o, 0.0) }, ARMOR_OPTION_OUT_OF_RANGE, "option time_budget: 0 s is"),
    (|o| unsafe { armor_options_set_time_budget(o, f64::NAN) }, ARMOR_OPTION_OUT_OF_RANGE, "option time_budget: NaN"),
    (|o| unsafe { armor_options_set_time_budget(o, -1.0) }, ARMOR_OPTION_OUT_OF_RANGE, "option time_budget: -1 s is"),
    (|o| unsafe { armor_options_set_tolerance(o, 1.0) }, ARMOR_OPTION_OUT_OF_RANGE, "option tolerance: 1 is"),
    (|o| unsafe { armor_options_set_tolerance(o, f64::NAN) }, ARMOR_OPTION_OUT_OF_RANGE, "option tolerance: NaN is"),
    (|o| unsafe { armor_options_set_patience(o, 0) }, ARMOR_OPTION_OUT_OF_RANGE, "option patience: 0 is"),
    (|o| unsafe { armor_options_set_temperature(o, -0.1) }, ARMOR_OPTION_OUT_OF_RANGE, "option temperature: -0.1 is"),
    (|o| unsafe { armor_options_set_temperature(o, 101.0) }, ARMOR_OPTION_OUT_OF_RANGE, "option temperature: 101 is"),
    (
        |o| unsafe { armor_options_set_max_extrapolation(o, 1.0) },
        ARMOR_OPTION_OUT_OF_RANGE,
        "option max_extrapolation: 1",
    ),
    (|o| unsafe { armor_options_set_learning_rate(o, 0.0) }, ARMOR_OPTION_OUT_OF_RANGE, "option learning_rate: 0 is"),
    (|o| unsafe { armor_options_set_learning_rate(o, 1.5) }, ARMOR_OPTION_OUT_OF_RANGE, "option learning_rate: 1.5 is"),
    (|o| unsafe { armor_options_set_threads(o, 1025) }, ARMOR_OPTION_OUT_OF_RANGE, "option threads: 1025 is"),
    (|o| unsafe { armor_options_set_threads(o, usize::MAX) }, ARMOR_OPTION_OUT_OF_RANGE, "option threads: "),
];

#[test]
fn values_out_of_range_are_refused_and_change_nothing() {
    let small = Small::new();
    let options = small_options();
    for (set, expected, message) in REFUSED {
        // SAFETY: the handle is alive.
        let status = unsafe { set(options.pointer) };
        assert_eq!(status, expected, "{message}");
        assert!(last_message().starts_with(message), "{} for {message}", last_message());
    }
    let after = factorized(&small.matrix(), &small.hessian(), options.pointer);
    assert_eq!(reconstruction(&after), reconstruction(&small.in_c()));
}

#[test]
fn a_preset_that_is_none() {
    let mut out = ptr::without_provenance_mut(0x5a5a);
    for preset in [0, 3, u32::MAX] {
        // SAFETY: out is a local.
        let status = unsafe { armor_options_create(preset, &mut out) };
        assert_refused(status, ARMOR_UNKNOWN_VALUE, &format!("preset: {preset} is not a preset, expected 1 or 2"));
    }
    assert_eq!(out.addr(), 0x5a5a);
}

#[test]
fn what_fits_only_together_is_checked_when_a_run_begins() {
    let small = Small::new();
    let options = small_options();
    let mut out = untouched();
    // SAFETY: the handle is alive.
    unsafe {
        // The right block of 8 does not fit groups of 3 until it is set anew.
        assert_ok(armor_options_set_pattern(options.pointer, 1, 3));
        let status = factorize_c(&small.matrix(), &small.hessian(), options.pointer, &mut out);
        let message = format!(
            "option right_block: {RIGHT_BLOCK} is out of range, expected 1 to 4096 and a multiple of the pattern's M"
        );
        assert_refused(status, ARMOR_OPTION_OUT_OF_RANGE, &message);
        assert_ok(armor_options_set_right_block(options.pointer, 9));
    }
    let status = factorize_c(&small.matrix(), &small.hessian(), options.pointer, &mut out);
    let message = "weight: 16 columns are not a multiple of 3, the group of the 1:3 pattern";
    assert_refused(status, ARMOR_INVALID_SHAPE, message);
    assert_eq!(out, untouched());
}

/// Runs the small layer with options of both sides.
fn assert_same(preset: u32, set: &[Set], options: Options) {
    let small = Small::new();
    let handle = new_options(preset);
    for set in set {
        // SAFETY: the handle is alive.
        assert_ok(unsafe { set(handle.pointer) });
    }
    let layer = Layer::new(&small.weight, Hessian::diagonal(&small.diagonal).expect("valid")).expect("valid");
    let expected: Vec<u32> =
        factorize(&layer, &options).expect("runs").reconstruct().iter().map(|x| x.to_bits()).collect();
    let found = factorized(&small.matrix(), &small.hessian(), handle.pointer);
    assert_eq!(reconstruction(&found), expected, "{options:?}");
}

#[test]
#[cfg_attr(miri, ignore = "many iterations")]
fn setters_do_what_those_of_the_crate_do() {
    let exact = || Options::exact().iterations(12);
    let set: Set = |o| unsafe { armor_options_set_iterations(o, 12) };
    assert_same(ARMOR_PRESET_EXACT, &[set], exact());
    assert_same(ARMOR_PRESET_EXACT, &[set, |o| unsafe { armor_options_set_left_block(o, 5) }], exact().left_block(5));
    assert_same(ARMOR_PRESET_EXACT, &[set, |o| unsafe { armor_options_set_right_block(o, 8) }], exact().right_block(8));
    assert_same(
        ARMOR_PRESET_EXACT,
        &[set, |o| unsafe { armor_options_set_pattern(o, 3, 8) }],
        exact().pattern(Pattern::new(3, 8).expect("valid")),
    );
    assert_same(
        ARMOR_PRESET_EXACT,
        &[set, |o| unsafe { armor_options_set_temperature(o, 0.25) }],
        exact().temperature(0.25),
    );
    assert_same(
        ARMOR_PRESET_EXACT,
        &[set, |o| unsafe { armor_options_set_max_extrapolation(o, 0.5) }],
        exact().max_extrapolation(0.5),
    );
    assert_same(ARMOR_PRESET_EXACT, &[set, |o| unsafe { armor_options_set_seed(o, u64::MAX) }], exact().seed(u64::MAX));
    assert_same(ARMOR_PRESET_EXACT, &[set, |o| unsafe { armor_options_set_threads(o, 3) }], exact().threads(3));
    let paper = || Options::paper().iterations(12);
    assert_same(ARMOR_PRESET_PAPER, &[set], paper());
    assert_same(
        ARMOR_PRESET_PAPER,
        &[set, |o| unsafe { armor_options_set_learning_rate(o, 0.01) }],
        paper().learning_rate(0.01),
    );
    assert_same(
        ARMOR_PRESET_PAPER,
        &[set, |o| unsafe { armor_options_set_method(o, ARMOR_METHOD_GRADIENT) }],
        paper().method(Method::Gradient),
    );
}

/// Iterations and the reason to stop of a run on the small layer.
fn stopped(options: &Owned<OptionsHandle>) -> (usize, u32) {
    let small = Small::new();
    let factorization = factorized(&small.matrix(), &small.hessian(), options.pointer);
    // SAFETY: numbers, for which zero is a value.
    let mut report: RunReport = unsafe { std::mem::zeroed() };
    report.struct_size = size_of::<RunReport>();
    // SAFETY: the handle is alive and the report a local.
    assert_ok(unsafe { armor_factorization_get_report(factorization.pointer, &mut report) });
    (report.iterations, report.stop_reason)
}

#[test]
#[cfg_attr(miri, ignore = "many iterations")]
fn a_run_ends_when_it_is_told_to() {
    let options = small_options();
    assert_eq!(stopped(&options), (ITERATIONS, ARMOR_STOP_ITERATIONS));
    // SAFETY: the handle is alive.
    unsafe {
        assert_ok(armor_options_set_time_budget(options.pointer, 1e-300));
        assert_eq!(stopped(&options), (1, ARMOR_STOP_TIME_BUDGET));
        assert_ok(armor_options_set_time_budget(options.pointer, f64::INFINITY));
        assert_eq!(stopped(&options), (ITERATIONS, ARMOR_STOP_ITERATIONS));
        assert_ok(armor_options_set_time_budget(options.pointer, f64::MAX));
        assert_eq!(stopped(&options), (ITERATIONS, ARMOR_STOP_ITERATIONS));
        assert_ok(armor_options_set_temperature(options.pointer, 0.0));
        assert_ok(armor_options_set_iterations(options.pointer, 1000));
        assert_ok(armor_options_set_tolerance(options.pointer, 0.999));
        assert_ok(armor_options_set_patience(options.pointer, 2));
        let (iterations, reason) = stopped(&options);
        assert_eq!(reason, ARMOR_STOP_CONVERGED);
        assert!(iterations < 1000);
    }
}

#[test]
#[cfg_attr(miri, ignore = "many iterations")]
fn no_options_are_the_preset_exact() {
    let small = Small::new();
    let exact = new_options(ARMOR_PRESET_EXACT);
    let with = factorized(&small.matrix(), &small.hessian(), exact.pointer);
    let without = factorized(&small.matrix(), &small.hessian(), ptr::null());
    assert_eq!(reconstruction(&with), reconstruction(&without));
}

fn from_json(json: &[u8], out: &mut *mut OptionsHandle) -> u32 {
    // SAFETY: the bytes are as many as they say.
    unsafe { armor_options_from_json(json.as_ptr(), json.len(), out) }
}

fn to_json(options: &Owned<OptionsHandle>) -> String {
    let (pointer, mut needed) = (options.pointer, 0);
    // SAFETY: the handle is alive, and the buffers are as long as they say.
    unsafe {
        assert_eq!(armor_options_to_json(pointer, ptr::null_mut(), 0, &mut needed), ARMOR_BUFFER_TOO_SMALL);
        let mut text = vec![0x55; needed];
        let short = armor_options_to_json(pointer, text.as_mut_ptr(), needed - 1, ptr::null_mut());
        assert_refused(
            short,
            ARMOR_BUFFER_TOO_SMALL,
            &format!("buffer: holds {} elements, needs {needed}", needed - 1),
        );
        assert_eq!(text[0], 0x55);
        assert_ok(armor_options_to_json(pointer, text.as_mut_ptr(), needed, ptr::null_mut()));
        CStr::from_ptr(text.as_ptr()).to_str().expect("UTF-8").to_owned()
    }
}

#[test]
fn json_is_that_of_the_crate() {
    assert_eq!(to_json(&new_options(ARMOR_PRESET_PAPER)), Options::paper().to_json());
    assert_eq!(to_json(&small_options()), Small::options().to_json());
    let mut pointer = ptr::null_mut();
    let json = br#"{"preset": "paper", "block": [5, 8], "row_weighting": "uniform", "time_budget": 2.5}"#;
    assert_ok(from_json(json, &mut pointer));
    let read = Owned::new(pointer, armor_options_free);
    assert_eq!(to_json(&read), Options::from_json(json).expect("valid").to_json());
    assert_ok(from_json(to_json(&read).as_bytes(), &mut pointer));
    assert_eq!(to_json(&Owned::new(pointer, armor_options_free)), to_json(&read));
}

#[test]
fn json_that_is_refused() {
    let mut out = ptr::without_provenance_mut(0x5a5a);
    for (json, status, message) in [
        (&b"\xff{}"[..], ARMOR_INVALID_TEXT, "json: byte 0 is not UTF-8"),
        (b"[]", ARMOR_INVALID_SETTINGS, "json: document: is not a JSON object"),
        (b"{}\0", ARMOR_INVALID_SETTINGS, "json: document: trailing characters"),
        (br#"{"blocks": 8}"#, ARMOR_INVALID_SETTINGS, "json: blocks: unknown field `blocks`"),
        (br#"{"seed": 1, "seed": 2}"#, ARMOR_INVALID_SETTINGS, "json: "),
        (br#"{"method": "best"}"#, ARMOR_INVALID_SETTINGS, "json: method: unknown variant `best`"),
        (br#"{"left_block": 0}"#, ARMOR_OPTION_OUT_OF_RANGE, "option left_block: 0 is out of range"),
    ] {
        assert_eq!(from_json(json, &mut out), status, "{}", last_message());
        assert!(last_message().starts_with(message), "{} for {message}", last_message());
    }
    assert_eq!(out.addr(), 0x5a5a);
    let mut room = [0_usize; 256];
    let words = room.as_mut_ptr();
    let options = small_options();
    let null = |argument: &str, status| assert_refused(status, ARMOR_NULL_POINTER, &format!("{argument}: is NULL"));
    // SAFETY: what is not valid must be refused; the rest lies in `room`.
    unsafe {
        null("json", armor_options_from_json(ptr::null(), 0, &mut out));
        null("out", armor_options_from_json(b"{}".as_ptr(), 2, ptr::null_mut()));
        null("options", armor_options_to_json(ptr::null(), words.cast(), 8, ptr::null_mut()));
        null("buffer", armor_options_to_json(options.pointer, ptr::null_mut(), 8, ptr::null_mut()));
        assert_eq!(armor_options_from_json(b"{}".as_ptr(), 2, words.byte_add(1).cast()), ARMOR_MISALIGNED);
        words.cast::<[u8; 2]>().write(*b"{}");
        assert_refused(armor_options_from_json(words.cast(), 2, words.cast()), ARMOR_OVERLAP, "out: overlaps json");
        words.write(0);
        let inside = options.pointer.cast();
        let status = armor_options_to_json(options.pointer, inside, 8192, ptr::null_mut());
        assert_refused(status, ARMOR_OVERLAP, "buffer: overlaps options");
        let status = armor_options_to_json(options.pointer, words.cast(), usize::MAX, ptr::null_mut());
        assert_eq!(status, ARMOR_SIZE_OVERFLOW);
    }
    assert_eq!(room, [0; 256]);
}
