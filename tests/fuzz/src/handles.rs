//! Handles that calls take: made by earlier calls, at hand from the start, or none that they can take.

use std::ptr;
use std::sync::OnceLock;

use arbitrary::Arbitrary;
use armor_core::ffi::*;

/// Which handle a call gets.
#[derive(Arbitrary, Clone, Copy, Debug)]
pub enum Which {
    Null,
    Misaligned,
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
        let mut accumulator = ptr::null_mut();
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
            Fixtures { options, factorization, accumulator, bytes }
        }
    })
}

/// What the calls of one run made; freed when it ends.
#[derive(Default)]
pub struct Handles {
    pub options: Vec<*mut OptionsHandle>,
    pub factorizations: Vec<*mut FactorizationHandle>,
    pub accumulators: Vec<*mut AccumulatorHandle>,
}

impl Handles {
    pub fn options(&self, which: Which) -> *mut OptionsHandle {
        match which {
            Which::Null => ptr::null_mut(),
            Which::Misaligned => fixtures().options.wrapping_byte_add(1),
            Which::Wrong => fixtures().factorization.cast(),
            Which::Made(index) if !self.options.is_empty() => self.options[usize::from(index) % self.options.len()],
            Which::Fixture | Which::Made(_) => fixtures().options,
        }
    }

    pub fn factorization(&self, which: Which) -> *mut FactorizationHandle {
        match which {
            Which::Null => ptr::null_mut(),
            Which::Misaligned => fixtures().factorization.wrapping_byte_add(2),
            Which::Wrong => fixtures().options.cast(),
            Which::Made(index) if !self.factorizations.is_empty() => {
                self.factorizations[usize::from(index) % self.factorizations.len()]
            }
            Which::Fixture | Which::Made(_) => fixtures().factorization,
        }
    }

    pub fn accumulator(&self, which: Which) -> *mut AccumulatorHandle {
        match which {
            Which::Null => ptr::null_mut(),
            Which::Misaligned => fixtures().accumulator.wrapping_byte_add(4),
            Which::Wrong => fixtures().options.cast(),
            Which::Made(index) if !self.accumulators.is_empty() => {
                self.accumulators[usize::from(index) % self.accumulators.len()]
            }
            Which::Fixture | Which::Made(_) => fixtures().accumulator,
        }
    }

    /// Options to be freed: never the fixture, and one that was made only once.
    pub fn take_options(&mut self, which: Which) -> *mut OptionsHandle {
        match which {
            Which::Fixture | Which::Made(_) => self.options.pop().unwrap_or(ptr::null_mut()),
            other => self.options(other),
        }
    }

    /// An accumulator to be freed, likewise.
    pub fn take_accumulator(&mut self, which: Which) -> *mut AccumulatorHandle {
        match which {
            Which::Fixture | Which::Made(_) => self.accumulators.pop().unwrap_or(ptr::null_mut()),
            other => self.accumulator(other),
        }
    }

    /// A factorisation to be freed, likewise.
    pub fn take_factorization(&mut self, which: Which) -> *mut FactorizationHandle {
        match which {
            Which::Fixture | Which::Made(_) => self.factorizations.pop().unwrap_or(ptr::null_mut()),
            other => self.factorization(other),
        }
    }
}

impl Drop for Handles {
    fn drop(&mut self) {
        for accumulator in self.accumulators.drain(..) {
            // SAFETY: made by a call, and freed once.
            assert_eq!(unsafe { armor_accumulator_free(accumulator) }, ARMOR_OK);
        }
        for options in self.options.drain(..) {
            // SAFETY: made by a call, and freed once.
            assert_eq!(unsafe { armor_options_free(options) }, ARMOR_OK);
        }
        for factorization in self.factorizations.drain(..) {
            // SAFETY: as above.
            assert_eq!(unsafe { armor_factorization_free(factorization) }, ARMOR_OK);
        }
    }
}
