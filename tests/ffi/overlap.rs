//! Memory that a call would write while it uses it otherwise is ARMOR_OVERLAP.

use std::ptr;

use armor_core::ffi::*;
use ndarray::Array2;

use crate::setup::*;

#[test]
fn the_result_of_a_run_and_what_it_reads() {
    let small = Small::new();
    let options = small_options();
    // Weight and Hessian of doubles, among which a handle's place would be aligned.
    let mut numbers = Array2::from_shape_fn((12, 17), |(i, j)| ((5 * i + 3 * j) % 7) as f64 + 1.0);
    let before = numbers.clone();
    let data = numbers.as_mut_ptr();
    let mut weight = MatrixView { data: data.cast(), rows: 12, cols: 16, row_stride: 17, dtype: ARMOR_DTYPE_F64 };
    let mut hessian = HessianView { data: data.cast(), dtype: ARMOR_DTYPE_F64, ..small.hessian() };
    for (offset, argument) in [(0, "weight.data"), (16, "weight.data"), (11 * 17 + 15, "weight.data")] {
        let out = data.wrapping_add(offset).cast();
        let status = factorize_c(&weight, &small.hessian(), options.pointer, out);
        assert_refused(status, ARMOR_OVERLAP, &format!("out: overlaps {argument}"));
    }
    let out = data.wrapping_add(15).cast();
    let status = factorize_c(&small.matrix(), &hessian, options.pointer, out);
    assert_refused(status, ARMOR_OVERLAP, "out: overlaps hessian.data");
    let out = (&raw mut weight.rows).cast();
    assert_refused(factorize_c(&weight, &hessian, options.pointer, out), ARMOR_OVERLAP, "out: overlaps weight");
    let out = (&raw mut hessian.len).cast();
    assert_refused(factorize_c(&weight, &hessian, options.pointer, out), ARMOR_OVERLAP, "out: overlaps hessian");
    assert_eq!((&numbers, weight.rows, hessian.len), (&before, 12, 16));
    // Two inputs may share their memory.
    drop(factorized(&weight, &hessian, options.pointer));
}

#[test]
fn the_memory_beside_is_free_to_take() {
    let small = Small::new();
    let options = small_options();
    let mut numbers = Array2::from_shape_fn((12, 16), |(i, j)| ((5 * i + 3 * j) % 7) as f64 + 1.0);
    let data = numbers.as_mut_ptr();
    let weight = MatrixView { data: data.cast(), rows: 11, cols: 16, row_stride: 16, dtype: ARMOR_DTYPE_F64 };
    let out = data.wrapping_add(11 * 16).cast::<*mut FactorizationHandle>();
    assert_ok(factorize_c(&weight, &small.hessian(), options.pointer, out));
    // SAFETY: the call succeeded, so there is a handle.
    drop(own(unsafe { out.read() }));
}

#[test]
fn buffers_of_a_copy() {
    let small = Small::new();
    let factorization = small.in_c();
    let handle = factorization.pointer;
    let mut room = [0_usize; 400];
    let start = room.as_mut_ptr();
    let floats = start.cast::<f32>();
    let mut needed = 7;
    // SAFETY: all of it lies in `room`.
    unsafe {
        let status = armor_factorization_reconstruct(handle, floats, 192, start.add(95));
        assert_refused(status, ARMOR_OVERLAP, "needed: overlaps buffer");
        let status = armor_factorization_copy_core_bitmask(handle, start.cast(), 24, start.add(2));
        assert_refused(status, ARMOR_OVERLAP, "needed: overlaps buffer");
        let status = armor_factorization_apply(handle, floats, 16, floats.add(15), 12, &mut needed);
        assert_refused(status, ARMOR_OVERLAP, "y: overlaps x");
        let status = armor_factorization_apply(handle, floats.add(11), 16, floats, 12, &mut needed);
        assert_refused(status, ARMOR_OVERLAP, "y: overlaps x");
        let status = armor_factorization_apply(handle, floats, 16, floats.add(16), 12, start.add(7));
        assert_refused(status, ARMOR_OVERLAP, "needed: overlaps x");
        let status = armor_factorization_apply(handle, floats, 16, floats.add(16), 12, start.add(13));
        assert_refused(status, ARMOR_OVERLAP, "needed: overlaps y");
        assert_ok(armor_factorization_apply(handle, floats, 16, floats.add(16), 12, start.add(14)));
    }
    assert_eq!((needed, room[14], room[..13].iter().sum::<usize>()), (7, 12, 0));
}

