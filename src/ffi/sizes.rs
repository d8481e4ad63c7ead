//! How large the parts of a factorisation are.

use super::factorization::FactorizationHandle;
use super::guard::guard;
use super::handle;
use super::pointer::{Growing, Out, write_growing};
use crate::result::factorization::Factorization;

/// Shapes of a factorisation, and the elements of every array that it can be copied to.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Sizes {
    /// Set to sizeof(armor_sizes) before the call; afterwards the bytes that were written.
    pub struct_size: usize,
    /// Rows of the layer, m.
    pub rows: usize,
    /// Columns of the layer, k.
    pub cols: usize,
    /// Rows of a left block, p.
    pub left_block: usize,
    /// Left blocks, m / p rounded up.
    pub left_blocks: usize,
    /// Columns of a right block, q.
    pub right_block: usize,
    /// Right blocks, k / q rounded up.
    pub right_blocks: usize,
    /// Entries kept of each group, N.
    pub pattern_n: usize,
    /// Entries of a group, M.
    pub pattern_m: usize,
    /// float of the left wrapper: left_blocks * p * p.
    pub left: usize,
    /// float of the right wrapper: right_blocks * q * q.
    pub right: usize,
    /// float of the core's kept values: m * k * N / M.
    pub core_values: usize,
    /// Bytes of the core's bitmask: m * (k / 8 rounded up).
    pub core_bitmask: usize,
    /// float of the dense core, and of the reconstruction: m * k.
    pub dense: usize,
    /// double of the history: iterations + 1.
    pub history: usize,
}

// SAFETY: repr(C), Copy, plain numbers, struct_size first.
unsafe impl Growing for Sizes {
    const FIRST_SIZE: usize = 15 * size_of::<usize>();

    fn struct_size_mut(&mut self) -> &mut usize {
        &mut self.struct_size
    }
}

impl Sizes {
    /// Measures a factorisation.
    pub(super) fn of(factorization: &Factorization) -> Self {
        let (left, core, right) = (factorization.left(), factorization.core(), factorization.right());
        let pattern = core.pattern();
        Sizes {
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

/// Writes the shapes of a factorisation to out, whose struct_size the caller has set.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn armor_factorization_get_sizes(
    factorization: *const FactorizationHandle,
    out: *mut Sizes,
) -> u32 {
    guard(|| {
        // SAFETY: the caller keeps the module's contract.
        let (factorization, memory) = unsafe { handle::borrow("factorization", factorization)? };
        let out = Out::new("out", out)?.apart_from(&[memory])?;
        // SAFETY: the caller keeps the module's contract.
        unsafe { write_growing(out, Sizes::of(factorization)) }
    })
}
