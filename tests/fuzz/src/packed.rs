//! Calls on packed factorisations.

use std::ptr;

use arbitrary::Arbitrary;
use armor_core::ffi::*;

use crate::handles::{Handles, Which};
use crate::memory::{Count, Memory, Place};
use crate::view::{Dtype, Stride, Weight};

/// Some elements of the arena.
type Floats = (Place, Count);

#[derive(Arbitrary, Debug)]
pub enum PackedCall {
    Create { factorization: Which, dtypes: [Dtype; 3], threads: u8, out: Place },
    Unpack { packed: Which, out: Place },
    Free(Which),
    Sizes { packed: Which, out: Place },
    ScratchLen { packed: Which, batch: u16, huge: bool, out: Place },
    Apply { packed: Which, x: Floats, y: Floats, scratch: Option<Floats> },
    ApplyBatch { packed: Which, x: Weight, y: Floats, y_stride: Stride, scratch: Option<Floats> },
}

impl PackedCall {
    pub unsafe fn make(self, memory: &mut Memory, handles: &mut Handles) -> u32 {
        // SAFETY: passed on.
        unsafe {
            match self {
                PackedCall::Create { factorization, dtypes, threads, out } => {
                    let out = memory.pointer(out, 1);
                    let factorization = handles.factorization(factorization);
                    let [left, core, right] = dtypes.map(Dtype::number);
                    let status = armor_packed_create(factorization, left, core, right, count(threads), out);
                    if status == ARMOR_OK {
                        handles.packed.push(out.read());
                    }
                    status
                }
                PackedCall::Unpack { packed, out } => {
                    let out = memory.pointer(out, 1);
                    let status = armor_packed_unpack(handles.packed(packed), out);
                    if status == ARMOR_OK {
                        handles.factorizations.push(out.read());
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
                    let packed = handles.packed(packed);
                    let right = Right::of(packed, 1);
                    let ((x, x_len), (y, capacity)) = (floats(memory, x, right.cols), floats(memory, y, right.rows));
                    let (scratch, scratch_len) = working(memory, scratch, right.scratch);
                    armor_packed_apply(packed, x, x_len, y, capacity, scratch, scratch_len)
                }
                PackedCall::ApplyBatch { packed, x, y, y_stride, scratch } => {
                    let packed = handles.packed(packed);
                    let view = x.view(memory, None, Right::of(packed, 1).cols);
                    let batch = view.as_ref().map_or(0, |view| view.rows);
                    let x = view.as_ref().map_or(ptr::null(), |view| &raw const *view);
                    let right = Right::of(packed, batch);
                    let stride = y_stride.of(right.rows.unwrap_or(0));
                    let needed =
                        right.rows.map(|rows| batch.saturating_sub(1).saturating_mul(stride).saturating_add(rows));
                    let (y, capacity) = floats(memory, y, needed);
                    let (scratch, scratch_len) = working(memory, scratch, right.scratch);
                    armor_packed_apply_batch(packed, x, y, stride, capacity, scratch, scratch_len)
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

/// What a product takes, where the handle is one.
#[derive(Default)]
struct Right {
    rows: Option<usize>,
    cols: Option<usize>,
    scratch: Option<usize>,
}

impl Right {
    unsafe fn of(packed: *const PackedHandle, batch: usize) -> Self {
        // SAFETY: plain numbers.
        let mut sizes: PackedSizes = unsafe { std::mem::zeroed() };
        sizes.struct_size = size_of::<PackedSizes>();
        let mut scratch = 0;
        // SAFETY: passed on.
        if unsafe { armor_packed_get_sizes(packed, &mut sizes) } != ARMOR_OK {
            return Right::default();
        }
        // SAFETY: as above.
        assert_eq!(unsafe { armor_packed_scratch_len(packed, batch, &mut scratch) }, ARMOR_OK);
        Right { rows: Some(sizes.rows), cols: Some(sizes.cols), scratch: Some(scratch) }
    }
}

fn floats(memory: &mut Memory, (place, count): Floats, right: Option<usize>) -> (*mut f32, usize) {
    let len = Memory::count::<f32>(place, count, right);
    (memory.pointer(place, len), len)
}

/// Scratch, or none, for which the call has to see itself.
fn working(memory: &mut Memory, scratch: Option<Floats>, right: Option<usize>) -> (*mut f32, usize) {
    scratch.map_or((ptr::null_mut(), 0), |scratch| floats(memory, scratch, right))
}
