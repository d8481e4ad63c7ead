//! Instruction sets for the sweep: one SIMD lane for each of the blocks that are swept side by side.

use pulp::{Scalar256b, Simd};

/// An instruction set that the sweep's inner kernel is compiled for.
///
/// The best one that the CPU has is chosen at run time; the others are there to be compared with it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum InstructionSet {
    /// AVX-512 with F, BW, CD, DQ and VL: 16 lanes.
    Avx512,
    /// AVX2 with FMA: 8 lanes.
    Avx2,
    /// Whatever the compilation target has for certain: 8 lanes, no fused multiply-add.
    Portable,
}

impl InstructionSet {
    /// From the best one to the one that every CPU has.
    const ALL: [Self; 3] = [InstructionSet::Avx512, InstructionSet::Avx2, InstructionSet::Portable];

    /// All that this CPU can run, the best one first.
    pub fn available() -> Vec<Self> {
        Self::ALL.into_iter().filter(|set| set.runs_here()).collect()
    }

    /// The best that this CPU can run.
    pub(crate) fn best() -> Self {
        Self::ALL.into_iter().find(|set| set.runs_here()).expect("the portable one runs everywhere")
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

    /// The same, or the best that this CPU has instead.
    pub(crate) fn or_best(self) -> Self {
        self.of(&Self::available())
    }

    /// The same where it is `available`, or else the best of those.
    fn of(self, available: &[Self]) -> Self {
        if available.contains(&self) { self } else { available[0] }
    }

    /// Most blocks that run side by side.
    pub(crate) fn lanes(self) -> usize {
        match self {
            InstructionSet::Avx512 => 16,
            InstructionSet::Avx2 | InstructionSet::Portable => 8,
        }
    }

    /// Runs `kernel` for `lanes` blocks, at most [`InstructionSet::lanes`], on a set that the CPU has.
    ///
    /// Half a 512-bit register is as good as a whole 256-bit one, and cheaper where the CPU splits the former in two.
    pub(crate) fn dispatch<K: Kernel>(self, lanes: usize, kernel: K) -> K::Output {
        #[cfg(target_arch = "x86_64")]
        {
            use pulp::x86::{V3, V4};
            if self == InstructionSet::Avx512
                && lanes > 8
                && let Some(simd) = V4::try_new()
            {
                return simd.vectorize(OnLanes(simd, kernel));
            }
            if self != InstructionSet::Portable
                && let Some(simd) = V3::try_new()
            {
                return simd.vectorize(OnLanes(simd, kernel));
            }
        }
        assert!(lanes <= 8, "{lanes} blocks do not fit the portable lanes");
        kernel.run(Scalar256b)
    }
}

/// Code that is compiled once for each instruction set.
pub(crate) trait Kernel {
    type Output;
    fn run<S: Lanes>(self, simd: S) -> Self::Output;
}

/// Binds a kernel to an instruction set, so that all of it is compiled with that set enabled.
#[cfg(target_arch = "x86_64")]
struct OnLanes<S, K>(S, K);

#[cfg(target_arch = "x86_64")]
impl<S: Lanes, K: Kernel> pulp::NullaryFnOnce for OnLanes<S, K> {
    type Output = K::Output;

    #[inline(always)]
    fn call(self) -> K::Output {
        self.1.run(self.0)
    }
}

/// What a kernel needs beyond plain vector arithmetic.
pub(crate) trait Lanes: Simd {
    /// a · b + c in the fewest instructions.
    #[inline(always)]
    fn fused(self, a: Self::f32s, b: Self::f32s, c: Self::f32s) -> Self::f32s {
        self.mul_add_e_f32s(a, b, c)
    }

    /// Transposes a square tile of `F32_LANES` vectors in place.
    fn transpose(self, tile: &mut [Self::f32s]);
}

impl Lanes for Scalar256b {
    #[inline(always)]
    fn fused(self, a: Self::f32s, b: Self::f32s, c: Self::f32s) -> Self::f32s {
        self.add_f32s(self.mul_f32s(a, b), c)
    }

