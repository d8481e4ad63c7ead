//! Accumulators of pairs of the ABI: they give what the crate gives, and every mistake is a status that changes nothing.

use std::ffi::c_void;
use std::ptr;
use std::thread;

use armor_core::ffi::*;
use armor_core::{CorrectionOptions, PairAccumulator};
use half::bf16;
use ndarray::Array2;

use crate::common;
use crate::common::pairs::Pairs;
use crate::library::matrix;
use crate::setup::*;

const INPUTS: usize = 20;
const OUTPUTS: usize = 7;

fn create() -> Owned<PairAccumulatorHandle> {
    let mut pointer = ptr::null_mut();
    // SAFETY: out is a local.
    assert_ok(unsafe { armor_pair_accumulator_create(INPUTS, &mut pointer) });
    Owned::new(pointer, armor_pair_accumulator_free)
}

fn view<T: armor_core::Element>(values: &Array2<T>) -> MatrixView {
    matrix(&values.into())
}

fn add(accumulator: &Owned<PairAccumulatorHandle>, dense: &MatrixView, compressed: &MatrixView) -> u32 {
    // SAFETY: the handle is alive; tests pass valid memory, or pointers that the library must refuse.
    unsafe { armor_pair_accumulator_add(accumulator.pointer, dense, compressed) }
}

fn tokens(accumulator: &Owned<PairAccumulatorHandle>) -> u64 {
    let mut tokens = 0;
    // SAFETY: the handle is alive and out a local.
    assert_ok(unsafe { armor_pair_accumulator_tokens(accumulator.pointer, &mut tokens) });
    tokens
}

/// Asks for the length, then for the elements, with a buffer that is too small in between.
fn copied<T: Copy + PartialEq>(fill: T, call: impl Fn(*mut T, usize, *mut usize) -> u32) -> Vec<T> {
    let mut needed = 0;
    let status = call(ptr::null_mut(), 0, &mut needed);
    assert_refused(status, ARMOR_BUFFER_TOO_SMALL, &format!("buffer: holds 0 elements, needs {needed}"));
    let mut values = vec![fill; needed];
    assert_eq!(call(values.as_mut_ptr(), needed - 1, ptr::null_mut()), ARMOR_BUFFER_TOO_SMALL);
    assert!(values.iter().all(|&value| value == fill), "nothing is written where there is no room");
    assert_ok(call(values.as_mut_ptr(), needed, ptr::null_mut()));
    values
}

fn serialized(accumulator: &Owned<PairAccumulatorHandle>) -> Vec<u8> {
    let handle = accumulator.pointer;
    let name = c"layer".as_ptr();
    copied(0x5a, |buffer, capacity, needed| {
        // SAFETY: the handle is alive, and the buffers are as long as they say.
        unsafe { armor_pair_accumulator_serialize(handle, name, buffer, capacity, needed) }
    })
}

fn hessian(accumulator: &Owned<PairAccumulatorHandle>) -> Vec<f32> {
    let handle = accumulator.pointer;
    copied(f32::MAX, |buffer, capacity, needed| {
        // SAFETY: the handle is alive, and the buffers are as long as they say.
        unsafe { armor_pair_accumulator_copy_hessian(handle, buffer, capacity, needed) }
    })
}

/// A report that the library has not written yet.
fn report() -> CorrectionReport {
    let struct_size = size_of::<CorrectionReport>();
    CorrectionReport { struct_size, strength: 7.0, ridge: 7.0, energy: 7.0, drift: 7.0, irreducible: 7.0 }
}

/// Corrects into a buffer that is long enough.
fn correct(
    accumulator: &Owned<PairAccumulatorHandle>,
    weight: &MatrixView,
    (strength, ridge): (f64, f64),
    report: *mut CorrectionReport,
) -> (u32, Vec<f32>) {
    let mut values = vec![f32::MAX; OUTPUTS * INPUTS];
    let (buffer, len) = (values.as_mut_ptr(), values.len());
    // SAFETY: the handle is alive, and the buffer as long as it says; tests pass a report or NULL.
    let status = unsafe {
        let handle = accumulator.pointer;
        armor_pair_accumulator_correct(handle, weight, strength, ridge, buffer, len, ptr::null_mut(), report)
    };
    (status, values)
}

