//! Calls on packed factorisations.

use std::ptr;

use arbitrary::Arbitrary;
use armor_core::ffi::*;

use crate::handles::{Handles, Which};
use crate::memory::{Count, Memory, Place};
use crate::view::Weight;

/// Some elements of the arena.
type Floats = (Place, Count);

#[derive(Arbitrary, Debug)]
pub enum PackedCall {
    Create { factorization: Which, dtype: u8, threads: u8, out: Place },
    Free(Which),
    Sizes { packed: Which, out: Place },
    ScratchLen { packed: Which, batch: u16, huge: bool, out: Place },
    Apply { packed: Which, x: Floats, y: Floats, scratch: Option<Floats> },
    ApplyBatch { packed: Which, x: Weight, y: Floats, more: u8, huge: bool, scratch: Option<Floats> },
}

impl PackedCall {
    pub unsafe fn make(self, memory: &mut Memory, handles: &mut Handles) -> u32 {
        // SAFETY: passed on.
        unsafe {
            match self {
                PackedCall::Create { factorization, dtype, threads, out } => {
                    let out = memory.pointer(out, 1);
                    let factorization = handles.factorization(factorization);
                    let status = armor_packed_create(factorization, (dtype % 6).into(), count(threads), out);
                    if status == ARMOR_OK {
                        handles.packed.push(out.read());
                    }
                    status
                }
                PackedCall::Free(which) => armor_packed_free(handles.take_packed(which)),
                PackedCall::Sizes { packed, out } => {
                    armor_packed_get_sizes(handles.packed(packed), memory.pointer(out, 1))
                }
                PackedCall::ScratchLen { packed, batch, huge, out } => {
                    let batch = if huge { usize::MAX - usize::from(batch) } else { batch.into() };
                    armor_packed_scratch_len(handles.packed(packed), batch, memory.pointer(out, 1))
                }
                PackedCall::Apply { packed, x, y, scratch } => {
                    let ((x, x_len), (y, capacity)) = (floats(memory, x), floats(memory, y));
                    let (scratch, scratch_len) = working(memory, scratch);
                    armor_packed_apply(handles.packed(packed), x, x_len, y, capacity, scratch, scratch_len)
                }
                PackedCall::ApplyBatch { packed, x, y, more, huge, scratch } => {
                    let view = x.view(memory);
                    let x = view.as_ref().map_or(ptr::null(), |view| &raw const *view);
                    let (y, capacity) = floats(memory, y);
                    let stride = if huge { usize::MAX >> (more % 64) } else { (more % 12).into() };
                    let (scratch, scratch_len) = working(memory, scratch);
                    armor_packed_apply_batch(handles.packed(packed), x, y, stride, capacity, scratch, scratch_len)
                }
            }
        }
    }
}

/// Threads of a handle: the process's, the caller's, seldom some of its own, which take long to start, or too many.
fn count(threads: u8) -> usize {
    match threads {
        0..100 => 0,
        100..200 => 1,
        200 => 2,
        more => usize::MAX >> (more % 32),
    }
}

fn floats(memory: &mut Memory, (place, count): Floats) -> (*mut f32, usize) {
    let len = Memory::count::<f32>(place, count);
    (memory.pointer(place, len), len)
}

/// Scratch, or none, for which the call has to see itself.
fn working(memory: &mut Memory, scratch: Option<Floats>) -> (*mut f32, usize) {
    scratch.map_or((ptr::null_mut(), 0), |scratch| floats(memory, scratch))
}
