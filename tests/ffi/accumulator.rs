//! Accumulators of the ABI: every mistake is a status that adds nothing, and threads take turns.

use std::ffi::c_void;
use std::ptr;
use std::thread;

use armor_core::ffi::*;
use ndarray::Array2;

use crate::common;
use crate::setup::*;

const INPUTS: usize = 20;

fn create(kind: u32) -> Owned<AccumulatorHandle> {
    let mut pointer = ptr::null_mut();
    // SAFETY: out is a local.
    assert_ok(unsafe { armor_accumulator_create(INPUTS, kind, &mut pointer) });
    Owned { pointer, free: armor_accumulator_free }
}

fn view(activations: &Array2<f32>) -> MatrixView {
    let (rows, cols) = activations.dim();
    MatrixView { data: activations.as_ptr().cast(), rows, cols, row_stride: cols, dtype: ARMOR_DTYPE_F32 }
}

fn add(accumulator: &Owned<AccumulatorHandle>, activations: &MatrixView) -> u32 {
    // SAFETY: the handle is alive; tests pass valid memory, or pointers that the library must refuse.
    unsafe { armor_accumulator_add(accumulator.pointer, activations) }
}

fn tokens(accumulator: &Owned<AccumulatorHandle>) -> u64 {
    let mut tokens = 0;
    // SAFETY: the handle is alive and out a local.
    assert_ok(unsafe { armor_accumulator_tokens(accumulator.pointer, &mut tokens) });
    tokens
}

fn copied(accumulator: &Owned<AccumulatorHandle>) -> Vec<u32> {
    let (pointer, mut needed) = (accumulator.pointer, 0);
    // SAFETY: the handle is alive, and the buffers are as long as they say.
    unsafe {
        let status = armor_accumulator_copy(pointer, ptr::null_mut(), 0, &mut needed);
        let message = format!("buffer: holds 0 elements, needs {needed}");
        assert_refused(status, ARMOR_BUFFER_TOO_SMALL, &message);
        let mut values = vec![f32::MAX; needed];
        let status = armor_accumulator_copy(pointer, values.as_mut_ptr(), needed - 1, ptr::null_mut());
        assert_eq!(status, ARMOR_BUFFER_TOO_SMALL);
        assert!(values.iter().all(|&value| value == f32::MAX), "nothing is written where there is no room");
        assert_ok(armor_accumulator_copy(pointer, values.as_mut_ptr(), needed, ptr::null_mut()));
        values.into_iter().map(f32::to_bits).collect()
    }
}

fn serialized(accumulator: &Owned<AccumulatorHandle>) -> Vec<u8> {
    let (pointer, name, mut len) = (accumulator.pointer, c"layer".as_ptr(), 0);
    // SAFETY: the handle is alive, and the buffers are as long as they say.
    unsafe {
        let status = armor_accumulator_serialize(pointer, name, ptr::null_mut(), 0, &mut len);
        assert_eq!(status, ARMOR_BUFFER_TOO_SMALL);
        let mut bytes = vec![0; len];
        assert_ok(armor_accumulator_serialize(pointer, name, bytes.as_mut_ptr(), len, ptr::null_mut()));
        bytes
    }
}

#[test]
fn a_mean_needs_room() {
    let accumulator = create(ARMOR_HESSIAN_FULL);
    assert_ok(add(&accumulator, &view(&common::weight(9, INPUTS, 3))));
    assert_eq!(copied(&accumulator).len(), INPUTS * INPUTS);
}

#[test]
fn what_is_refused_adds_nothing() {
    let accumulator = create(ARMOR_HESSIAN_FULL);
    let activations = common::weight(9, INPUTS, 3);
    assert_ok(add(&accumulator, &view(&activations)));
    let before = serialized(&accumulator);
    let sound = view(&activations);
    let refused = |view: MatrixView, status, message: &str| assert_refused(add(&accumulator, &view), status, message);
    refused(MatrixView { rows: 0, ..sound }, ARMOR_INVALID_SHAPE, "activations: 0 × 20 has no entries");
    refused(
        MatrixView { row_stride: 19, ..sound },
        ARMOR_INVALID_SHAPE,
        "activations.row_stride: is 19, expected 20 columns or more",
    );
    refused(
        MatrixView { dtype: 9, ..sound },
        ARMOR_UNKNOWN_DTYPE,
        "activations.dtype: 9 is not a dtype, expected 1 to 4",
    );
    refused(MatrixView { data: ptr::null(), ..sound }, ARMOR_NULL_POINTER, "activations.data: is NULL");
    let data: *const c_void = sound.data.wrapping_byte_add(2);
    assert_eq!(add(&accumulator, &MatrixView { data, ..sound }), ARMOR_MISALIGNED);
    assert!(last_message().starts_with("activations.data: 0x"), "{}", last_message());
    assert_eq!(add(&accumulator, &MatrixView { rows: usize::MAX, ..sound }), ARMOR_SIZE_OVERFLOW);
    // SAFETY: the handle is alive.
    let status = unsafe { armor_accumulator_merge(accumulator.pointer, accumulator.pointer) };
    assert_refused(status, ARMOR_OVERLAP, "other: is the accumulator itself");
    assert_eq!(serialized(&accumulator), before);
}

