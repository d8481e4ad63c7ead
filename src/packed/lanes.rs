//! Sixteen rows of a panel side by side, one SIMD lane each, on every instruction set.

#[cfg(all(target_arch = "x86_64", not(miri)))]
use std::sync::LazyLock;

use bytemuck::{Pod, Zeroable};
use half::f16;

use crate::InstructionSet;

/// Rows of a panel.
pub(super) const ROWS: usize = 16;

/// One cache line: what all packed matrices are made of, and 32 bits for each row of a panel.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Pod, Zeroable)]
#[repr(C, align(64))]
pub(super) struct Line(pub [u32; ROWS]);

/// Asks for the line that stands `bytes` after this one, where the processor has a way to.
#[inline(always)]
#[allow(unsafe_code, reason = "the intrinsic takes a pointer, which it never follows")]
pub(super) fn ask_ahead(line: &Line, bytes: usize) {
    #[cfg(target_arch = "x86_64")]
    {
        use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
        let ahead = (&raw const *line).wrapping_byte_add(bytes).cast();
        // SAFETY: a hint reads nothing and faults nowhere, whatever the address; every x86-64 has the instruction.
        unsafe { _mm_prefetch::<_MM_HINT_T0>(ahead) };
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = (line, bytes);
}

/// Whether the processor's own guess of what is read next stops at the end of a page of 4 KiB, as Intel's does.
pub(super) fn guesses_stop_at_pages() -> bool {
    #[cfg(all(target_arch = "x86_64", not(miri)))]
    {
        use std::arch::x86_64::__cpuid;
        static INTEL: LazyLock<bool> = LazyLock::new(|| {
            let vendor = __cpuid(0);
            [vendor.ebx, vendor.edx, vendor.ecx].map(u32::to_le_bytes).as_flattened() == b"GenuineIntel"
        });
        *INTEL
    }
    #[cfg(not(all(target_arch = "x86_64", not(miri))))]
    false
}

/// Code that is compiled once for each instruction set.
pub(super) trait Kernel {
    fn run<L: Lanes>(self, lanes: L);
}

/// Runs a kernel on an instruction set, or on the best one that the CPU has instead.
pub(super) fn dispatch<K: Kernel>(set: InstructionSet, kernel: K) {
    #[cfg(target_arch = "x86_64")]
    {
        use pulp::x86::{V3, V4};
        if set == InstructionSet::Avx512
            && let Some(simd) = V4::try_new()
        {
            return simd.vectorize(OnLanes(simd, kernel));
        }
        if set != InstructionSet::Portable
            && let Some(simd) = V3::try_new()
        {
            return simd.vectorize(OnLanes(simd, kernel));
        }
    }
    kernel.run(Portable);
}

/// Binds a kernel to an instruction set, so that all of it is compiled with that set enabled.
#[cfg(target_arch = "x86_64")]
struct OnLanes<L, K>(L, K);

#[cfg(target_arch = "x86_64")]
impl<L: Lanes, K: Kernel> pulp::NullaryFnOnce for OnLanes<L, K> {
    type Output = ();

    #[inline(always)]
    fn call(self) {
        self.1.run(self.0)
    }
}

/// Sixteen numbers side by side, and the few operations that the kernels need.
pub(super) trait Lanes: Copy {
    /// Sixteen f32 numbers.
    type Floats: Copy;
    /// Sixteen u32 numbers.
    type Words: Copy;

    /// Most panels × vectors that a kernel adds up in registers.
    const TILE: usize;

    /// The same for the first or the last eight of every sixteen.
    type Half: Lanes;

    /// Both halves, where registers hold twice as many vectors' sums for one of them.
    fn halves(self) -> Option<[Self::Half; 2]>;

    fn zero(self) -> Self::Floats;
    fn add(self, a: Self::Floats, b: Self::Floats) -> Self::Floats;
    /// a · b + c.
    fn fused(self, a: Self::Floats, b: Self::Floats, c: Self::Floats) -> Self::Floats;
    fn splat(self, x: f32) -> Self::Floats;
    /// Four numbers, four times.
    fn quads(self, quad: &[f32; 4]) -> Self::Floats;
    /// In every lane the number of its quad that the lowest two bits of `index` tell.
    fn select(self, quads: Self::Floats, index: Self::Words) -> Self::Floats;
    /// In every lane `table[word & 7]`.
    fn look_up(self, table: &Line, words: Self::Words) -> Self::Words;
    /// Drops the lowest three bits of every word.
    fn drop_three_bits(self, words: Self::Words) -> Self::Words;
    fn words(self, line: &Line) -> Self::Words;
    fn floats(self, line: &Line) -> Self::Floats;
    fn array(self, x: &[f32; ROWS]) -> Self::Floats;
    fn store(self, x: Self::Floats, out: &mut [f32; ROWS]);
    /// The lower and the upper bf16 number of every word.
    fn pair_of_bf16(self, line: &Line) -> [Self::Floats; 2];
    /// The first sixteen f16 numbers of a line, and the others; all finite.
    fn pair_of_f16(self, line: &Line) -> [Self::Floats; 2];
}

/// Plain arrays, which the compiler vectorises for whatever the target has.
#[derive(Clone, Copy)]
pub(super) struct Portable;

impl Lanes for Portable {
    type Floats = [f32; ROWS];
    type Words = [u32; ROWS];

    const TILE: usize = 1;

    type Half = Self;

    #[inline(always)]
    fn halves(self) -> Option<[Self; 2]> {
        None
    }

    #[inline(always)]
    fn zero(self) -> Self::Floats {
        [0.0; ROWS]
    }

    #[inline(always)]
    fn add(self, a: Self::Floats, b: Self::Floats) -> Self::Floats {
        let mut sum = a;
        for lane in 0..ROWS {
            sum[lane] += b[lane];
        }
        sum
    }

    #[inline(always)]
    fn fused(self, a: Self::Floats, b: Self::Floats, c: Self::Floats) -> Self::Floats {
        let mut sum = c;
        for lane in 0..ROWS {
            sum[lane] += a[lane] * b[lane];
        }
        sum
    }

    #[inline(always)]
    fn splat(self, x: f32) -> Self::Floats {
        [x; ROWS]
    }

    #[inline(always)]
    fn quads(self, quad: &[f32; 4]) -> Self::Floats {
        bytemuck::cast([*quad; 4])
    }

    #[inline(always)]
    fn select(self, quads: Self::Floats, index: Self::Words) -> Self::Floats {
        let mut selected = [0.0; ROWS];
        for lane in 0..ROWS {
            selected[lane] = quads[(index[lane] & 3) as usize];
        }
        selected
    }

    #[inline(always)]
    fn look_up(self, table: &Line, words: Self::Words) -> Self::Words {
        let mut found = [0; ROWS];
        for lane in 0..ROWS {
            found[lane] = table.0[(words[lane] & 7) as usize];
        }
        found
    }

    #[inline(always)]
    fn drop_three_bits(self, words: Self::Words) -> Self::Words {
        let mut rest = words;
        for word in &mut rest {
            *word >>= 3;
        }
        rest
    }

    #[inline(always)]
    fn words(self, line: &Line) -> Self::Words {
        line.0
    }

    #[inline(always)]
    fn floats(self, line: &Line) -> Self::Floats {
        bytemuck::cast(line.0)
    }

    #[inline(always)]
    fn array(self, x: &[f32; ROWS]) -> Self::Floats {
        *x
    }

    #[inline(always)]
    fn store(self, x: Self::Floats, out: &mut [f32; ROWS]) {
        *out = x;
    }

    #[inline(always)]
    fn pair_of_bf16(self, line: &Line) -> [Self::Floats; 2] {
        let mut pair = [[0.0; ROWS]; 2];
        for (lane, &word) in line.0.iter().enumerate() {
            pair[0][lane] = f32::from_bits(word << 16);
            pair[1][lane] = f32::from_bits(word & 0xffff_0000);
        }
        pair
    }

    #[inline(always)]
    fn pair_of_f16(self, line: &Line) -> [Self::Floats; 2] {
        let halves: [[u16; ROWS]; 2] = bytemuck::cast(line.0);
        let mut pair = [[0.0; ROWS]; 2];
        for (floats, halves) in pair.iter_mut().zip(halves) {
            for lane in 0..ROWS {
                floats[lane] = f16::from_bits(halves[lane]).to_f32_const();
            }
        }
        pair
    }
}

#[cfg(target_arch = "x86_64")]
mod x86 {
    use std::arch::x86_64::{__m128, __m256, __m256i, __m512, __m512i};

    use bytemuck::Pod;
    use pulp::x86::{V3, V4};

    use super::{Lanes, Line, ROWS};

    impl Lanes for V4 {
        type Floats = __m512;
        type Words = __m512i;

        const TILE: usize = 16;

        type Half = Self;

        #[inline(always)]
        fn halves(self) -> Option<[Self; 2]> {
            None
        }

        #[inline(always)]
        fn zero(self) -> __m512 {
            self.avx512f._mm512_setzero_ps()
        }

        #[inline(always)]
        fn add(self, a: __m512, b: __m512) -> __m512 {
            self.avx512f._mm512_add_ps(a, b)
        }

        #[inline(always)]
        fn fused(self, a: __m512, b: __m512, c: __m512) -> __m512 {
            self.avx512f._mm512_fmadd_ps(a, b, c)
        }

        #[inline(always)]
        fn splat(self, x: f32) -> __m512 {
            self.avx512f._mm512_set1_ps(x)
        }

        #[inline(always)]
        fn quads(self, quad: &[f32; 4]) -> __m512 {
            self.avx512f._mm512_broadcast_f32x4(bytemuck::cast::<_, __m128>(*quad))
        }

        #[inline(always)]
        fn select(self, quads: __m512, index: __m512i) -> __m512 {
            self.avx512f._mm512_permutevar_ps(quads, index)
        }

        #[inline(always)]
        fn look_up(self, table: &Line, words: __m512i) -> __m512i {
            self.avx512f._mm512_permutexvar_epi32(words, bytemuck::cast(table.0))
        }

        #[inline(always)]
        fn drop_three_bits(self, words: __m512i) -> __m512i {
            self.avx512f._mm512_srli_epi32::<3>(words)
        }

        #[inline(always)]
        fn words(self, line: &Line) -> __m512i {
            bytemuck::cast(line.0)
        }

        #[inline(always)]
        fn floats(self, line: &Line) -> __m512 {
            bytemuck::cast(line.0)
        }

        #[inline(always)]
        fn array(self, x: &[f32; ROWS]) -> __m512 {
            bytemuck::cast(*x)
        }

        #[inline(always)]
        fn store(self, x: __m512, out: &mut [f32; ROWS]) {
            *out = bytemuck::cast(x);
        }

        #[inline(always)]
        fn pair_of_bf16(self, line: &Line) -> [__m512; 2] {
            let (avx, words) = (self.avx512f, self.words(line));
            let upper = avx._mm512_set1_epi32(0xffff_0000_u32 as i32);
            [
                avx._mm512_castsi512_ps(avx._mm512_slli_epi32::<16>(words)),
                avx._mm512_castsi512_ps(avx._mm512_and_si512(words, upper)),
            ]
        }

        #[inline(always)]
        fn pair_of_f16(self, line: &Line) -> [__m512; 2] {
            let [first, second]: [__m256i; 2] = bytemuck::cast(line.0);
            [self.avx512f._mm512_cvtph_ps(first), self.avx512f._mm512_cvtph_ps(second)]
        }
    }

    impl Lanes for V3 {
        type Floats = [__m256; 2];
        type Words = [__m256i; 2];

        const TILE: usize = 4;

        type Half = HalfOfV3;

        #[inline(always)]
        fn halves(self) -> Option<[HalfOfV3; 2]> {
            Some([0, 1].map(|half| HalfOfV3 { simd: self, half }))
        }

        #[inline(always)]
        fn zero(self) -> Self::Floats {
            [self.avx._mm256_setzero_ps(); 2]
        }

        #[inline(always)]
        fn add(self, a: Self::Floats, b: Self::Floats) -> Self::Floats {
            [self.avx._mm256_add_ps(a[0], b[0]), self.avx._mm256_add_ps(a[1], b[1])]
        }

        #[inline(always)]
        fn fused(self, a: Self::Floats, b: Self::Floats, c: Self::Floats) -> Self::Floats {
            [self.fma._mm256_fmadd_ps(a[0], b[0], c[0]), self.fma._mm256_fmadd_ps(a[1], b[1], c[1])]
        }

        #[inline(always)]
        fn splat(self, x: f32) -> Self::Floats {
            [self.avx._mm256_set1_ps(x); 2]
        }

        #[inline(always)]
        fn quads(self, quad: &[f32; 4]) -> Self::Floats {
            [bytemuck::cast([*quad; 2]); 2]
        }

        #[inline(always)]
        fn select(self, quads: Self::Floats, index: Self::Words) -> Self::Floats {
            [self.avx._mm256_permutevar_ps(quads[0], index[0]), self.avx._mm256_permutevar_ps(quads[1], index[1])]
        }

        #[inline(always)]
        fn look_up(self, table: &Line, words: Self::Words) -> Self::Words {
            let [table, _]: [__m256i; 2] = bytemuck::cast(table.0);
            [
                self.avx2._mm256_permutevar8x32_epi32(table, words[0]),
                self.avx2._mm256_permutevar8x32_epi32(table, words[1]),
            ]
        }

        #[inline(always)]
        fn drop_three_bits(self, words: Self::Words) -> Self::Words {
            [self.avx2._mm256_srli_epi32::<3>(words[0]), self.avx2._mm256_srli_epi32::<3>(words[1])]
        }

        #[inline(always)]
        fn words(self, line: &Line) -> Self::Words {
            bytemuck::cast(line.0)
        }

        #[inline(always)]
        fn floats(self, line: &Line) -> Self::Floats {
            bytemuck::cast(line.0)
        }

        #[inline(always)]
        fn array(self, x: &[f32; ROWS]) -> Self::Floats {
            bytemuck::cast(*x)
        }

        #[inline(always)]
        fn store(self, x: Self::Floats, out: &mut [f32; ROWS]) {
            *out = bytemuck::cast(x);
        }

        #[inline(always)]
        fn pair_of_bf16(self, line: &Line) -> [Self::Floats; 2] {
            let (avx, words) = (self.avx2, self.words(line));
            let upper = self.avx._mm256_set1_epi32(0xffff_0000_u32 as i32);
            [
                bytemuck::cast([avx._mm256_slli_epi32::<16>(words[0]), avx._mm256_slli_epi32::<16>(words[1])]),
                bytemuck::cast([avx._mm256_and_si256(words[0], upper), avx._mm256_and_si256(words[1], upper)]),
            ]
        }

        #[inline(always)]
        fn pair_of_f16(self, line: &Line) -> [Self::Floats; 2] {
            let [a, b, c, d]: [std::arch::x86_64::__m128i; 4] = bytemuck::cast(line.0);
            [[eight_of_f16(self, a), eight_of_f16(self, b)], [eight_of_f16(self, c), eight_of_f16(self, d)]]
        }
    }

    /// One register of the two that AVX2 has for sixteen numbers.
    #[derive(Clone, Copy)]
    pub(in crate::packed) struct HalfOfV3 {
        simd: V3,
        half: usize,
    }

    impl HalfOfV3 {
        /// This half of a line.
        #[inline(always)]
        fn of<T: Pod>(self, line: &[T; ROWS]) -> __m256i {
            let halves: [__m256i; 2] = bytemuck::cast(*line);
            halves[self.half]
        }
    }

    impl Lanes for HalfOfV3 {
        type Floats = __m256;
        type Words = __m256i;

        const TILE: usize = 8;

        type Half = Self;

        #[inline(always)]
        fn halves(self) -> Option<[Self; 2]> {
            None
        }

        #[inline(always)]
        fn zero(self) -> __m256 {
            self.simd.avx._mm256_setzero_ps()
        }

        #[inline(always)]
        fn add(self, a: __m256, b: __m256) -> __m256 {
            self.simd.avx._mm256_add_ps(a, b)
        }

        #[inline(always)]
        fn fused(self, a: __m256, b: __m256, c: __m256) -> __m256 {
            self.simd.fma._mm256_fmadd_ps(a, b, c)
        }

        #[inline(always)]
        fn splat(self, x: f32) -> __m256 {
            self.simd.avx._mm256_set1_ps(x)
        }

        #[inline(always)]
        fn quads(self, quad: &[f32; 4]) -> __m256 {
            bytemuck::cast([*quad; 2])
        }

        #[inline(always)]
        fn select(self, quads: __m256, index: __m256i) -> __m256 {
            self.simd.avx._mm256_permutevar_ps(quads, index)
        }

        #[inline(always)]
        fn look_up(self, table: &Line, words: __m256i) -> __m256i {
            let [table, _]: [__m256i; 2] = bytemuck::cast(table.0);
            self.simd.avx2._mm256_permutevar8x32_epi32(table, words)
        }

        #[inline(always)]
        fn drop_three_bits(self, words: __m256i) -> __m256i {
            self.simd.avx2._mm256_srli_epi32::<3>(words)
        }

        #[inline(always)]
        fn words(self, line: &Line) -> __m256i {
            self.of(&line.0)
        }

        #[inline(always)]
        fn floats(self, line: &Line) -> __m256 {
            bytemuck::cast(self.of(&line.0))
        }

        #[inline(always)]
        fn array(self, x: &[f32; ROWS]) -> __m256 {
            bytemuck::cast(self.of(x))
        }

        #[inline(always)]
        fn store(self, x: __m256, out: &mut [f32; ROWS]) {
            let (eights, _) = out.as_chunks_mut::<8>();
            eights[self.half] = bytemuck::cast(x);
        }

        #[inline(always)]
        fn pair_of_bf16(self, line: &Line) -> [__m256; 2] {
            let (avx, words) = (self.simd.avx2, self.words(line));
            let upper = self.simd.avx._mm256_set1_epi32(0xffff_0000_u32 as i32);
            [bytemuck::cast(avx._mm256_slli_epi32::<16>(words)), bytemuck::cast(avx._mm256_and_si256(words, upper))]
        }

        #[inline(always)]
        fn pair_of_f16(self, line: &Line) -> [__m256; 2] {
            let quarters: [std::arch::x86_64::__m128i; 4] = bytemuck::cast(line.0);
            [eight_of_f16(self.simd, quarters[self.half]), eight_of_f16(self.simd, quarters[2 + self.half])]
        }
    }

    /// Widens finite f16 numbers: exponent and fraction go to their places in an f32, 2¹¹² mends the exponent's bias,
    /// for subnormal numbers too; the sign goes last.
    #[inline(always)]
    fn eight_of_f16(simd: V3, halves: std::arch::x86_64::__m128i) -> __m256 {
        let (avx, avx2) = (simd.avx, simd.avx2);
        let words = avx2._mm256_cvtepu16_epi32(halves);
        let magnitude = avx2._mm256_and_si256(words, avx._mm256_set1_epi32(0x7fff));
        let magnitude = avx._mm256_castsi256_ps(avx2._mm256_slli_epi32::<13>(magnitude));
        let magnitude = avx._mm256_mul_ps(magnitude, avx._mm256_set1_ps(2f32.powi(112)));
        let sign = avx2._mm256_and_si256(words, avx._mm256_set1_epi32(0x8000));
        avx._mm256_or_ps(magnitude, avx._mm256_castsi256_ps(avx2._mm256_slli_epi32::<16>(sign)))
    }
}