    #[inline(always)]
    fn transpose(self, tile: &mut [Self::f32s]) {
        let entries: &mut [f32] = bytemuck::cast_slice_mut(tile);
        for i in 0..8 {
            for j in 0..i {
                entries.swap(8 * i + j, 8 * j + i);
            }
        }
    }
}

#[cfg(target_arch = "x86_64")]
impl Lanes for pulp::x86::V3 {
    #[inline(always)]
    fn transpose(self, tile: &mut [Self::f32s]) {
        let avx = self.avx;
        let r: [_; 8] = std::array::from_fn(|i| bytemuck::cast(tile[i]));
        // Pairs of columns within each half, then quadruples, then the halves themselves.
        let mut pairs = r;
        let mut quads = r;
        for i in 0..4 {
            pairs[2 * i] = avx._mm256_unpacklo_ps(r[2 * i], r[2 * i + 1]);
            pairs[2 * i + 1] = avx._mm256_unpackhi_ps(r[2 * i], r[2 * i + 1]);
        }
        for i in [0, 4] {
            for j in 0..2 {
                quads[i + 2 * j] = avx._mm256_shuffle_ps::<0x44>(pairs[i + j], pairs[i + j + 2]);
                quads[i + 2 * j + 1] = avx._mm256_shuffle_ps::<0xee>(pairs[i + j], pairs[i + j + 2]);
            }
        }
        for i in 0..4 {
            tile[i] = bytemuck::cast(avx._mm256_permute2f128_ps::<0x20>(quads[i], quads[i + 4]));
            tile[i + 4] = bytemuck::cast(avx._mm256_permute2f128_ps::<0x31>(quads[i], quads[i + 4]));
        }
    }
}

#[cfg(target_arch = "x86_64")]
impl Lanes for pulp::x86::V4 {
    #[inline(always)]
    fn transpose(self, tile: &mut [Self::f32s]) {
        let avx = self.avx512f;
        let r: [_; 16] = std::array::from_fn(|i| bytemuck::cast(tile[i]));
        // Within each quarter: pairs of columns, then quadruples. Then quarters change places, twice.
        let (mut pairs, mut quads, mut eights) = (r, r, r);
        for i in 0..8 {
            pairs[2 * i] = avx._mm512_unpacklo_ps(r[2 * i], r[2 * i + 1]);
            pairs[2 * i + 1] = avx._mm512_unpackhi_ps(r[2 * i], r[2 * i + 1]);
        }
        for i in [0, 4, 8, 12] {
            for j in 0..2 {
                quads[i + 2 * j] = avx._mm512_shuffle_ps::<0x44>(pairs[i + j], pairs[i + j + 2]);
                quads[i + 2 * j + 1] = avx._mm512_shuffle_ps::<0xee>(pairs[i + j], pairs[i + j + 2]);
            }
        }
        for i in 0..4 {
            for (half, j) in [(0, i), (8, i + 8)] {
                eights[half + i] = avx._mm512_shuffle_f32x4::<0x88>(quads[j], quads[j + 4]);
                eights[half + 4 + i] = avx._mm512_shuffle_f32x4::<0xdd>(quads[j], quads[j + 4]);
            }
        }
        for i in 0..4 {
            tile[i] = bytemuck::cast(avx._mm512_shuffle_f32x4::<0x88>(eights[i], eights[8 + i]));
            tile[8 + i] = bytemuck::cast(avx._mm512_shuffle_f32x4::<0xdd>(eights[i], eights[8 + i]));
            tile[4 + i] = bytemuck::cast(avx._mm512_shuffle_f32x4::<0x88>(eights[4 + i], eights[12 + i]));
            tile[12 + i] = bytemuck::cast(avx._mm512_shuffle_f32x4::<0xdd>(eights[4 + i], eights[12 + i]));
        }
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
