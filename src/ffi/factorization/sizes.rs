//! The sizes of a factorisation's parts.

use super::handle::FactorizationHandle;
use crate::ffi::guard::guard;
use crate::ffi::opaque;
use crate::ffi::pointer::{Growing, Out, write_growing};
use crate::result::factorization::Factorization;

/// The shape of a factorisation, and the length of every array that the copies return.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct FactorizationSizes {
    /// Set this to sizeof(armor_sizes) before the call. The call changes it to the number of bytes that it has written.
    pub struct_size: usize,
    /// Rows of the layer (m).
    pub rows: usize,
    /// Columns of the layer (k).
    pub cols: usize,
    /// Rows of a block of the left wrapper (p).
    pub left_block: usize,
    /// Number of blocks of the left wrapper: m / p, rounded up.
    pub left_blocks: usize,
    /// Columns of a block of the right wrapper (q).
    pub right_block: usize,
    /// Number of blocks of the right wrapper: k / q, rounded up.
    pub right_blocks: usize,
    /// Kept entries in each group of the core (N).
    pub pattern_n: usize,
    /// Entries in each group of the core (M).
    pub pattern_m: usize,
    /// Number of float values of the left wrapper: left_blocks * p * p.
    pub left: usize,
    /// Number of float values of the right wrapper: right_blocks * q * q.
    pub right: usize,
    /// Number of kept float values of the core: m * k * N / M.
    pub core_values: usize,
    /// Number of bytes of the core's bitmask: m * (k / 8, rounded up).
    pub core_bitmask: usize,
    /// Number of float values of the dense core and of the reconstruction: m * k.
    pub dense: usize,
    /// Number of double values of the history: iterations + 1.
    pub history: usize,
}

// SAFETY: the struct is repr(C) and Copy, contains numbers only, and starts with struct_size.
unsafe impl Growing for FactorizationSizes {
    const FIRST_SIZE: usize = 15 * size_of::<usize>();

    fn struct_size_mut(&mut self) -> &mut usize {
        &mut self.struct_size
    }
}

impl FactorizationSizes {
    /// Reads the sizes of a factorisation.
    pub(super) fn of(factorization: &Factorization) -> Self {
        let (left, core, right) = (factorization.left(), factorization.core(), factorization.right());
        let pattern = core.pattern();
        FactorizationSizes {
            struct_size: size_of::<Self>(),
            rows: core.rows(),
            cols: core.cols(),
            left_block: left.block_size(),
            left_blocks: left.blocks(),
            right_block: right.block_size(),
            right_blocks: right.blocks(),
            pattern_n: pattern.n(),
            pattern_m: pattern.m(),
            left: left.blocks() * left.block_size().pow(2),
            right: right.blocks() * right.block_size().pow(2),
            core_values: core.rows() * core.groups() * pattern.n(),
            core_bitmask: core.rows() * core.cols().div_ceil(8),
            dense: core.rows() * core.cols(),
            history: factorization.history().len(),
        }
    }
}

/// Writes the sizes of a factorisation to out. Set out->struct_size before the call.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn armor_factorization_get_sizes(
    factorization: *const FactorizationHandle,
    out: *mut FactorizationSizes,
) -> u32 {
    guard(|| {
        // SAFETY: the caller keeps the module's contract.
        let (factorization, memory) = unsafe { opaque::borrow("factorization", factorization)? };
        let out = Out::new("out", out)?.apart_from(&[memory])?;
        // SAFETY: the caller keeps the module's contract.
        unsafe { write_growing(out, FactorizationSizes::of(factorization)) }
    })
}
