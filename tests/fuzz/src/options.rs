//! Calls on options.

use arbitrary::Arbitrary;
use armor_core::ffi::*;

use crate::handles::{Handles, Which};
use crate::memory::{Count, Memory, Place};

#[derive(Arbitrary, Debug)]
pub enum OptionsCall {
    Create {
        preset: u8,
        out: Place,
    },
    /// An object with some known keys, followed by arbitrary bytes.
    FromJson {
        keys: Vec<u8>,
        rest: Vec<u8>,
        out: Place,
    },
    /// Arbitrary bytes of the arena.
    FromBytes {
        bytes: Place,
        len: Count,
        out: Place,
    },
    ToJson {
        options: Which,
        buffer: Place,
        capacity: Count,
        needed: Place,
    },
    Free(Which),
    SetNumber {
        options: Which,
        option: u8,
        value: u64,
        small: bool,
    },
    SetFraction {
        options: Which,
        option: u8,
        value: f64,
    },
    SetPattern {
        options: Which,
        n: u8,
        m: u8,
    },
}

/// Keys with good and bad values.
const KEYS: [&str; 24] = [
    r#""preset":"exact""#,
    r#""preset":"paper""#,
    r#""preset":"best""#,
    r#""method":"gradient""#,
    r#""method":3"#,
    r#""objective":"full""#,
    r#""row_weighting":"uniform""#,
    r#""row_weighting":null"#,
    r#""pattern":"1:2""#,
    r#""pattern":"4:2""#,
    r#""block":4"#,
    r#""block":[3,8]"#,
    r#""block":[3]"#,
    r#""left_block":0"#,
    r#""right_block":8"#,
    r#""time_budget":null"#,
    r#""time_budget":1e999"#,
    r#""time_budget":0.25"#,
    r#""memory_limit":1000"#,
    r#""temperature":0"#,
    r#""seed":18446744073709551615"#,
    r#""tolerance":null"#,
    r#""max_extrapolation":0.5"#,
    r#""unknown":null"#,
];

/// Writes an object with the keys of these numbers, and arbitrary bytes at its end.
fn json(keys: &[u8], rest: &[u8]) -> Vec<u8> {
    let keys: Vec<&str> = keys.iter().take(4).map(|&key| KEYS[usize::from(key) % KEYS.len()]).collect();
    [b"{", keys.join(",").as_bytes(), rest, b"}"].concat()
}

/// Keeps options that a call has created. The many iterations of a preset and new threads would take the fuzzer's time.
unsafe fn keep(status: u32, out: *mut *mut OptionsHandle, handles: &mut Handles) -> u32 {
    if status == ARMOR_OK {
        // SAFETY: the call succeeded, so there is a handle.
        unsafe {
            assert_eq!(armor_options_set_iterations(out.read(), 2), ARMOR_OK);
            assert_eq!(armor_options_set_threads(out.read(), 0), ARMOR_OK);
            handles.options.push(out.read());
        }
    }
    status
}

impl OptionsCall {
    pub unsafe fn make(self, memory: &mut Memory, handles: &mut Handles) -> u32 {
        // SAFETY: passed on.
        unsafe {
            match self {
                OptionsCall::Create { preset, out } => {
                    let out = memory.pointer(out, 1);
                    keep(armor_options_create((preset % 4).into(), out), out, handles)
                }
                OptionsCall::FromJson { keys, rest, out } => {
                    let (json, out) = (json(&keys, &rest), memory.pointer(out, 1));
                    keep(armor_options_from_json(json.as_ptr(), json.len(), out), out, handles)
                }
                OptionsCall::FromBytes { bytes, len, out } => {
                    let len = Memory::count::<u8>(bytes, len, None);
                    let (bytes, out) = (memory.pointer(bytes, len), memory.pointer(out, 1));
                    keep(armor_options_from_json(bytes, len, out), out, handles)
                }
                OptionsCall::ToJson { options, buffer, capacity, needed } => {
                    let len = Memory::count::<u8>(buffer, capacity, None);
                    let (buffer, needed) = (memory.pointer(buffer, len), memory.pointer(needed, 1));
                    armor_options_to_json(handles.options(options), buffer, len, needed)
                }
                OptionsCall::Free(which) => armor_options_free(handles.take_options(which)),
                OptionsCall::SetNumber { options, option, value, small } => {
                    let value = match (small, option % 16) {
                        (false, _) => value,
                        // What is one of a few names.
                        (true, 0..8) => value % 5,
                        (true, _) => value % 40,
                    };
                    set_number(handles.options(options), option, value)
                }
                OptionsCall::SetFraction { options, option, value } => {
                    set_fraction(handles.options(options), option, value)
                }
                OptionsCall::SetPattern { options, n, m } => {
                    armor_options_set_pattern(handles.options(options), (n % 10).into(), (m % 10).into())
                }
            }
        }
    }
}

unsafe fn set_number(options: *mut OptionsHandle, option: u8, value: u64) -> u32 {
    let size = value as usize;
    // SAFETY: passed on.
    unsafe {
        match option % 16 {
            0..4 => armor_options_set_method(options, value as u32),
            4..7 => armor_options_set_objective(options, value as u32),
            7 => armor_options_set_row_weighting(options, value as u32),
            8 => armor_options_set_left_block(options, size),
            9 => armor_options_set_right_block(options, size),
            // In range only where a run stays short.
            10 | 11 => armor_options_set_iterations(options, if size <= 10_000_000 { size % 3 } else { size }),
            12 => armor_options_set_patience(options, size),
            13 => armor_options_set_seed(options, value),
            14 => armor_options_set_memory_limit(options, size),
            _ => armor_options_set_threads(options, if size <= 1024 { size / 39 % 2 } else { size }),
        }
    }
}

unsafe fn set_fraction(options: *mut OptionsHandle, option: u8, value: f64) -> u32 {
    // SAFETY: passed on.
    unsafe {
        match option % 6 {
            0 => armor_options_set_time_budget(options, value),
            1 => armor_options_set_tolerance(options, value),
            2 => armor_options_set_temperature(options, value),
            3 => armor_options_set_max_extrapolation(options, value),
            4 => armor_options_set_shrinkage(options, value),
            _ => armor_options_set_learning_rate(options, value),
        }
    }
}
