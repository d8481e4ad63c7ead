//! Calls on accumulators.

use std::ptr;

use arbitrary::Arbitrary;
use armor_core::ffi::*;

use crate::call::Name;
use crate::damage::Damage;
use crate::handles::{Handles, INPUTS, Which, fixtures};
use crate::memory::{Count, Memory, Place};
use crate::view::Weight;

#[derive(Arbitrary, Debug)]
pub enum AccumulatorCall {
    Create { inputs: u8, kind: u8, out: Place },
    Free(Which),
    Add { accumulator: Which, activations: Weight },
    Merge { accumulator: Which, other: Which },
    Tokens { accumulator: Which, out: Place },
    Copy { accumulator: Which, buffer: Place, capacity: Count, needed: Place },
    Serialize { accumulator: Which, name: Name, buffer: Place, capacity: Count, needed: Place },
    Deserialize { bytes: Place, len: Count, name: Name, out: Place },
    DeserializeDamaged { damage: Damage, name: Name, out: Place },
}

impl AccumulatorCall {
    pub unsafe fn make(self, memory: &mut Memory, handles: &mut Handles) -> u32 {
        // SAFETY: passed on.
        unsafe {
            match self {
                AccumulatorCall::Create { inputs, kind, out } => {
                    // More than can be addressed, or few enough to be made.
                    let inputs = match inputs {
                        0..16 => usize::MAX >> (inputs % 4),
                        16..96 => (inputs % 20).into(),
                        _ => INPUTS,
                    };
                    let out = memory.pointer(out, 1);
                    keep(armor_accumulator_create(inputs, (kind % 5).into(), out), out, handles)
                }
                AccumulatorCall::Free(which) => armor_accumulator_free(handles.take_accumulator(which)),
                AccumulatorCall::Add { accumulator, activations } => {
                    let view = activations.view(memory, None, Some(INPUTS));
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
                    let len = Memory::count::<f32>(buffer, capacity, None);
                    let (buffer, needed) = (memory.pointer(buffer, len), memory.pointer(needed, 1));
                    armor_accumulator_copy(handles.accumulator(accumulator), buffer, len, needed)
                }
                AccumulatorCall::Serialize { accumulator, name, buffer, capacity, needed } => {
                    let len = Memory::count::<u8>(buffer, capacity, None);
                    let (name, needed) = (name.pointer(memory), memory.pointer(needed, 1));
                    let buffer = memory.pointer(buffer, len);
                    armor_accumulator_serialize(handles.accumulator(accumulator), name, buffer, len, needed)
                }
                AccumulatorCall::Deserialize { bytes, len, name, out } => {
                    let len = Memory::count::<u8>(bytes, len, None);
                    let (bytes, name) = (memory.pointer::<u8>(bytes, len), name.pointer(memory));
                    let out = memory.pointer(out, 1);
                    keep(armor_accumulator_deserialize(bytes, len, name, out), out, handles)
                }
                AccumulatorCall::DeserializeDamaged { damage, name, out } => {
                    let bytes = damage.applied_to(&fixtures().sums);
                    let (name, out) = (name.pointer(memory), memory.pointer(out, 1));
                    keep(armor_accumulator_deserialize(bytes.as_ptr(), bytes.len(), name, out), out, handles)
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
