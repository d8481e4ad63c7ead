//! Packed factorisations of the ABI: scratch memory, wrong arguments, and many threads.

use std::ptr;

use armor_core::ffi::*;
use armor_core::{FactorPrecision, PackedFactorization, Precision};
use half::bf16;
use ndarray::Array2;

use crate::setup::*;

/// Packs with the dtypes of A, S and B.
fn packed(factorization: &Owned<FactorizationHandle>, dtypes: [u32; 3], threads: usize) -> Owned<PackedHandle> {
    let [left, core, right] = dtypes;
    let mut pointer = ptr::null_mut();
    // SAFETY: the handle is alive and out a local.
    assert_ok(unsafe { armor_packed_create(factorization.pointer, left, core, right, threads, &mut pointer) });
    Owned { pointer, free: armor_packed_free }
}

fn scratch(packed: &Owned<PackedHandle>, batch: usize) -> Vec<f32> {
    let mut len = 0;
    // SAFETY: the handle is alive and out a local.
    assert_ok(unsafe { armor_packed_scratch_len(packed.pointer, batch, &mut len) });
    vec![f32::NAN; len]
}

fn inputs(batch: usize) -> Array2<f32> {
    Array2::from_shape_fn((batch, 16), |(i, j)| bf16::from_f32((i + 1) as f32 * (j as f32 - 7.5) / 3.0).to_f32())
}

fn view(x: &Array2<f32>) -> MatrixView {
    let (rows, cols) = x.dim();
    MatrixView { data: x.as_ptr().cast(), rows, cols, row_stride: cols, dtype: ARMOR_DTYPE_F32 }
}

/// What the crate computes.
fn in_rust(precision: FactorPrecision, x: &Array2<f32>) -> Array2<f32> {
    let packed = PackedFactorization::new(&Small::new().in_rust(), precision).expect("fits");
    let mut y = Array2::zeros((x.nrows(), 12));
    packed.apply_batch_into(x.view(), y.view_mut(), &mut vec![0.0; packed.scratch_len(x.nrows())]).expect("fits");
    y
}

#[test]
fn one_vector_is_the_row_of_a_batch() {
    let packed = packed(&Small::new().in_c(), [ARMOR_DTYPE_F32, ARMOR_DTYPE_BF16, ARMOR_DTYPE_F16], 0);
    let (x, mut room) = (inputs(5), scratch(&packed, 5));
    let mixed = FactorPrecision { left: Precision::F32, core: Precision::Bf16, right: Precision::F16 };
    let expected = in_rust(mixed, &x);
    let (mut y, mut one) = (Array2::from_elem((5, 12), 7.0_f32), [7.0_f32; 13]);
    let (room, len) = (room.as_mut_ptr(), room.len());
    // SAFETY: the handle is alive, and the buffers are as long as they say.
    unsafe {
        assert_ok(armor_packed_apply_batch(packed.pointer, &view(&x), y.as_mut_ptr(), 12, 60, room, len));
        assert_eq!(y, expected);
        for (room, len) in [(room, len), (ptr::null_mut(), 0)] {
            one.fill(7.0);
            assert_ok(armor_packed_apply(packed.pointer, x.row(2).as_ptr(), 16, one.as_mut_ptr(), 13, room, len));
            assert_eq!(&one[..12], expected.row(2).as_slice().expect("contiguous"));
            assert_eq!(one[12], 7.0);
        }
    }
}

#[test]
fn it_outlives_the_factorisation_and_tells_its_sizes() {
    let packed = {
        let factorization = Small::new().in_c();
        packed(&factorization, [ARMOR_DTYPE_F32, ARMOR_DTYPE_BF16, ARMOR_DTYPE_F16], 0)
    };
    // SAFETY: numbers, for which zero is a value.
    let mut sizes: PackedSizes = unsafe { std::mem::zeroed() };
    sizes.struct_size = size_of::<PackedSizes>();
    // SAFETY: the handle is alive and the struct a local.
    assert_ok(unsafe { armor_packed_get_sizes(packed.pointer, &mut sizes) });
    let mixed = FactorPrecision { left: Precision::F32, core: Precision::Bf16, right: Precision::F16 };
    let bytes = PackedFactorization::new(&Small::new().in_rust(), mixed).expect("fits").bytes();
    assert_eq!((sizes.rows, sizes.cols, sizes.reserved), (12, 16, 0));
    let dtypes = [sizes.left_dtype, sizes.core_dtype, sizes.right_dtype];
    assert_eq!(dtypes, [ARMOR_DTYPE_F32, ARMOR_DTYPE_BF16, ARMOR_DTYPE_F16]);
    assert_eq!((sizes.left_bytes, sizes.core_bytes, sizes.right_bytes), (bytes.left, bytes.core, bytes.right));
    assert_eq!((sizes.bytes, sizes.struct_size), (bytes.total(), size_of::<PackedSizes>()));
    sizes.struct_size = 8;
    // SAFETY: as above.
    let status = unsafe { armor_packed_get_sizes(packed.pointer, &mut sizes) };
    let message = format!("out.struct_size: is 8, expected {} or more", size_of::<PackedSizes>());
    assert_refused(status, ARMOR_STRUCT_SIZE, &message);
}

