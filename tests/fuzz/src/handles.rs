//! Handles that calls take: made by earlier calls, at hand from the start, or none that they can take.

use std::ffi::c_char;
use std::ptr;
use std::sync::OnceLock;

use arbitrary::Arbitrary;
use armor_core::ffi::*;

use crate::folder::folder;

/// Which handle a call gets: mostly one that it can take.
#[derive(Arbitrary, Clone, Copy, Debug)]
pub struct Which {
    kind: u8,
    index: u8,
}

/// What a [`Which`] means.
enum Choice {
    Null,
    Misaligned(usize),
    /// One of another type.
    Wrong,
    /// The one that is there from the start.
    Fixture,
    /// One that a call made, if any.
    Made(usize),
}

impl Which {
    fn choice(self) -> Choice {
        let index = usize::from(self.index);
        match self.kind {
            0..8 => Choice::Null,
            8..16 => Choice::Misaligned(index % 7 + 1),
            16..24 => Choice::Wrong,
            24..96 => Choice::Fixture,
            _ => Choice::Made(index),
        }
    }
}

/// What never changes and is there from the start, made once.
pub struct Fixtures {
    pub factorization: *mut FactorizationHandle,
    pub packed: *mut PackedHandle,
    /// A job that is finished.
    pub job: *mut JobHandle,
    /// The factorisation as a safetensors file.
    pub factors: Vec<u8>,
    /// An accumulator as one.
    pub sums: Vec<u8>,
    /// An accumulator of pairs as one.
    pub pair_sums: Vec<u8>,
}

// SAFETY: the ABI lets any thread use its handles.
unsafe impl Sync for Fixtures {}
// SAFETY: as above.
unsafe impl Send for Fixtures {}

pub fn fixtures() -> &'static Fixtures {
    static FIXTURES: OnceLock<Fixtures> = OnceLock::new();
    FIXTURES.get_or_init(|| {
        let weight = weight();
        let kind = ARMOR_HESSIAN_IDENTITY;
        let hessian = HessianView { data: ptr::null(), len: INPUTS, row_stride: 0, kind, dtype: 0 };
        let (options, accumulator, pair_accumulator) = (options(), accumulator(), pair_accumulator());
        let (mut factorization, mut packed) = (ptr::null_mut(), ptr::null_mut());
        // SAFETY: all memory is this function's.
        unsafe {
            let run = armor_factorize(&weight, &hessian, options, None, ptr::null_mut(), &mut factorization);
            assert_eq!(run, ARMOR_OK);
            let factors = file(factorization, armor_factorization_serialize);
            let sums = file(accumulator, armor_accumulator_serialize);
            let pair_sums = file(pair_accumulator, armor_pair_accumulator_serialize);
            let (float, half) = (ARMOR_DTYPE_F32, ARMOR_DTYPE_F16);
            assert_eq!(armor_packed_create(factorization, float, half, half, 0, &mut packed), ARMOR_OK);
            assert_eq!((armor_options_free(options), armor_accumulator_free(accumulator)), (ARMOR_OK, ARMOR_OK));
            assert_eq!(armor_pair_accumulator_free(pair_accumulator), ARMOR_OK);
            Fixtures { factorization, packed, job: crate::job::finished(), factors, sums, pair_sums }
        }
    })
}

/// A call that serialises a handle.
type Serialize<T> = unsafe extern "C" fn(*const T, *const c_char, *mut u8, usize, *mut usize) -> u32;

/// A handle as a safetensors file.
///
/// # Safety
/// The handle is alive.
unsafe fn file<T>(handle: *const T, serialize: Serialize<T>) -> Vec<u8> {
    let (name, mut len) = (c"layer".as_ptr(), 0);
    // SAFETY: the other memory is this function's.
    unsafe {
        assert_eq!(serialize(handle, name, ptr::null_mut(), 0, &mut len), ARMOR_BUFFER_TOO_SMALL);
        let mut bytes = vec![0; len];
        assert_eq!(serialize(handle, name, bytes.as_mut_ptr(), len, &mut len), ARMOR_OK);
        bytes
    }
}