#[test]
fn texts_and_bytes() {
    let small = Small::new();
    let factorization = small.in_c();
    let mut room = [0_u64; 512];
    let start = room.as_mut_ptr();
    // SAFETY: all of it lies in `room`, whose bytes are an empty text.
    unsafe {
        let (name, buffer) = (start.cast(), start.cast());
        let status = armor_factorization_serialize(factorization.pointer, name, buffer, 4096, ptr::null_mut());
        assert_refused(status, ARMOR_OVERLAP, "buffer: overlaps name");
        let status = armor_factorization_serialize(factorization.pointer, name, ptr::null_mut(), 0, start.cast());
        assert_refused(status, ARMOR_OVERLAP, "needed: overlaps name");
        let status = armor_factorization_deserialize(start.cast(), 100, c"x".as_ptr(), start.add(12).cast());
        assert_refused(status, ARMOR_OVERLAP, "out: overlaps bytes");
        let status = armor_factorization_deserialize(start.cast(), 8, start.add(1).cast(), start.add(1).cast());
        assert_refused(status, ARMOR_OVERLAP, "out: overlaps name");
    }
    assert_eq!(room, [0; 512]);
}

#[test]
fn the_memory_of_a_handle() {
    let small = Small::new();
    let (options, factorization) = (small_options(), small.in_c());
    let handle = factorization.pointer;
    let bytes = reconstruction(&factorization);
    let mut needed = 7;
    // SAFETY: the handles are alive; nothing is written where they lie, or the end of this test would fail.
    unsafe {
        let (inside, float) = (handle.cast::<f32>(), ARMOR_DTYPE_F32);
        let status = armor_factorization_copy_left(handle, inside, 8192, &mut needed);
        assert_refused(status, ARMOR_OVERLAP, "buffer: overlaps factorization");
        let status = armor_factorization_copy_left(handle, ptr::null_mut(), 0, handle.cast());
        assert_refused(status, ARMOR_OVERLAP, "needed: overlaps factorization");
        let x = [1.0; 16];
        let status = armor_factorization_apply(handle, x.as_ptr(), 16, inside, 12, &mut needed);
        assert_refused(status, ARMOR_OVERLAP, "y: overlaps factorization");
        let status = armor_factorization_serialize(handle, c"layer".as_ptr(), inside.cast(), 8192, &mut needed);
        assert_refused(status, ARMOR_OVERLAP, "buffer: overlaps factorization");
        let expected = "out: overlaps factorization";
        assert_refused(armor_factorization_get_sizes(handle, handle.cast()), ARMOR_OVERLAP, expected);
        assert_refused(armor_factorization_get_report(handle, handle.cast()), ARMOR_OVERLAP, expected);
        assert_refused(armor_packed_create(handle, float, float, float, 1, handle.cast()), ARMOR_OVERLAP, expected);
        let (weight, hessian) = (small.matrix(), small.hessian());
        let status = armor_factorization_output_error(handle, &weight, &hessian, handle.cast());
        assert_refused(status, ARMOR_OVERLAP, expected);
        let status = factorize_c(&weight, &hessian, options.pointer, options.pointer.cast());
        assert_refused(status, ARMOR_OVERLAP, "out: overlaps options");

        let mut packed = ptr::null_mut();
        assert_ok(armor_packed_create(handle, float, float, float, 1, &mut packed));
        let expected = "out: overlaps packed";
        assert_refused(armor_packed_get_sizes(packed, packed.cast()), ARMOR_OVERLAP, expected);
        assert_refused(armor_packed_scratch_len(packed, 1, packed.cast()), ARMOR_OVERLAP, expected);
        assert_refused(armor_packed_unpack(packed, packed.cast()), ARMOR_OVERLAP, expected);
        let (x, y) = (x.as_ptr(), packed.cast::<f32>());
        let status = armor_packed_apply(packed, x, 16, y, 12, ptr::null_mut(), 0);
        assert_refused(status, ARMOR_OVERLAP, "y: overlaps packed");
        let batch = MatrixView { rows: 1, ..weight };
        let status = armor_packed_apply_batch(packed, &batch, y, 12, 12, ptr::null_mut(), 0);
        assert_refused(status, ARMOR_OVERLAP, "y: overlaps packed");
        let mut room = [0.0; 12];
        let status = armor_packed_apply(packed, x, 16, room.as_mut_ptr(), 12, y, 8192);
        assert_refused(status, ARMOR_OVERLAP, "scratch: overlaps packed");
        assert_ok(armor_packed_free(packed));

        let mut sums = ptr::null_mut();
        assert_ok(armor_accumulator_create(16, ARMOR_HESSIAN_DIAGONAL, &mut sums));
        assert_refused(armor_accumulator_tokens(sums, sums.cast()), ARMOR_OVERLAP, "out: overlaps accumulator");
        let status = armor_accumulator_copy(sums, sums.cast(), 16, &mut needed);
        assert_refused(status, ARMOR_OVERLAP, "buffer: overlaps accumulator");
        let status = armor_accumulator_serialize(sums, c"layer".as_ptr(), sums.cast(), 8192, &mut needed);
        assert_refused(status, ARMOR_OVERLAP, "buffer: overlaps accumulator");
        assert_ok(armor_accumulator_free(sums));
    }
    assert_eq!((needed, reconstruction(&factorization)), (7, bytes));
}