#[test]
fn a_packed_layer_gives_its_factors_back() {
    for threads in [0, 1, 2] {
        let packed = packed(&Small::new().in_c(), [ARMOR_DTYPE_F32, ARMOR_DTYPE_BF16, ARMOR_DTYPE_F16], threads);
        let mut pointer = ptr::null_mut();
        // SAFETY: the handle is alive and out a local.
        assert_ok(unsafe { armor_packed_unpack(packed.pointer, &mut pointer) });
        let unpacked = Owned { pointer, free: armor_factorization_free };
        let mixed = FactorPrecision { left: Precision::F32, core: Precision::Bf16, right: Precision::F16 };
        let expected = Small::new().in_rust().rounded(mixed).expect("fits");
        let expected: Vec<u32> = expected.reconstruct().into_iter().map(f32::to_bits).collect();
        assert_eq!(reconstruction(&unpacked), expected);
    }
}

#[test]
fn what_cannot_be_packed() {
    let factorization = Small::new().in_c();
    let mut out = ptr::without_provenance_mut(0x5a5a);
    let mut create = |[left, core, right]: [u32; 3], threads| {
        // SAFETY: the handle is alive and out a local.
        unsafe { armor_packed_create(factorization.pointer, left, core, right, threads, &mut out) }
    };
    for dtype in [0, ARMOR_DTYPE_F64, 5, u32::MAX] {
        for (position, argument) in ["left_dtype", "core_dtype", "right_dtype"].into_iter().enumerate() {
            let mut dtypes = [ARMOR_DTYPE_F32; 3];
            dtypes[position] = dtype;
            let message =
                format!("{argument}: {dtype} is not a dtype that can be packed, expected 1 (f32), 3 (f16) or 4 (bf16)");
            assert_refused(create(dtypes, 0), ARMOR_UNKNOWN_DTYPE, &message);
        }
    }
    for threads in [1025, usize::MAX] {
        let message = format!("threads: {threads} is out of range, expected 0 to 1024");
        assert_refused(create([ARMOR_DTYPE_F32; 3], threads), ARMOR_OPTION_OUT_OF_RANGE, &message);
    }
    assert_eq!(out.addr(), 0x5a5a);
}

#[test]
fn sizes_that_do_not_fit() {
    let packed = packed(&Small::new().in_c(), [ARMOR_DTYPE_F32; 3], 0);
    let x = inputs(2);
    let mut room = scratch(&packed, 2);
    let mut y = [7.0_f32; 24];
    let (handle, view) = (packed.pointer, view(&x));
    let (to, room, len) = (y.as_mut_ptr(), room.as_mut_ptr(), room.len());
    // SAFETY: the handle is alive, and the buffers are at least as long as they say.
    unsafe {
        let batch = |x: MatrixView, stride, capacity, room, len| {
            armor_packed_apply_batch(handle, &x, to, stride, capacity, room, len)
        };
        let narrow = MatrixView { cols: 12, ..view };
        assert_refused(batch(narrow, 12, 24, room, len), ARMOR_INVALID_SHAPE, "x: has length 12, expected 16");
        let none = MatrixView { rows: 0, ..view };
        assert_refused(batch(none, 12, 24, room, len), ARMOR_INVALID_SHAPE, "x: 0 × 16 has no entries");
        let foreign = MatrixView { dtype: 9, ..view };
        assert_refused(
            batch(foreign, 12, 24, room, len),
            ARMOR_UNKNOWN_DTYPE,
            "x.dtype: 9 is not a dtype, expected 1 to 4",
        );
        assert_refused(
            batch(view, 11, 24, room, len),
            ARMOR_INVALID_SHAPE,
            "y_row_stride: is 11, expected 12 outputs or more",
        );
        assert_refused(batch(view, 12, 23, room, len), ARMOR_BUFFER_TOO_SMALL, "y: holds 23 elements, needs 24");
        let message = format!("scratch: holds {} elements, needs {len}", len - 1);
        assert_refused(batch(view, 12, 24, room, len - 1), ARMOR_BUFFER_TOO_SMALL, &message);
        let far = batch(view, usize::MAX, 24, room, len);
        assert_refused(
            far,
            ARMOR_SIZE_OVERFLOW,
            &format!("y: 2 rows of {} elements reach beyond the address space", usize::MAX),
        );
        let single = MatrixView { rows: 1, ..view };
        let long = armor_packed_apply(handle, x.as_ptr(), 17, to, 24, room, len);
        assert_refused(long, ARMOR_INVALID_SHAPE, "x: has length 17, expected 16");
        let short = armor_packed_apply(handle, x.as_ptr(), 16, to, 11, room, len);
        assert_refused(short, ARMOR_BUFFER_TOO_SMALL, "y: holds 11 elements, needs 12");
        assert_eq!(y, [7.0; 24]);
        assert_ok(batch(single, usize::MAX, 24, room, len));
    }
    assert!(y[..12].iter().all(|&y| y != 7.0) && y[12..] == [7.0; 12]);
}