#[test]
fn what_cannot_be_made() {
    let untouched: *mut AccumulatorHandle = ptr::without_provenance_mut(0x5a5a);
    let mut out = untouched;
    let mut create = |inputs, kind, status, message: &str| {
        // SAFETY: out is a local.
        assert_refused(unsafe { armor_accumulator_create(inputs, kind, &mut out) }, status, message);
    };
    create(0, ARMOR_HESSIAN_FULL, ARMOR_INVALID_SHAPE, "inputs: is 0, expected 1 or more");
    for kind in [0, ARMOR_HESSIAN_IDENTITY] {
        let message = format!("kind: {kind} is not a kind of accumulator, expected 1 or 2");
        create(4, kind, ARMOR_UNKNOWN_VALUE, &message);
    }
    for (inputs, kind) in [(usize::MAX / 8, ARMOR_HESSIAN_DIAGONAL), (1 << 31, ARMOR_HESSIAN_FULL)] {
        let message = format!("inputs: sums over {inputs} inputs reach beyond the address space");
        create(inputs, kind, ARMOR_SIZE_OVERFLOW, &message);
    }
    let cut = b"GGUF";
    // SAFETY: the bytes are as many as they say.
    let status = unsafe { armor_accumulator_deserialize(cut.as_ptr(), cut.len(), c"layer".as_ptr(), &mut out) };
    assert_refused(status, ARMOR_INVALID_BYTES, "bytes: header: cut off: the file ends at byte 4, before byte 8");
    assert_eq!(out, untouched);
}

#[test]
fn handles_that_are_none_and_results_that_go_nowhere() {
    let null = |argument: &str, status| assert_refused(status, ARMOR_NULL_POINTER, &format!("{argument}: is NULL"));
    let accumulator = create(ARMOR_HESSIAN_DIAGONAL);
    let (sound, none) = (accumulator.pointer, ptr::null_mut());
    let (options, mut room) = (small_options(), [0_usize; 4]);
    let off = room.as_mut_ptr().wrapping_byte_add(1);
    let name = c"layer".as_ptr();
    // SAFETY: the handles are alive, and what is NULL, misaligned or of another type must be refused.
    unsafe {
        null("accumulator", armor_accumulator_add(none, &view(&common::weight(2, INPUTS, 1))));
        null("activations", armor_accumulator_add(sound, ptr::null()));
        null("accumulator", armor_accumulator_merge(none, sound));
        null("other", armor_accumulator_merge(sound, none));
        null("accumulator", armor_accumulator_tokens(none, ptr::dangling_mut()));
        null("out", armor_accumulator_tokens(sound, ptr::null_mut()));
        null("accumulator", armor_accumulator_copy(none, ptr::null_mut(), 0, ptr::null_mut()));
        null("buffer", armor_accumulator_copy(sound, ptr::null_mut(), 20, ptr::null_mut()));
        null("accumulator", armor_accumulator_serialize(none, name, ptr::null_mut(), 0, ptr::null_mut()));
        null("name", armor_accumulator_serialize(sound, ptr::null(), ptr::null_mut(), 0, ptr::null_mut()));
        null("out", armor_accumulator_create(3, ARMOR_HESSIAN_FULL, ptr::null_mut()));
        null("bytes", armor_accumulator_deserialize(ptr::null(), 0, name, off.cast()));
        null("out", armor_accumulator_deserialize(b"x".as_ptr(), 1, name, ptr::null_mut()));
        assert_ok(armor_accumulator_free(none));
        for status in [
            armor_accumulator_add(off.cast(), off.cast()),
            armor_accumulator_add(sound, off.cast()),
            armor_accumulator_merge(sound, off.cast()),
            armor_accumulator_tokens(sound, off.cast()),
            armor_accumulator_copy(sound, off.cast(), 4, ptr::null_mut()),
            armor_accumulator_create(3, ARMOR_HESSIAN_FULL, off.cast()),
            armor_accumulator_deserialize(room.as_ptr().cast(), 8, name, off.cast()),
            armor_accumulator_free(off.cast()),
        ] {
            assert_eq!(status, ARMOR_MISALIGNED, "{}", last_message());
        }
        let wrong = armor_accumulator_free(options.pointer.cast());
        assert_refused(wrong, ARMOR_WRONG_HANDLE, "accumulator: is not a handle of an accumulator");
        let wrong = armor_options_free(sound.cast());
        assert_refused(wrong, ARMOR_WRONG_HANDLE, "options: is not a handle of options");
        let mut mean = [0.0_f32; INPUTS];
        let early = armor_accumulator_copy(sound, mean.as_mut_ptr(), INPUTS, ptr::null_mut());
        assert_refused(early, ARMOR_INVALID_SHAPE, "accumulator: no tokens were added");
        assert_eq!(mean, [0.0; INPUTS]);
    }
    assert_eq!((room, tokens(&accumulator)), ([0; 4], 0));
}

#[test]
fn eight_threads_add_to_one_and_merge_each_into_the_other() {
    // Integers, whose sums are exact in any order.
    let activations = Array2::from_shape_fn((40, INPUTS), |(i, j)| ((7 * i + 3 * j) % 11) as f32 - 5.0);
    let (shared, left, right) = (create(ARMOR_HESSIAN_FULL), create(ARMOR_HESSIAN_FULL), create(ARMOR_HESSIAN_FULL));
    thread::scope(|scope| {
        for turn in 0..THREADS {
            let (shared, left, right, activations) = (&shared, &left, &right, &activations);
            scope.spawn(move || {
                let (into, from) = if turn % 2 == 0 { (left, right) } else { (right, left) };
                for _ in 0..repeats(10) {
                    assert_ok(add(shared, &view(activations)));
                    // SAFETY: both handles are alive; nothing was added to them.
                    assert_ok(unsafe { armor_accumulator_merge(into.pointer, from.pointer) });
                }
            });
        }
    });
    let alone = create(ARMOR_HESSIAN_FULL);
    for _ in 0..THREADS * repeats(10) {
        assert_ok(add(&alone, &view(&activations)));
    }
    assert_eq!(tokens(&shared), (THREADS * repeats(10) * 40) as u64);
    assert_eq!(serialized(&shared), serialized(&alone));
}
