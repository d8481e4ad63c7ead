//! Calls on options.

use arbitrary::Arbitrary;
use armor_core::ffi::*;

use crate::handles::{Handles, Which};
use crate::memory::{Memory, Place};

#[derive(Arbitrary, Debug)]
pub enum OptionsCall {
    Create { preset: u8, out: Place },
    Free(Which),
    SetNumber { options: Which, option: u8, value: u64, small: bool },
    SetFraction { options: Which, option: u8, value: f64 },
    SetPattern { options: Which, n: u8, m: u8 },
}

impl OptionsCall {
    pub unsafe fn make(self, memory: &mut Memory, handles: &mut Handles) -> u32 {
        // SAFETY: passed on.
        unsafe {
            match self {
                OptionsCall::Create { preset, out } => {
                    let out = memory.pointer(out, 1);
                    let status = armor_options_create((preset % 4).into(), out);
                    if status == ARMOR_OK {
                        // A preset's own many iterations would take the fuzzer's time.
                        assert_eq!(armor_options_set_iterations(out.read(), 2), ARMOR_OK);
                        handles.options.push(out.read());
                    }
                    status
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
