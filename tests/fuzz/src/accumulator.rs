//! Calls on accumulators.

use std::ptr;

use arbitrary::Arbitrary;
use armor_core::ffi::*;

use crate::call::Name;
use crate::handles::{Handles, Which};
use crate::memory::{Count, Memory, Place};
use crate::view::Weight;

#[derive(Arbitrary, Debug)]
pub enum AccumulatorCall {
    Create { inputs: u8, huge: bool, kind: u8, out: Place },
    Free(Which),
    Add { accumulator: Which, activations: Weight },
    Merge { accumulator: Which, other: Which },
    Tokens { accumulator: Which, out: Place },
    Copy { accumulator: Which, buffer: Place, capacity: Count, needed: Place },
    Serialize { accumulator: Which, name: Name, buffer: Place, capacity: Count, needed: Place },
    Deserialize { bytes: Place, len: Count, name: Name, out: Place },
}

impl AccumulatorCall {
    pub unsafe fn make(self, memory: &mut Memory, handles: &mut Handles) -> u32 {
        // SAFETY: passed on.
        unsafe {
            match self {
                AccumulatorCall::Create { inputs, huge, kind, out } => {
                    // More than can be addressed, or few enough to be made.
                    let inputs = if huge { usize::MAX >> (inputs % 4) } else { (inputs % 20).into() };
                    let out = memory.pointer(out, 1);
                    keep(armor_accumulator_create(inputs, (kind % 5).into(), out), out, handles)
                }
                AccumulatorCall::Free(which) => armor_accumulator_free(handles.take_accumulator(which)),
                AccumulatorCall::Add { accumulator, activations } => {
                    let view = activations.view(memory);
                    let view = view.as_ref().map_or(ptr::null(), |view| &raw const *view);
                    armor_accumulator_add(handles.accumulator(accumulator), view)
                }
                AccumulatorCall::Merge { accumulator, other } => {
                    armor_accumulator_merge(handles.accumulator(accumulator), handles.accumulator(other))
                }
                AccumulatorCall::Tokens { accumulator, out } => {
                    armor_accumulator_tokens(handles.accumulator(accumulator), memory.pointer(out, 1))
                }
                AccumulatorCall::Copy { accumulator, buffer, capacity, needed } => {
                    let len = Memory::count::<f32>(buffer, capacity);
                    let (buffer, needed) = (memory.pointer(buffer, len), memory.pointer(needed, 1));
                    armor_accumulator_copy(handles.accumulator(accumulator), buffer, len, needed)
                }
                AccumulatorCall::Serialize { accumulator, name, buffer, capacity, needed } => {
                    let len = Memory::count::<u8>(buffer, capacity);
                    let (name, needed) = (name.pointer(memory), memory.pointer(needed, 1));
                    let buffer = memory.pointer(buffer, len);
                    armor_accumulator_serialize(handles.accumulator(accumulator), name, buffer, len, needed)
                }
                AccumulatorCall::Deserialize { bytes, len, name, out } => {
                    let len = Memory::count::<u8>(bytes, len);
                    let (bytes, name) = (memory.pointer::<u8>(bytes, len), name.pointer(memory));
                    let out = memory.pointer(out, 1);
                    keep(armor_accumulator_deserialize(bytes, len, name, out), out, handles)
                }
            }
        }
    }
}

/// Keeps the handle of a call that succeeded.
unsafe fn keep(status: u32, out: *mut *mut AccumulatorHandle, handles: &mut Handles) -> u32 {
    if status == ARMOR_OK {
        // SAFETY: the call wrote it.
        handles.accumulators.push(unsafe { out.read() });
    }
    status
}