/// Inputs of what is there from the start.
pub const INPUTS: usize = 8;

fn weight() -> MatrixView {
    static WEIGHT: [f32; 5 * INPUTS] = {
        let mut weight = [0.0; 5 * INPUTS];
        let mut i = 0;
        while i < weight.len() {
            weight[i] = ((7 * i) % 11) as f32 - 5.0;
            i += 1;
        }
        weight
    };
    let data = WEIGHT.as_ptr().cast();
    MatrixView { data, rows: 5, cols: INPUTS, row_stride: INPUTS, dtype: ARMOR_DTYPE_F32 }
}

/// Options of a short run.
fn options() -> *mut OptionsHandle {
    let mut options = ptr::null_mut();
    // SAFETY: all memory is this function's.
    unsafe {
        assert_eq!(armor_options_create(ARMOR_PRESET_EXACT, &mut options), ARMOR_OK);
        assert_eq!(armor_options_set_iterations(options, 2), ARMOR_OK);
        assert_eq!(armor_options_set_left_block(options, 3), ARMOR_OK);
        assert_eq!(armor_options_set_right_block(options, 4), ARMOR_OK);
    }
    options
}

/// An accumulator with some tokens.
fn accumulator() -> *mut AccumulatorHandle {
    let mut accumulator = ptr::null_mut();
    // SAFETY: all memory is this function's, or lives as long as the process.
    unsafe {
        assert_eq!(armor_accumulator_create(INPUTS, ARMOR_HESSIAN_FULL, &mut accumulator), ARMOR_OK);
        assert_eq!(armor_accumulator_add(accumulator, &weight()), ARMOR_OK);
    }
    accumulator
}

/// An accumulator of pairs with some tokens.
fn pair_accumulator() -> *mut PairAccumulatorHandle {
    let mut accumulator = ptr::null_mut();
    let dense = weight();
    // The rows of the other model are those one number further on.
    let rows = dense.rows - 1;
    let compressed = MatrixView { data: dense.data.wrapping_byte_add(size_of::<f32>()), rows, ..dense };
    // SAFETY: all memory is this function's, or lives as long as the process.
    unsafe {
        assert_eq!(armor_pair_accumulator_create(INPUTS, &mut accumulator), ARMOR_OK);
        let dense = MatrixView { rows, ..dense };
        assert_eq!(armor_pair_accumulator_add(accumulator, &dense, &compressed), ARMOR_OK);
    }
    accumulator
}

/// What the calls of one run take and made; freed when it ends.
pub struct Handles {
    /// At hand from the start, and of this run alone, for calls change them.
    own_options: *mut OptionsHandle,
    own_accumulator: *mut AccumulatorHandle,
    own_pair_accumulator: *mut PairAccumulatorHandle,
    pub options: Vec<*mut OptionsHandle>,
    pub factorizations: Vec<*mut FactorizationHandle>,
    pub accumulators: Vec<*mut AccumulatorHandle>,
    pub pair_accumulators: Vec<*mut PairAccumulatorHandle>,
    pub packed: Vec<*mut PackedHandle>,
    pub jobs: Vec<*mut JobHandle>,
    /// How many jobs were asked for, whose files go with them.
    pub asked: usize,
}

/// A handle that a call reads, of the fixture, of another type, and of those that calls made.
fn pick<T, Other>(which: Which, fixture: *mut T, wrong: *mut Other, made: &[*mut T]) -> *mut T {
    match which.choice() {
        Choice::Null => ptr::null_mut(),
        Choice::Misaligned(off) => fixture.wrapping_byte_add(off),
        Choice::Wrong => wrong.cast(),
        Choice::Made(index) if !made.is_empty() => made[index % made.len()],
        Choice::Fixture | Choice::Made(_) => fixture,
    }
}

