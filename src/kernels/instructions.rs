//! Instruction sets, and the one place that chooses among them at run time.

use pulp::Scalar256b;

use crate::kernels::lanes::Lanes;

/// An instruction set that the kernels of sweeps and of packed products are compiled for.
///
/// The library runs the best one that the CPU has; a caller may name another one to compare the two.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum InstructionSet {
    /// AVX-512 with F, BW, CD, DQ and VL: 16 lanes.
    Avx512,
    /// AVX2 with FMA: 8 lanes.
    Avx2,
    /// The instructions that the compilation target always has: 8 lanes, no fused multiply-add.
    Portable,
}

impl InstructionSet {
    /// All sets, from the best one to the one that every CPU has.
    const ALL: [Self; 3] = [InstructionSet::Avx512, InstructionSet::Avx2, InstructionSet::Portable];

    /// Lists the sets that this CPU can run, the best one first.
    pub fn available() -> Vec<Self> {
        Self::ALL.into_iter().filter(|set| set.runs_here()).collect()
    }

    /// Gives the best set that this CPU can run.
    pub(crate) fn best() -> Self {
        Self::ALL.into_iter().find(|set| set.runs_here()).expect("the portable set runs on every CPU")
    }

    fn runs_here(self) -> bool {
        match self {
            #[cfg(target_arch = "x86_64")]
            InstructionSet::Avx512 => pulp::x86::V4::try_new().is_some(),
            #[cfg(target_arch = "x86_64")]
            InstructionSet::Avx2 => pulp::x86::V3::try_new().is_some(),
            #[cfg(not(target_arch = "x86_64"))]
            InstructionSet::Avx512 | InstructionSet::Avx2 => false,
            InstructionSet::Portable => true,
        }
    }

    /// Gives this set, or the best one that the CPU has instead.
    pub(crate) fn or_best(self) -> Self {
        self.of(&Self::available())
    }

    /// Gives this set if it is among `available`, or else the first of those.
    fn of(self, available: &[Self]) -> Self {
        if available.contains(&self) { self } else { available[0] }
    }

    /// Gives the largest number of blocks that a sweep processes at the same time on this set.
    pub(crate) fn lanes(self) -> usize {
        match self {
            InstructionSet::Avx512 => 16,
            InstructionSet::Avx2 | InstructionSet::Portable => 8,
        }
    }

    /// Runs `kernel`, which works on `lanes` numbers side by side, compiled for this set, or for the best one that the
    /// CPU has instead.
    ///
    /// Up to eight lanes run on 256-bit registers even with AVX-512: half a 512-bit register holds as much as a whole
    /// 256-bit one, and the latter is cheaper on CPUs that split 512-bit operations in two. A kernel of more lanes than
    /// a register has must take several registers for them.
    #[inline(always)]
    #[cfg_attr(not(target_arch = "x86_64"), expect(unused_variables, reason = "there is one set only"))]
    pub(crate) fn dispatch<K: Kernel>(self, lanes: usize, kernel: K) -> K::Output {
        #[cfg(target_arch = "x86_64")]
        {
            use pulp::x86::{V3, V4};
            if self == InstructionSet::Avx512
                && lanes > 8
                && let Some(simd) = V4::try_new()
            {
                return simd.vectorize(BoundKernel(simd, kernel));
            }
            if self != InstructionSet::Portable
                && let Some(simd) = V3::try_new()
            {
                return simd.vectorize(BoundKernel(simd, kernel));
            }
        }
        kernel.run(Scalar256b)
    }
}

/// Code that is compiled once for each instruction set.
///
/// Every function that `run` calls must be `#[inline(always)]`: one that is not inlined is compiled without the set.
pub(crate) trait Kernel {
    /// What the kernel returns.
    type Output;

    /// Runs the kernel on the instruction set of `simd`.
    fn run<S: Lanes>(self, simd: S) -> Self::Output;
}

/// A kernel with the token of its instruction set, which enables that set for all of the kernel.
#[cfg(target_arch = "x86_64")]
struct BoundKernel<S, K>(S, K);

#[cfg(target_arch = "x86_64")]
impl<S: Lanes, K: Kernel> pulp::NullaryFnOnce for BoundKernel<S, K> {
    type Output = K::Output;

    #[inline(always)]
    fn call(self) -> K::Output {
        self.1.run(self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Transposes;

    impl Kernel for Transposes {
        type Output = ();

        fn run<S: Lanes>(self, simd: S) {
            let n = S::F32_LANES;
            let mut tile = vec![simd.splat_f32s(0.0); n];
            for (index, entry) in bytemuck::cast_slice_mut::<_, f32>(&mut tile).iter_mut().enumerate() {
                *entry = index as f32;
            }
            simd.transpose(&mut tile);
            for (index, entry) in bytemuck::cast_slice::<_, f32>(&tile).iter().enumerate() {
                assert_eq!(*entry, (index % n * n + index / n) as f32, "{simd:?}: entry {index}");
            }
        }
    }

    #[test]
    fn tiles_are_transposed_on_every_instruction_set() {
        for set in InstructionSet::available() {
            set.dispatch(set.lanes(), Transposes);
        }
    }

    struct RegisterWidth;

    impl Kernel for RegisterWidth {
        type Output = usize;

        fn run<S: Lanes>(self, _simd: S) -> usize {
            S::F32_LANES
        }
    }

    #[test]
    fn up_to_eight_lanes_run_on_256_bit_registers() {
        for set in InstructionSet::available() {
            for lanes in 1..=8 {
                assert_eq!(set.dispatch(lanes, RegisterWidth), 8, "{set:?}, {lanes} lanes");
            }
            assert_eq!(set.dispatch(16, RegisterWidth), set.lanes(), "{set:?}, 16 lanes");
        }
    }

    #[test]
    fn a_set_that_the_cpu_lacks_gives_way_to_the_best_that_it_has() {
        use InstructionSet::{Avx2, Avx512, Portable};
        for available in [&[Portable][..], &[Avx2, Portable], &[Avx512, Avx2, Portable]] {
            for set in [Avx512, Avx2, Portable] {
                let chosen = set.of(available);
                assert_eq!(chosen, if available.contains(&set) { set } else { available[0] });
                assert!(available.contains(&chosen));
            }
        }
        for set in [Avx512, Avx2, Portable] {
            let chosen = set.or_best();
            assert!(InstructionSet::available().contains(&chosen), "{set:?} became {chosen:?}");
            chosen.dispatch(chosen.lanes(), Transposes);
        }
    }
}
