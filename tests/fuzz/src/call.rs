//! One call of the ABI, and what must hold after it.

use std::ffi::{CStr, c_int, c_void};
use std::ptr;

use arbitrary::Arbitrary;
use armor_core::ffi::*;

use crate::accumulator::AccumulatorCall;
use crate::damage::Damage;
use crate::handles::{Handles, INPUTS, Which, fixtures};
use crate::job::JobCall;
use crate::memory::{Count, Memory, Place};
use crate::options::OptionsCall;
use crate::packed::PackedCall;
use crate::pair_accumulator::PairAccumulatorCall;
use crate::view::{Hessian, Weight};

#[derive(Arbitrary, Debug)]
pub enum Call {
    /// The calls that cannot fail.
    Texts(u32),
    Options(OptionsCall),
    Factorize {
        weight: Weight,
        hessian: Hessian,
        options: Which,
        cancel_at: u8,
        out: Place,
    },
    FreeFactorization(Which),
    Sizes {
        factorization: Which,
        out: Place,
    },
    Report {
        factorization: Which,
        out: Place,
    },
    Copy {
        factorization: Which,
        part: u8,
        buffer: Place,
        capacity: Count,
        needed: Place,
    },
    Apply {
        factorization: Which,
        x: (Place, Count),
        y: (Place, Count),
        needed: Place,
    },
    OutputError {
        factorization: Which,
        weight: Weight,
        hessian: Hessian,
        out: Place,
    },
    Serialize {
        factorization: Which,
        name: Name,
        buffer: Place,
        capacity: Count,
        needed: Place,
    },
    Deserialize {
        bytes: Place,
        len: Count,
        name: Name,
        out: Place,
    },
    Accumulator(AccumulatorCall),
    PairAccumulator(PairAccumulatorCall),
    Packed(PackedCall),
    Job(JobCall),
    /// Bytes that are a factorisation but for some damage.
    DeserializeDamaged {
        damage: Damage,
        name: Name,
        out: Place,
    },
}

#[derive(Arbitrary, Clone, Copy, Debug)]
pub enum Name {
    Layer,
    In(Place),
}

impl Name {
    pub fn pointer(self, memory: &mut Memory) -> *const std::ffi::c_char {
        match self {
            Name::Layer => c"layer".as_ptr(),
            Name::In(place) => memory.text(place),
        }
    }
}

/// Cancels a run when its counter comes to zero.
pub unsafe extern "C" fn count_down(progress: *const RunProgress, user: *mut c_void) -> c_int {
    // SAFETY: `user` is the counter of the run that calls this.
    let (progress, left) = unsafe { (*progress, &mut *user.cast::<u8>()) };
    assert!(progress.iteration >= 1 && progress.iteration <= progress.iterations);
    *left -= 1;
    c_int::from(*left == 0)
}

impl Call {
    pub fn run(self, memory: &mut Memory, handles: &mut Handles) {
        let before = memory.words().to_vec();
        // SAFETY: `Memory` gives no pointer to what is not there, unless the ABI has to refuse it.
        let status = unsafe { self.make(memory, handles) };
        if status != ARMOR_OK {
            assert_ne!(status, ARMOR_PANIC, "{}", text(armor_last_error_message()));
            assert_ne!(text(armor_status_message(status)), "unknown status", "{status}");
            assert!(!text(armor_last_error_message()).is_empty());
            if status != ARMOR_BUFFER_TOO_SMALL {
                assert!(memory.words() == before, "a call that fails writes nothing");
            }
        }
    }

