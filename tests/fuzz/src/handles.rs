//! Handles that calls take: made by earlier calls, at hand from the start, or none that they can take.

use std::ptr;
use std::sync::OnceLock;

use arbitrary::Arbitrary;
use armor_core::ffi::*;

use crate::folder::folder;

/// Which handle a call gets.
#[derive(Arbitrary, Clone, Copy, Debug)]
pub enum Which {
    Null,
    Misaligned(u8),
    /// One of another type.
    Wrong,
    /// The one that is there from the start.
    Fixture,
    /// One that a call made, if any.
    Made(u8),
}

/// What is there from the start, made once.
pub struct Fixtures {
    pub options: *mut OptionsHandle,
    pub factorization: *mut FactorizationHandle,
    pub accumulator: *mut AccumulatorHandle,
    pub packed: *mut PackedHandle,
    /// A job that is finished.
    pub job: *mut JobHandle,
    /// The factorisation as a safetensors file.
    pub bytes: Vec<u8>,
}

// SAFETY: the ABI lets any thread use its handles.
unsafe impl Sync for Fixtures {}
// SAFETY: as above.
unsafe impl Send for Fixtures {}

pub fn fixtures() -> &'static Fixtures {
    static FIXTURES: OnceLock<Fixtures> = OnceLock::new();
    FIXTURES.get_or_init(|| {
        let weight: [f32; 40] = std::array::from_fn(|i| ((7 * i) % 11) as f32 - 5.0);
        let data = weight.as_ptr().cast();
        let weight = MatrixView { data, rows: 5, cols: 8, row_stride: 8, dtype: ARMOR_DTYPE_F32 };
        let kind = ARMOR_HESSIAN_IDENTITY;
        let hessian = HessianView { data: ptr::null(), len: 8, row_stride: 0, kind, dtype: 0 };
        let (mut options, mut factorization, mut len) = (ptr::null_mut(), ptr::null_mut(), 0);
        let (mut accumulator, mut packed) = (ptr::null_mut(), ptr::null_mut());
        // SAFETY: all memory is this function's.
        unsafe {
            assert_eq!(armor_options_create(ARMOR_PRESET_EXACT, &mut options), ARMOR_OK);
            assert_eq!(armor_options_set_iterations(options, 2), ARMOR_OK);
            assert_eq!(armor_options_set_left_block(options, 3), ARMOR_OK);
            assert_eq!(armor_options_set_right_block(options, 4), ARMOR_OK);
            let run = armor_factorize(&weight, &hessian, options, None, ptr::null_mut(), &mut factorization);
            assert_eq!(run, ARMOR_OK);
            armor_factorization_serialize(factorization, c"layer".as_ptr(), ptr::null_mut(), 0, &mut len);
            let mut bytes = vec![0; len];
            let room = bytes.as_mut_ptr();
            assert_eq!(armor_factorization_serialize(factorization, c"layer".as_ptr(), room, len, &mut len), ARMOR_OK);
            assert_eq!(armor_accumulator_create(8, ARMOR_HESSIAN_FULL, &mut accumulator), ARMOR_OK);
            assert_eq!(armor_accumulator_add(accumulator, &weight), ARMOR_OK);
            assert_eq!(armor_packed_create(factorization, ARMOR_DTYPE_F16, 0, &mut packed), ARMOR_OK);
            Fixtures { options, factorization, accumulator, packed, job: crate::job::finished(), bytes }
        }
    })
}

/// What the calls of one run made; freed when it ends.
#[derive(Default)]
pub struct Handles {
    pub options: Vec<*mut OptionsHandle>,
    pub factorizations: Vec<*mut FactorizationHandle>,
    pub accumulators: Vec<*mut AccumulatorHandle>,
    pub packed: Vec<*mut PackedHandle>,
    pub jobs: Vec<*mut JobHandle>,
    /// How many jobs were asked for, whose files go with them.
    pub asked: usize,
}

/// A handle that a call reads, of the fixture, of another type, and of those that calls made.
fn pick<T, Other>(which: Which, fixture: *mut T, wrong: *mut Other, made: &[*mut T]) -> *mut T {
    match which {
        Which::Null => ptr::null_mut(),
        Which::Misaligned(off) => fixture.wrapping_byte_add(usize::from(off % 7) + 1),
        Which::Wrong => wrong.cast(),
        Which::Made(index) if !made.is_empty() => made[usize::from(index) % made.len()],
        Which::Fixture | Which::Made(_) => fixture,
    }
}

/// A handle to be freed: never the fixture, and one that was made only once.
fn take<T, Other>(which: Which, fixture: *mut T, wrong: *mut Other, made: &mut Vec<*mut T>) -> *mut T {
    match which {
        Which::Fixture | Which::Made(_) => made.pop().unwrap_or(ptr::null_mut()),
        other => pick(other, fixture, wrong, made),
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
    pub fn options(&self, which: Which) -> *mut OptionsHandle {
        pick(which, fixtures().options, fixtures().factorization, &self.options)
    }

    pub fn take_options(&mut self, which: Which) -> *mut OptionsHandle {
        take(which, fixtures().options, fixtures().factorization, &mut self.options)
    }

    pub fn factorization(&self, which: Which) -> *mut FactorizationHandle {
        pick(which, fixtures().factorization, fixtures().options, &self.factorizations)
    }

    pub fn take_factorization(&mut self, which: Which) -> *mut FactorizationHandle {
        take(which, fixtures().factorization, fixtures().options, &mut self.factorizations)
    }

    pub fn accumulator(&self, which: Which) -> *mut AccumulatorHandle {
        pick(which, fixtures().accumulator, fixtures().options, &self.accumulators)
    }

    pub fn take_accumulator(&mut self, which: Which) -> *mut AccumulatorHandle {
        take(which, fixtures().accumulator, fixtures().options, &mut self.accumulators)
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
        free(&mut self.options, armor_options_free);
        free(&mut self.factorizations, armor_factorization_free);
        free(&mut self.accumulators, armor_accumulator_free);
        free(&mut self.packed, armor_packed_free);
        free(&mut self.jobs, armor_job_free);
        if self.asked > 0 {
            std::fs::remove_dir_all(folder().run()).expect("can be removed");
        }
    }
}