fn output_error(accumulator: &Owned<PairAccumulatorHandle>, weight: &MatrixView, compressed: &MatrixView) -> f64 {
    let mut error = f64::NAN;
    // SAFETY: the handle is alive and the rest are locals.
    assert_ok(unsafe { armor_pair_accumulator_output_error(accumulator.pointer, weight, compressed, &mut error) });
    error
}

fn sample() -> (Pairs, Array2<f32>) {
    (Pairs::drifting(90, INPUTS, 0.3, 1), common::weight(OUTPUTS, INPUTS, 2))
}

#[test]
fn it_gives_what_the_crate_gives() {
    let (pairs, weight) = sample();
    let (dense, compressed) = (pairs.dense.mapv(f64::from), pairs.compressed.mapv(bf16::from_f32));
    let mut expected = PairAccumulator::new(INPUTS);
    let whole = create();
    let part = create();
    for (accumulator, rows) in [(&whole, 0..50), (&part, 50..90)] {
        let slice = ndarray::s![rows, ..];
        let (dense, compressed) = (dense.slice(slice).to_owned(), compressed.slice(slice).to_owned());
        assert_ok(add(accumulator, &view(&dense), &view(&compressed)));
        let mut part = PairAccumulator::new(INPUTS);
        part.add(&dense, &compressed).expect("finite");
        expected.merge(&part).expect("of one size");
    }
    // SAFETY: both handles are alive.
    assert_ok(unsafe { armor_pair_accumulator_merge(whole.pointer, part.pointer) });
    assert_eq!((tokens(&whole), tokens(&part)), (90, 40));
    assert_eq!(serialized(&whole), expected.to_safetensors("layer").expect("fits"));
    let moments = expected.moments().expect("tokens");
    let rows = (0..INPUTS).flat_map(|row| moments.hessian().row(row).expect("the whole matrix"));
    assert!(hessian(&whole).iter().eq(rows), "the scale is 1 here");

    let mut found = report();
    for (strength, ridge) in [(1.0, 0.01), (0.5, 0.0), (0.0, 3.0)] {
        let expected = moments.correct(&weight, &CorrectionOptions { strength, ridge }).expect("sound");
        let (status, values) = correct(&whole, &view(&weight), (strength, ridge), &mut found);
        assert_ok(status);
        assert!(values.iter().eq(&expected.weight));
        let CorrectionReport { energy, drift, irreducible, .. } = found;
        assert_eq!((found.strength, found.ridge), (strength, ridge));
        assert_eq!((energy, drift, irreducible), (expected.energy, expected.drift, expected.irreducible));
        let expected = moments.output_error(&weight, &expected.weight.view()).expect("sound");
        let corrected = Array2::from_shape_vec((OUTPUTS, INPUTS), values).expect("as many");
        assert_eq!(output_error(&whole, &view(&weight), &view(&corrected)), expected);
        let double = corrected.mapv(f64::from);
        assert_eq!(output_error(&whole, &view(&weight), &view(&double)), expected);
    }
    let handle = whole.pointer;
    let values = copied(f32::MAX, |buffer, capacity, needed| {
        let (weight, none) = (view(&weight), ptr::null_mut());
        // SAFETY: the handle is alive, and the buffers are as long as they say.
        unsafe { armor_pair_accumulator_correct(handle, &weight, 0.0, 3.0, buffer, capacity, needed, none) }
    });
    assert!(values.iter().eq(&weight), "without a report, and with a strength of 0");
}

#[test]
fn bytes_come_back() {
    let (pairs, _) = sample();
    let accumulator = create();
    assert_ok(add(&accumulator, &view(&pairs.dense), &view(&pairs.compressed)));
    let bytes = serialized(&accumulator);
    let mut out = ptr::null_mut();
    // SAFETY: the bytes are as many as they say.
    unsafe {
        assert_ok(armor_pair_accumulator_deserialize(bytes.as_ptr(), bytes.len(), c"layer".as_ptr(), &mut out));
    }
    let read = Owned::new(out, armor_pair_accumulator_free);
    assert_eq!((serialized(&read), hessian(&read)), (bytes, hessian(&accumulator)));
}