/// A handle to be freed: never the fixture, and one that was made only once.
fn take<T, Other>(which: Which, fixture: *mut T, wrong: *mut Other, made: &mut Vec<*mut T>) -> *mut T {
    match which.choice() {
        Choice::Fixture | Choice::Made(_) => made.pop().unwrap_or(ptr::null_mut()),
        _ => pick(which, fixture, wrong, made),
    }
}

/// Frees what is left of one type.
fn free<T>(made: &mut Vec<*mut T>, free: unsafe extern "C" fn(*mut T) -> u32) {
    for handle in made.drain(..) {
        // SAFETY: made by a call, and freed once.
        assert_eq!(unsafe { free(handle) }, ARMOR_OK);
    }
}

impl Handles {
    pub fn new() -> Self {
        Handles {
            own_options: options(),
            own_accumulator: accumulator(),
            own_pair_accumulator: pair_accumulator(),
            options: Vec::new(),
            factorizations: Vec::new(),
            accumulators: Vec::new(),
            pair_accumulators: Vec::new(),
            packed: Vec::new(),
            jobs: Vec::new(),
            asked: 0,
        }
    }

    pub fn options(&self, which: Which) -> *mut OptionsHandle {
        pick(which, self.own_options, fixtures().factorization, &self.options)
    }

    pub fn take_options(&mut self, which: Which) -> *mut OptionsHandle {
        take(which, self.own_options, fixtures().factorization, &mut self.options)
    }

    pub fn factorization(&self, which: Which) -> *mut FactorizationHandle {
        pick(which, fixtures().factorization, self.own_options, &self.factorizations)
    }

    pub fn take_factorization(&mut self, which: Which) -> *mut FactorizationHandle {
        take(which, fixtures().factorization, self.own_options, &mut self.factorizations)
    }

    pub fn accumulator(&self, which: Which) -> *mut AccumulatorHandle {
        pick(which, self.own_accumulator, self.own_options, &self.accumulators)
    }

    pub fn take_accumulator(&mut self, which: Which) -> *mut AccumulatorHandle {
        take(which, self.own_accumulator, self.own_options, &mut self.accumulators)
    }

    pub fn pair_accumulator(&self, which: Which) -> *mut PairAccumulatorHandle {
        pick(which, self.own_pair_accumulator, self.own_accumulator, &self.pair_accumulators)
    }

    pub fn take_pair_accumulator(&mut self, which: Which) -> *mut PairAccumulatorHandle {
        take(which, self.own_pair_accumulator, self.own_accumulator, &mut self.pair_accumulators)
    }

    pub fn packed(&self, which: Which) -> *mut PackedHandle {
        pick(which, fixtures().packed, fixtures().factorization, &self.packed)
    }

    pub fn take_packed(&mut self, which: Which) -> *mut PackedHandle {
        take(which, fixtures().packed, fixtures().factorization, &mut self.packed)
    }

    pub fn job(&self, which: Which) -> *mut JobHandle {
        pick(which, fixtures().job, fixtures().packed, &self.jobs)
    }

    pub fn take_job(&mut self, which: Which) -> *mut JobHandle {
        take(which, fixtures().job, fixtures().packed, &mut self.jobs)
    }
}

impl Drop for Handles {
    fn drop(&mut self) {
        self.options.push(self.own_options);
        self.accumulators.push(self.own_accumulator);
        self.pair_accumulators.push(self.own_pair_accumulator);
        free(&mut self.options, armor_options_free);
        free(&mut self.factorizations, armor_factorization_free);
        free(&mut self.accumulators, armor_accumulator_free);
        free(&mut self.pair_accumulators, armor_pair_accumulator_free);
        free(&mut self.packed, armor_packed_free);
        free(&mut self.jobs, armor_job_free);
        if self.asked > 0 {
            std::fs::remove_dir_all(folder().run()).expect("can be removed");
        }
    }
}
