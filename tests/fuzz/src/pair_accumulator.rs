//! Calls on accumulators of pairs.

use std::ptr;

use arbitrary::Arbitrary;
use armor_core::ffi::*;

use crate::call::Name;
use crate::damage::Damage;
use crate::handles::{Handles, INPUTS, Which, fixtures};
use crate::memory::{Count, Memory, Place};
use crate::view::Weight;

#[derive(Arbitrary, Debug)]
pub enum PairAccumulatorCall {
    Create { inputs: u8, out: Place },
    Free(Which),
    Add { accumulator: Which, dense: Weight, compressed: Weight },
    Merge { accumulator: Which, other: Which },
    Tokens { accumulator: Which, out: Place },
    CopyHessian { accumulator: Which, buffer: Place, capacity: Count, needed: Place },
    Correct(Correction),
    OutputError { accumulator: Which, weight: Weight, compressed: Weight, out: Place },
    Serialize { accumulator: Which, name: Name, buffer: Place, capacity: Count, needed: Place },
    Deserialize { bytes: Place, len: Count, name: Name, out: Place },
    DeserializeDamaged { damage: Damage, name: Name, out: Place },
}

#[derive(Arbitrary, Debug)]
pub struct Correction {
    accumulator: Which,
    weight: Weight,
    strength: Number,
    ridge: Number,
    buffer: Place,
    capacity: Count,
    needed: Place,
    out: Place,
}

/// An option's number: mostly one of its range.
#[derive(Arbitrary, Debug)]
struct Number {
    kind: u8,
    any: f64,
}

impl Number {
    fn value(&self) -> f64 {
        if self.kind < 32 { self.any } else { f64::from(self.kind - 32) / 223.0 }
    }
}

impl PairAccumulatorCall {
    pub unsafe fn make(self, memory: &mut Memory, handles: &mut Handles) -> u32 {
        // SAFETY: passed on.
        unsafe {
            match self {
                PairAccumulatorCall::Create { inputs, out } => {
                    // More than can be addressed, or few enough to be made.
                    let inputs = match inputs {
                        0..16 => usize::MAX >> (inputs % 4),
                        16..96 => (inputs % 20).into(),
                        _ => INPUTS,
                    };
                    let out = memory.pointer(out, 1);
                    keep(armor_pair_accumulator_create(inputs, out), out, handles)
                }
                PairAccumulatorCall::Free(which) => armor_pair_accumulator_free(handles.take_pair_accumulator(which)),
                PairAccumulatorCall::Add { accumulator, dense, compressed } => {
                    let dense = dense.view(memory, None, Some(INPUTS));
                    let rows = dense.as_ref().map(|dense| dense.rows);
                    let compressed = compressed.view(memory, rows, Some(INPUTS));
                    let accumulator = handles.pair_accumulator(accumulator);
                    armor_pair_accumulator_add(accumulator, pointer(&dense), pointer(&compressed))
                }
                PairAccumulatorCall::Merge { accumulator, other } => {
                    armor_pair_accumulator_merge(handles.pair_accumulator(accumulator), handles.pair_accumulator(other))
                }
                PairAccumulatorCall::Tokens { accumulator, out } => {
                    armor_pair_accumulator_tokens(handles.pair_accumulator(accumulator), memory.pointer(out, 1))
                }
                PairAccumulatorCall::CopyHessian { accumulator, buffer, capacity, needed } => {
                    let len = Memory::count::<f32>(buffer, capacity, None);
                    let (buffer, needed) = (memory.pointer(buffer, len), memory.pointer(needed, 1));
                    armor_pair_accumulator_copy_hessian(handles.pair_accumulator(accumulator), buffer, len, needed)
                }
                PairAccumulatorCall::Correct(call) => call.make(memory, handles),
                PairAccumulatorCall::OutputError { accumulator, weight, compressed, out } => {
                    let weight = weight.view(memory, None, Some(INPUTS));
                    let rows = weight.as_ref().map(|weight| weight.rows);
                    let compressed = compressed.view(memory, rows, Some(INPUTS));
                    let (accumulator, out) = (handles.pair_accumulator(accumulator), memory.pointer(out, 1));
                    armor_pair_accumulator_output_error(accumulator, pointer(&weight), pointer(&compressed), out)
                }
                PairAccumulatorCall::Serialize { accumulator, name, buffer, capacity, needed } => {
                    let len = Memory::count::<u8>(buffer, capacity, None);
                    let (name, needed) = (name.pointer(memory), memory.pointer(needed, 1));
                    let buffer = memory.pointer(buffer, len);
                    let accumulator = handles.pair_accumulator(accumulator);
                    armor_pair_accumulator_serialize(accumulator, name, buffer, len, needed)
                }
                PairAccumulatorCall::Deserialize { bytes, len, name, out } => {
                    let len = Memory::count::<u8>(bytes, len, None);
                    let (bytes, name) = (memory.pointer::<u8>(bytes, len), name.pointer(memory));
                    let out = memory.pointer(out, 1);
                    keep(armor_pair_accumulator_deserialize(bytes, len, name, out), out, handles)
                }
                PairAccumulatorCall::DeserializeDamaged { damage, name, out } => {
                    let bytes = damage.applied_to(&fixtures().pair_sums);
                    let (name, out) = (name.pointer(memory), memory.pointer(out, 1));
                    keep(armor_pair_accumulator_deserialize(bytes.as_ptr(), bytes.len(), name, out), out, handles)
                }
            }
        }
    }
}

impl Correction {
    unsafe fn make(self, memory: &mut Memory, handles: &mut Handles) -> u32 {
        let weight = self.weight.view(memory, None, Some(INPUTS));
        let len = Memory::count::<f32>(self.buffer, self.capacity, None);
        let (buffer, needed) = (memory.pointer(self.buffer, len), memory.pointer(self.needed, 1));
        let (accumulator, out) = (handles.pair_accumulator(self.accumulator), memory.pointer(self.out, 1));
        let (strength, ridge) = (self.strength.value(), self.ridge.value());
        // SAFETY: passed on.
        unsafe {
            let weight = pointer(&weight);
            armor_pair_accumulator_correct(accumulator, weight, strength, ridge, buffer, len, needed, out)
        }
    }
}

fn pointer(view: &Option<MatrixView>) -> *const MatrixView {
    view.as_ref().map_or(ptr::null(), |view| &raw const *view)
}

/// Keeps the handle of a call that succeeded.
unsafe fn keep(status: u32, out: *mut *mut PairAccumulatorHandle, handles: &mut Handles) -> u32 {
    if status == ARMOR_OK {
        // SAFETY: the call wrote it.
        handles.pair_accumulators.push(unsafe { out.read() });
    }
    status
}