#[test]
fn what_is_refused_adds_nothing() {
    let (pairs, _) = sample();
    let accumulator = create();
    let (dense, compressed) = (view(&pairs.dense), view(&pairs.compressed));
    assert_ok(add(&accumulator, &dense, &compressed));
    let before = serialized(&accumulator);
    let refused = |change: &dyn Fn(MatrixView) -> MatrixView, status, fault: &str| {
        assert_refused(add(&accumulator, &change(dense), &compressed), status, &format!("dense{fault}"));
        assert_refused(add(&accumulator, &dense, &change(compressed)), status, &format!("compressed{fault}"));
    };
    refused(&|view| MatrixView { rows: 0, ..view }, ARMOR_INVALID_SHAPE, ": 0 × 20 has no entries");
    let fault = ".row_stride: is 19, expected 20 columns or more";
    refused(&|view| MatrixView { row_stride: 19, ..view }, ARMOR_INVALID_SHAPE, fault);
    let fault = ".dtype: 9 is not a dtype, expected 1 to 4";
    refused(&|view| MatrixView { dtype: 9, ..view }, ARMOR_UNKNOWN_DTYPE, fault);
    refused(&|view| MatrixView { data: ptr::null(), ..view }, ARMOR_NULL_POINTER, ".data: is NULL");
    refused(&|view| MatrixView { cols: 19, ..view }, ARMOR_INVALID_SHAPE, ": covers 19 inputs, expected 20");
    for rows in [1, 89] {
        let message = format!("compressed: has {rows} tokens, expected 90");
        assert_refused(add(&accumulator, &dense, &MatrixView { rows, ..compressed }), ARMOR_INVALID_SHAPE, &message);
    }
    let off = |view: MatrixView| MatrixView { data: view.data.wrapping_byte_add(2).cast::<c_void>(), ..view };
    assert_eq!(add(&accumulator, &off(dense), &compressed), ARMOR_MISALIGNED);
    assert_eq!(add(&accumulator, &dense, &off(compressed)), ARMOR_MISALIGNED);
    assert_eq!(add(&accumulator, &MatrixView { rows: usize::MAX, ..dense }, &compressed), ARMOR_SIZE_OVERFLOW);
    let mut damaged = pairs.compressed.clone();
    damaged[[3, 4]] = -6e17;
    assert_eq!(add(&accumulator, &dense, &view(&damaged)), ARMOR_NOT_FINITE);
    assert!(last_message().starts_with("compressed: entry [3, 4] is -59999999"), "{}", last_message());
    // SAFETY: the handle is alive.
    let status = unsafe { armor_pair_accumulator_merge(accumulator.pointer, accumulator.pointer) };
    assert_refused(status, ARMOR_OVERLAP, "other: is the accumulator itself");
    let mut other = ptr::null_mut();
    // SAFETY: out is a local, and both handles are alive.
    unsafe {
        assert_ok(armor_pair_accumulator_create(3, &mut other));
        let status = armor_pair_accumulator_merge(accumulator.pointer, other);
        assert_refused(status, ARMOR_INVALID_SHAPE, "other: covers 3 inputs, expected 20");
        assert_ok(armor_pair_accumulator_free(other));
    }
    assert_eq!(serialized(&accumulator), before);
}

#[test]
fn what_cannot_be_made() {
    let untouched: *mut PairAccumulatorHandle = ptr::without_provenance_mut(0x5a5a);
    let mut out = untouched;
    let mut create = |inputs, status, message: &str| {
        // SAFETY: out is a local.
        assert_refused(unsafe { armor_pair_accumulator_create(inputs, &mut out) }, status, message);
    };
    create(0, ARMOR_INVALID_SHAPE, "inputs: is 0, expected 1 or more");
    for inputs in [1 << 30, 1 << 62, usize::MAX] {
        let message = format!("inputs: sums over {inputs} pairs of inputs reach beyond the address space");
        create(inputs, ARMOR_SIZE_OVERFLOW, &message);
    }
    let cut = b"GGUF";
    // SAFETY: the bytes are as many as they say.
    let status = unsafe { armor_pair_accumulator_deserialize(cut.as_ptr(), cut.len(), c"layer".as_ptr(), &mut out) };
    assert_refused(status, ARMOR_INVALID_BYTES, "bytes: header: cut off: the file ends at byte 4, before byte 8");
    assert_eq!(out, untouched);
}