    unsafe fn make(self, memory: &mut Memory, handles: &mut Handles) -> u32 {
        // SAFETY: passed on.
        unsafe {
            match self {
                Call::Texts(number) => {
                    assert_eq!(armor_abi_version(), ARMOR_ABI_VERSION);
                    assert_ne!(armor_features() & ARMOR_FEATURE_CHECKPOINT, 0);
                    assert!(!text(armor_version()).is_empty());
                    assert!(!text(armor_status_message(number)).is_empty());
                    assert!(!text(armor_stop_reason_name(number)).is_empty());
                    ARMOR_OK
                }
                Call::Options(call) => call.make(memory, handles),
                Call::Factorize { weight, hessian, options, cancel_at, out } => {
                    let options = handles.options(options);
                    let weight = weight.view(memory, None, Some(INPUTS));
                    let hessian = hessian.view(memory, weight.as_ref().map_or(0, |weight| weight.cols));
                    let weight = weight.as_ref().map_or(ptr::null(), |view| &raw const *view);
                    let hessian = hessian.as_ref().map_or(ptr::null(), |view| &raw const *view);
                    let mut left = cancel_at % 3 + 1;
                    // The preset that no options mean has many iterations.
                    let watched = options.is_null() || cancel_at.is_multiple_of(2);
                    let progress: ProgressFn = if watched { Some(count_down) } else { None };
                    let out = memory.pointer(out, 1);
                    let status = armor_factorize(weight, hessian, options, progress, (&raw mut left).cast(), out);
                    keep(status, out, handles)
                }
                Call::FreeFactorization(which) => armor_factorization_free(handles.take_factorization(which)),
                Call::Sizes { factorization, out } => {
                    armor_factorization_get_sizes(handles.factorization(factorization), memory.pointer(out, 1))
                }
                Call::Report { factorization, out } => {
                    armor_factorization_get_report(handles.factorization(factorization), memory.pointer(out, 1))
                }
                Call::Copy { factorization, part, buffer, capacity, needed } => {
                    let needed = memory.pointer(needed, 1);
                    copy(handles.factorization(factorization), part, memory, (buffer, capacity), needed)
                }
                Call::Apply { factorization, x, y, needed } => {
                    let factorization = handles.factorization(factorization);
                    let (rows, cols) = shape(factorization).unzip();
                    let lens = (Memory::count::<f32>(x.0, x.1, cols), Memory::count::<f32>(y.0, y.1, rows));
                    let (x, y) = (memory.pointer(x.0, lens.0), memory.pointer(y.0, lens.1));
                    let needed = memory.pointer(needed, 1);
                    armor_factorization_apply(factorization, x, lens.0, y, lens.1, needed)
                }
                Call::OutputError { factorization, weight, hessian, out } => {
                    let factorization = handles.factorization(factorization);
                    let (rows, cols) = shape(factorization).unzip();
                    let weight = weight.view(memory, rows, cols);
                    let hessian = hessian.view(memory, weight.as_ref().map_or(0, |weight| weight.cols));
                    let weight = weight.as_ref().map_or(ptr::null(), |view| &raw const *view);
                    let hessian = hessian.as_ref().map_or(ptr::null(), |view| &raw const *view);
                    let out = memory.pointer(out, 1);
                    armor_factorization_output_error(factorization, weight, hessian, out)
                }
                Call::Serialize { factorization, name, buffer, capacity, needed } => {
                    let (name, needed) = (name.pointer(memory), memory.pointer(needed, 1));
                    let len = Memory::count::<u8>(buffer, capacity, None);
                    let buffer = memory.pointer(buffer, len);
                    armor_factorization_serialize(handles.factorization(factorization), name, buffer, len, needed)
                }
                Call::Deserialize { bytes, len, name, out } => {
                    let len = Memory::count::<u8>(bytes, len, None);
                    let (bytes, name, out) =
                        (memory.pointer::<u8>(bytes, len), name.pointer(memory), memory.pointer(out, 1));
                    keep(armor_factorization_deserialize(bytes, len, name, out), out, handles)
                }
                Call::Accumulator(call) => call.make(memory, handles),
                Call::PairAccumulator(call) => call.make(memory, handles),
                Call::Packed(call) => call.make(memory, handles),
                Call::Job(call) => call.make(memory, handles),
                Call::DeserializeDamaged { damage, name, out } => {
                    let bytes = damage.applied_to(&fixtures().factors);
                    let (name, out) = (name.pointer(memory), memory.pointer(out, 1));
                    keep(armor_factorization_deserialize(bytes.as_ptr(), bytes.len(), name, out), out, handles)
                }
            }
        }
    }
}

/// Keeps the handle of a call that succeeded.
unsafe fn keep(status: u32, out: *mut *mut FactorizationHandle, handles: &mut Handles) -> u32 {
    if status == ARMOR_OK {
        // SAFETY: the call wrote it.
        handles.factorizations.push(unsafe { out.read() });
    }
    status
}

/// Rows and columns of a factorisation, where the handle is one.
unsafe fn shape(factorization: *const FactorizationHandle) -> Option<(usize, usize)> {
    // SAFETY: plain numbers.
    let mut sizes: FactorizationSizes = unsafe { std::mem::zeroed() };
    sizes.struct_size = size_of::<FactorizationSizes>();
    // SAFETY: passed on.
    (unsafe { armor_factorization_get_sizes(factorization, &mut sizes) } == ARMOR_OK)
        .then_some((sizes.rows, sizes.cols))
}

unsafe fn copy(
    factorization: *const FactorizationHandle,
    part: u8,
    memory: &mut Memory,
    (place, count): (Place, Count),
    needed: *mut usize,
) -> u32 {
    let floats = Memory::count::<f32>(place, count, None);
    let copies = [
        armor_factorization_copy_left,
        armor_factorization_copy_right,
        armor_factorization_copy_core_values,
        armor_factorization_copy_core_dense,
        armor_factorization_reconstruct,
    ];
    // SAFETY: passed on.
    unsafe {
        match usize::from(part % 7) {
            5 => {
                let bytes = Memory::count::<u8>(place, count, None);
                armor_factorization_copy_core_bitmask(factorization, memory.pointer(place, bytes), bytes, needed)
            }
            6 => {
                let doubles = Memory::count::<f64>(place, count, None);
                armor_factorization_copy_history(factorization, memory.pointer(place, doubles), doubles, needed)
            }
            part => copies[part](factorization, memory.pointer(place, floats), floats, needed),
        }
    }
}

fn text<'a>(pointer: *const std::ffi::c_char) -> &'a str {
    assert!(!pointer.is_null());
    // SAFETY: the library's texts end, and live longer than they are looked at here.
    unsafe { CStr::from_ptr(pointer) }.to_str().expect("texts are UTF-8")
}