#[test]
fn pointers_that_cannot_be() {
    let packed = packed(&Small::new().in_c(), [ARMOR_DTYPE_F32; 3], 0);
    let mut words = [0_usize; 2048];
    let floats = words.as_mut_ptr().cast::<f32>();
    let (handle, other) = (packed.pointer, small_options());
    let (none, mut len) = (ptr::null_mut(), 0_usize);
    let null = |argument: &str, status| assert_refused(status, ARMOR_NULL_POINTER, &format!("{argument}: is NULL"));
    let overlap = |status, message: &str| assert_refused(status, ARMOR_OVERLAP, message);
    let (off, float) = (floats.wrapping_byte_add(1), ARMOR_DTYPE_F32);
    // SAFETY: what is not valid must be refused; the rest lies in `words`.
    unsafe {
        let x = MatrixView { data: floats.cast(), rows: 2, cols: 16, row_stride: 16, dtype: ARMOR_DTYPE_F32 };
        let empty = MatrixView { data: ptr::null(), ..x };
        null("factorization", armor_packed_create(ptr::null(), float, float, float, 0, words.as_mut_ptr().cast()));
        null("packed", armor_packed_apply(ptr::null(), floats, 16, floats.add(64), 12, none, 0));
        null("packed", armor_packed_apply_batch(ptr::null(), &x, floats.add(64), 12, 24, none, 0));
        null("packed", armor_packed_get_sizes(ptr::null(), words.as_mut_ptr().cast()));
        null("packed", armor_packed_scratch_len(ptr::null(), 1, &mut len));
        null("out", armor_packed_scratch_len(handle, 1, ptr::null_mut()));
        null("out", armor_packed_get_sizes(handle, ptr::null_mut()));
        null("packed", armor_packed_unpack(ptr::null(), words.as_mut_ptr().cast()));
        null("out", armor_packed_unpack(handle, ptr::null_mut()));
        null("x", armor_packed_apply(handle, ptr::null(), 16, floats, 12, none, 0));
        null("x", armor_packed_apply_batch(handle, ptr::null(), floats, 12, 24, none, 0));
        null("x.data", armor_packed_apply_batch(handle, &empty, floats, 12, 24, none, 0));
        null("y", armor_packed_apply(handle, floats, 16, none, 12, none, 0));
        null("scratch", armor_packed_apply(handle, floats, 16, floats.add(64), 12, none, 1));
        assert_eq!(armor_packed_apply(handle, off, 16, floats.add(64), 12, none, 0), ARMOR_MISALIGNED);
        assert_eq!(armor_packed_apply(handle, floats, 16, off.add(64), 12, none, 0), ARMOR_MISALIGNED);
        assert_eq!(armor_packed_apply(handle, floats, 16, floats.add(64), 12, off.add(99), 900), ARMOR_MISALIGNED);
        overlap(armor_packed_apply(handle, floats, 16, floats.add(15), 12, none, 0), "y: overlaps x");
        overlap(armor_packed_apply_batch(handle, &x, floats.add(31), 12, 24, none, 0), "y: overlaps x.data");
        let scratch = floats.add(100);
        overlap(armor_packed_apply(handle, floats.add(90), 16, floats, 12, scratch, 900), "scratch: overlaps x");
        overlap(armor_packed_apply(handle, floats, 16, floats.add(90), 12, scratch, 900), "scratch: overlaps y");
        assert_eq!(armor_packed_apply(handle, floats, 16, floats.add(64), usize::MAX, none, 0), ARMOR_SIZE_OVERFLOW);
        let wrong = armor_packed_free(other.pointer.cast());
        assert_refused(wrong, ARMOR_WRONG_HANDLE, "packed: is not a handle of a packed factorization");
        assert_ok(armor_packed_free(ptr::null_mut()));
    }
    assert!(words.iter().all(|&word| word == 0) && len == 0);
}

#[test]
fn eight_threads_multiply_at_once() {
    let factorization = Small::new().in_c();
    let x = inputs(3);
    let expected = in_rust(Precision::F32.into(), &x);
    for threads in [0, 1, 2] {
        let packed = packed(&factorization, [ARMOR_DTYPE_F32; 3], threads);
        std::thread::scope(|scope| {
            for _ in 0..THREADS {
                scope.spawn(|| {
                    let (mut room, mut y) = (scratch(&packed, 3), Array2::zeros((3, 12)));
                    for _ in 0..repeats(20) {
                        let (to, view) = (y.as_mut_ptr(), view(&x));
                        // SAFETY: the handle is alive, and the buffers are as long as they say.
                        let status = unsafe {
                            armor_packed_apply_batch(packed.pointer, &view, to, 12, 36, room.as_mut_ptr(), room.len())
                        };
                        assert_ok(status);
                        assert_eq!(y, expected);
                    }
                });
            }
        });
    }
}