#[test]
fn wrong_arguments_of_a_correction() {
    let (pairs, weight) = sample();
    let accumulator = create();
    let sound = view(&weight);
    let mut found = report();
    let mut refused = |view: &MatrixView, numbers, status, message: &str| {
        let (found_status, values) = correct(&accumulator, view, numbers, &mut found);
        assert_refused(found_status, status, message);
        assert!(values.iter().all(|&value| value == f32::MAX) && found == report(), "a call that fails writes nothing");
    };
    refused(&sound, (1.0, 0.01), ARMOR_INVALID_SHAPE, "accumulator: no tokens were added");
    assert_ok(add(&accumulator, &view(&pairs.dense), &view(&pairs.compressed)));
    let out_of_range = ARMOR_OPTION_OUT_OF_RANGE;
    refused(&sound, (1.5, 0.01), out_of_range, "option strength: 1.5 is out of range, expected 0 to 1");
    refused(&sound, (f64::NAN, 0.01), out_of_range, "option strength: NaN is out of range, expected 0 to 1");
    refused(&sound, (1.0, -0.5), out_of_range, "option ridge: -0.5 is out of range, expected 0 to 1e6");
    let narrow = MatrixView { cols: 19, ..sound };
    let message = "hessian: covers 20 inputs, but the weight has 19 columns";
    refused(&narrow, (1.0, 0.01), ARMOR_INVALID_SHAPE, message);
    let mut damaged = weight.clone();
    damaged[[2, 1]] = f32::NAN;
    let message = "weight: entry [2, 1] is NaN, expected a finite f32 number";
    refused(&view(&damaged), (1.0, 0.01), ARMOR_NOT_FINITE, message);
    refused(
        &MatrixView { dtype: 0, ..sound },
        (1.0, 0.01),
        ARMOR_UNKNOWN_DTYPE,
        "weight.dtype: 0 is not a dtype, expected 1 to 4",
    );

    let first = size_of::<CorrectionReport>();
    for struct_size in [0, first - 1] {
        let mut short = CorrectionReport { struct_size, ..report() };
        let (status, values) = correct(&accumulator, &sound, (1.0, 0.01), &mut short);
        let message = format!("out.struct_size: is {struct_size}, expected {first} or more");
        assert_refused(status, ARMOR_STRUCT_SIZE, &message);
        assert!(values.iter().all(|&value| value == f32::MAX) && short == CorrectionReport { struct_size, ..report() });
    }

    let mut error = 7.0;
    let mut refused = |weight: &MatrixView, compressed: &MatrixView, status, message: &str| {
        // SAFETY: the handle is alive and the rest are locals.
        let found = unsafe { armor_pair_accumulator_output_error(accumulator.pointer, weight, compressed, &mut error) };
        assert_refused(found, status, message);
        assert_eq!(error, 7.0);
    };
    refused(&narrow, &sound, ARMOR_INVALID_SHAPE, "hessian: covers 20 inputs, but the weight has 19 columns");
    refused(&sound, &narrow, ARMOR_INVALID_SHAPE, "columns of compressed: has length 19, expected 20");
    let short = MatrixView { rows: 6, ..sound };
    refused(&sound, &short, ARMOR_INVALID_SHAPE, "rows of compressed: has length 6, expected 7");
    let message = "compressed: entry [2, 1] is NaN, expected a finite f32 number";
    refused(&sound, &view(&damaged), ARMOR_NOT_FINITE, message);
    let none = MatrixView { data: ptr::null(), ..sound };
    refused(&sound, &none, ARMOR_NULL_POINTER, "compressed.data: is NULL");
    let vast = weight.mapv(|_| 1e39_f64);
    let message = "compressed: entry [0, 0] is inf, expected a finite f32 number";
    refused(&sound, &view(&vast), ARMOR_NOT_FINITE, message);
}

