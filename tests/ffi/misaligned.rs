//! A pointer between the positions of its type is ARMOR_MISALIGNED.

use std::ptr;

use armor_core::ffi::*;

use crate::setup::*;

#[track_caller]
fn misaligned(status: u32, argument: &str, alignment: usize) {
    assert_eq!(status, ARMOR_MISALIGNED, "{}", last_message());
    let message = last_message();
    assert!(message.starts_with(&format!("{argument}: 0x")), "{message}");
    assert!(message.ends_with(&format!(" is not a multiple of {alignment}")), "{message}");
}

#[test]
fn elements_of_every_dtype() {
    let small = Small::new();
    // On a multiple of every alignment, which an array of f32 need not be.
    let data = [0_u64; 16];
    let mut out = untouched();
    for (dtype, alignment) in [(ARMOR_DTYPE_F32, 4), (ARMOR_DTYPE_F64, 8), (ARMOR_DTYPE_F16, 2), (ARMOR_DTYPE_BF16, 2)]
    {
        let data = data.as_ptr().wrapping_byte_add(alignment / 2).cast();
        let weight = MatrixView { data, rows: 4, cols: 4, dtype, ..small.matrix() };
        let identity = HessianView { len: 4, kind: ARMOR_HESSIAN_IDENTITY, ..small.hessian() };
        misaligned(factorize_c(&weight, &identity, ptr::null(), &mut out), "weight.data", alignment);
        let weight = MatrixView { cols: 4, ..small.matrix() };
        for kind in [ARMOR_HESSIAN_DIAGONAL, ARMOR_HESSIAN_FULL] {
            let hessian = HessianView { data, len: 4, row_stride: 4, kind, dtype };
            misaligned(factorize_c(&weight, &hessian, ptr::null(), &mut out), "hessian.data", alignment);
        }
    }
    assert_eq!(out, untouched());
}

#[test]
fn structs_and_results() {
    let small = Small::new();
    let (weight, hessian) = (small.matrix(), small.hessian());
    let factorization = small.in_c();
    let handle = factorization.pointer;
    let mut room = [0_usize; 32];
    let off = room.as_mut_ptr().wrapping_byte_add(1);
    let word = align_of::<usize>();
    let mut buffer = [0.0_f32; 12];
    let y = buffer.as_mut_ptr();
    // SAFETY: misaligned pointers must be refused; the others are valid.
    unsafe {
        misaligned(factorize_c(off.cast(), &hessian, ptr::null(), off.cast()), "weight", word);
        misaligned(factorize_c(&weight, off.cast(), ptr::null(), off.cast()), "hessian", word);
        misaligned(factorize_c(&weight, &hessian, off.cast(), room.as_mut_ptr().cast()), "options", word);
        misaligned(factorize_c(&weight, &hessian, ptr::null(), off.cast()), "out", word);
        misaligned(armor_options_create(ARMOR_PRESET_PAPER, off.cast()), "out", word);
        misaligned(armor_options_set_seed(off.cast(), 1), "options", word);
        misaligned(armor_options_free(off.cast()), "options", word);
        misaligned(armor_factorization_free(off.cast()), "factorization", word);
        misaligned(armor_factorization_get_sizes(handle, off.cast()), "out", word);
        misaligned(armor_factorization_get_report(handle, off.cast()), "out", word);
        misaligned(armor_factorization_copy_left(handle, off.cast(), 8, ptr::null_mut()), "buffer", 4);
        misaligned(armor_factorization_copy_history(handle, off.cast(), 5, ptr::null_mut()), "buffer", 8);
        misaligned(armor_factorization_copy_core_values(handle, y, 12, off), "needed", word);
        misaligned(armor_factorization_apply(handle, off.cast(), 16, y, 12, ptr::null_mut()), "x", 4);
        misaligned(armor_factorization_apply(handle, y, 12, off.cast(), 12, ptr::null_mut()), "y", 4);
        misaligned(armor_factorization_deserialize(room.as_ptr().cast(), 8, c"x".as_ptr(), off.cast()), "out", word);
    }
    assert_eq!((room, buffer), ([0; 32], [0.0; 12]));
}