#[test]
fn handles_that_are_none_and_results_that_go_nowhere() {
    let null = |argument: &str, status| assert_refused(status, ARMOR_NULL_POINTER, &format!("{argument}: is NULL"));
    let (pairs, weight) = sample();
    let accumulator = create();
    let (sound, none, nowhere) = (accumulator.pointer, ptr::null_mut(), ptr::null_mut());
    let (options, mut room) = (small_options(), [0_usize; 4]);
    let off = room.as_mut_ptr().wrapping_byte_add(1);
    let name = c"layer".as_ptr();
    let (dense, compressed, weight) = (view(&pairs.dense), view(&pairs.compressed), view(&weight));
    let mut values = [0.0_f32; OUTPUTS * INPUTS];
    let (buffer, len) = (values.as_mut_ptr(), values.len());
    let no_report = ptr::null_mut();
    // SAFETY: the handles are alive, and what is NULL, misaligned or of another type must be refused.
    unsafe {
        null("accumulator", armor_pair_accumulator_add(none, &dense, &compressed));
        null("dense", armor_pair_accumulator_add(sound, ptr::null(), &compressed));
        null("compressed", armor_pair_accumulator_add(sound, &dense, ptr::null()));
        null("accumulator", armor_pair_accumulator_merge(none, sound));
        null("other", armor_pair_accumulator_merge(sound, none));
        null("accumulator", armor_pair_accumulator_tokens(none, ptr::dangling_mut()));
        null("out", armor_pair_accumulator_tokens(sound, ptr::null_mut()));
        null("accumulator", armor_pair_accumulator_copy_hessian(none, ptr::null_mut(), 0, nowhere));
        null("buffer", armor_pair_accumulator_copy_hessian(sound, ptr::null_mut(), 400, nowhere));
        null("accumulator", armor_pair_accumulator_serialize(none, name, ptr::null_mut(), 0, nowhere));
        null("name", armor_pair_accumulator_serialize(sound, ptr::null(), ptr::null_mut(), 0, nowhere));
        null("out", armor_pair_accumulator_create(3, ptr::null_mut()));
        null("bytes", armor_pair_accumulator_deserialize(ptr::null(), 0, name, off.cast()));
        null("out", armor_pair_accumulator_deserialize(b"x".as_ptr(), 1, name, ptr::null_mut()));
        null("accumulator", armor_pair_accumulator_correct(none, &weight, 1.0, 0.0, buffer, len, nowhere, no_report));
        null("weight", armor_pair_accumulator_correct(sound, ptr::null(), 1.0, 0.0, buffer, len, nowhere, no_report));
        null(
            "buffer",
            armor_pair_accumulator_correct(sound, &weight, 1.0, 0.0, ptr::null_mut(), 9, nowhere, no_report),
        );
        null("accumulator", armor_pair_accumulator_output_error(none, &weight, &weight, off.cast()));
        null("weight", armor_pair_accumulator_output_error(sound, ptr::null(), &weight, off.cast()));
        null("compressed", armor_pair_accumulator_output_error(sound, &weight, ptr::null(), off.cast()));
        null("out", armor_pair_accumulator_output_error(sound, &weight, &weight, ptr::null_mut()));
        assert_ok(armor_pair_accumulator_free(none));
        for status in [
            armor_pair_accumulator_add(off.cast(), off.cast(), off.cast()),
            armor_pair_accumulator_add(sound, off.cast(), &compressed),
            armor_pair_accumulator_add(sound, &dense, off.cast()),
            armor_pair_accumulator_merge(sound, off.cast()),
            armor_pair_accumulator_tokens(sound, off.cast()),
            armor_pair_accumulator_copy_hessian(sound, off.cast(), 4, nowhere),
            armor_pair_accumulator_correct(sound, off.cast(), 1.0, 0.0, buffer, len, nowhere, no_report),
            armor_pair_accumulator_correct(sound, &weight, 1.0, 0.0, off.cast(), len, nowhere, no_report),
            armor_pair_accumulator_correct(sound, &weight, 1.0, 0.0, buffer, len, off, no_report),
            armor_pair_accumulator_correct(sound, &weight, 1.0, 0.0, buffer, len, nowhere, off.cast()),
            armor_pair_accumulator_output_error(sound, &weight, off.cast(), off.cast()),
            armor_pair_accumulator_output_error(sound, &weight, &weight, off.cast()),
            armor_pair_accumulator_create(3, off.cast()),
            armor_pair_accumulator_deserialize(room.as_ptr().cast(), 8, name, off.cast()),
            armor_pair_accumulator_free(off.cast()),
        ] {
            assert_eq!(status, ARMOR_MISALIGNED, "{}", last_message());
        }
        let wrong = armor_pair_accumulator_free(options.pointer.cast());
        assert_refused(wrong, ARMOR_WRONG_HANDLE, "accumulator: is not a handle of an accumulator of pairs");
        let wrong = armor_accumulator_free(sound.cast());
        assert_refused(wrong, ARMOR_WRONG_HANDLE, "accumulator: is not a handle of an accumulator");
        let mut mean = [0.0_f32; INPUTS * INPUTS];
        let early = armor_pair_accumulator_copy_hessian(sound, mean.as_mut_ptr(), mean.len(), nowhere);
        assert_refused(early, ARMOR_INVALID_SHAPE, "accumulator: no tokens were added");
        assert_eq!(mean, [0.0; INPUTS * INPUTS]);
    }
    assert_eq!((room, tokens(&accumulator), values), ([0; 4], 0, [0.0; OUTPUTS * INPUTS]));
}

#[test]
fn memory_that_is_used_otherwise() {
    let (pairs, mut weight) = sample();
    let accumulator = create();
    assert_ok(add(&accumulator, &view(&pairs.dense), &view(&pairs.compressed)));
    let before = (serialized(&accumulator), weight.clone());
    let (handle, mut sound) = (accumulator.pointer, view(&weight));
    let data = weight.as_mut_ptr();
    let mut values = [0.0_f32; OUTPUTS * INPUTS + 32];
    let (buffer, len) = (values.as_mut_ptr(), OUTPUTS * INPUTS);
    let (none, no_report) = (ptr::null_mut(), ptr::null_mut());
    let overlaps = |what: &str, status| assert_refused(status, ARMOR_OVERLAP, what);
    // SAFETY: the handle is alive; nothing is written where it or the weight lies, or the end of this test would fail.
    unsafe {
        let correct = |weight, buffer, needed, out| {
            armor_pair_accumulator_correct(handle, weight, 1.0, 0.01, buffer, len, needed, out)
        };
        overlaps("buffer: overlaps accumulator", correct(&sound, handle.cast(), none, no_report));
        overlaps("buffer: overlaps weight.data", correct(&sound, data, none, no_report));
        overlaps("needed: overlaps weight.data", correct(&sound, buffer, data.cast(), no_report));
        overlaps("needed: overlaps buffer", correct(&sound, buffer, buffer.cast(), no_report));
        overlaps("needed: overlaps weight", correct(&sound, buffer, &raw mut sound.rows, no_report));
        overlaps("out: overlaps accumulator", correct(&sound, buffer, none, handle.cast()));
        overlaps("out: overlaps weight.data", correct(&sound, buffer, none, data.cast()));
        let mut report = report();
        let out = &raw mut report;
        overlaps("buffer: overlaps out", correct(&sound, out.cast(), none, out));
        overlaps("needed: overlaps out", correct(&sound, buffer, (&raw mut report.struct_size).cast(), out));
        let view = &raw const sound;
        let error = |out| armor_pair_accumulator_output_error(handle, view, view, out);
        overlaps("out: overlaps accumulator", error(handle.cast()));
        overlaps("out: overlaps weight.data", error(data.cast()));
        overlaps("out: overlaps weight", error((&raw mut sound.rows).cast()));
        overlaps("out: overlaps accumulator", armor_pair_accumulator_tokens(handle, handle.cast()));
        let status = armor_pair_accumulator_copy_hessian(handle, handle.cast(), 16, none);
        overlaps("buffer: overlaps accumulator", status);
        let status = armor_pair_accumulator_serialize(handle, c"layer".as_ptr(), handle.cast(), 8192, none);
        overlaps("buffer: overlaps accumulator", status);
    }
    assert_eq!((serialized(&accumulator), weight), before);
    assert_eq!(values, [0.0; OUTPUTS * INPUTS + 32]);
}

#[test]
fn eight_threads_add_to_one_and_merge_each_into_the_other() {
    // Integers, whose sums are exact in any order.
    let pairs = Pairs::whole(40, INPUTS, 3);
    let (shared, left, right) = (create(), create(), create());
    thread::scope(|scope| {
        for turn in 0..THREADS {
            let (shared, left, right, pairs) = (&shared, &left, &right, &pairs);
            scope.spawn(move || {
                let (into, from) = if turn % 2 == 0 { (left, right) } else { (right, left) };
                for _ in 0..repeats(10) {
                    assert_ok(add(shared, &view(&pairs.dense), &view(&pairs.compressed)));
                    // SAFETY: both handles are alive; nothing was added to them.
                    assert_ok(unsafe { armor_pair_accumulator_merge(into.pointer, from.pointer) });
                }
            });
        }
    });
    let alone = create();
    for _ in 0..THREADS * repeats(10) {
        assert_ok(add(&alone, &view(&pairs.dense), &view(&pairs.compressed)));
    }
    assert_eq!(tokens(&shared), (THREADS * repeats(10) * 40) as u64);
    assert_eq!(serialized(&shared), serialized(&alone));
}
