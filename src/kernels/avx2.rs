//! Lanes of AVX2 with FMA: registers of eight numbers; sixteen numbers are two registers, or one half after the other.

use std::arch::x86_64::{__m128i, __m256, __m256i};

use bytemuck::Pod;
use pulp::x86::V3;

use crate::kernels::cache_line::CacheLine;
use crate::kernels::lanes::{Lanes, SixteenLanes};

impl Lanes for V3 {
    type Sixteen = Self;

    #[inline(always)]
    fn sixteen(self) -> Self {
        self
    }

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

/// Sixteen numbers are two registers, and every operation is that of both.
impl SixteenLanes for V3 {
    type F32x16 = [__m256; 2];
    type U32x16 = [__m256i; 2];

    const ACCUMULATORS: usize = 4;

    type Half = HalfOfV3;

    #[inline(always)]
    fn halves(self) -> Option<[HalfOfV3; 2]> {
        Some(pair(self))
    }

    #[inline(always)]
    fn zero(self) -> Self::F32x16 {
        let [low, high] = pair(self);
        [low.zero(), high.zero()]
    }

    #[inline(always)]
    fn add(self, a: Self::F32x16, b: Self::F32x16) -> Self::F32x16 {
        let [low, high] = pair(self);
        [low.add(a[0], b[0]), high.add(a[1], b[1])]
    }

    #[inline(always)]
    fn fused(self, a: Self::F32x16, b: Self::F32x16, c: Self::F32x16) -> Self::F32x16 {
        let [low, high] = pair(self);
        [low.fused(a[0], b[0], c[0]), high.fused(a[1], b[1], c[1])]
    }

    #[inline(always)]
    fn splat(self, x: f32) -> Self::F32x16 {
        let [low, high] = pair(self);
        [low.splat(x), high.splat(x)]
    }

    #[inline(always)]
    fn repeat_four(self, quad: &[f32; 4]) -> Self::F32x16 {
        let [low, high] = pair(self);
        [low.repeat_four(quad), high.repeat_four(quad)]
    }

    #[inline(always)]
    fn select(self, quads: Self::F32x16, index: Self::U32x16) -> Self::F32x16 {
        let [low, high] = pair(self);
        [low.select(quads[0], index[0]), high.select(quads[1], index[1])]
    }

    #[inline(always)]
    fn look_up(self, table: &CacheLine, words: Self::U32x16) -> Self::U32x16 {
        let [low, high] = pair(self);
        [low.look_up(table, words[0]), high.look_up(table, words[1])]
    }

    #[inline(always)]
    fn shift_right_by_three(self, words: Self::U32x16) -> Self::U32x16 {
        let [low, high] = pair(self);
        [low.shift_right_by_three(words[0]), high.shift_right_by_three(words[1])]
    }

    #[inline(always)]
    fn line_of_words(self, line: &CacheLine) -> Self::U32x16 {
        let [low, high] = pair(self);
        [low.line_of_words(line), high.line_of_words(line)]
    }

    #[inline(always)]
    fn line_of_floats(self, line: &CacheLine) -> Self::F32x16 {
        let [low, high] = pair(self);
        [low.line_of_floats(line), high.line_of_floats(line)]
    }

    #[inline(always)]
    fn load(self, x: &[f32; CacheLine::LEN]) -> Self::F32x16 {
        let [low, high] = pair(self);
        [low.load(x), high.load(x)]
    }

    #[inline(always)]
    fn store(self, x: Self::F32x16, out: &mut [f32; CacheLine::LEN]) {
        let [low, high] = pair(self);
        low.store(x[0], out);
        high.store(x[1], out);
    }

    #[inline(always)]
    fn widen_bf16(self, line: &CacheLine) -> [Self::F32x16; 2] {
        let [low, high] = pair(self);
        let ([a, b], [c, d]) = (low.widen_bf16(line), high.widen_bf16(line));
        [[a, c], [b, d]]
    }

    #[inline(always)]
    fn widen_f16(self, line: &CacheLine) -> [Self::F32x16; 2] {
        let [low, high] = pair(self);
        let ([a, b], [c, d]) = (low.widen_f16(line), high.widen_f16(line));
        [[a, c], [b, d]]
    }
}

/// Gives the lanes of the low and of the high register.
#[inline(always)]
fn pair(simd: V3) -> [HalfOfV3; 2] {
    [HalfOfV3 { simd, half: 0 }, HalfOfV3 { simd, half: 1 }]
}

/// One register of the two that AVX2 has for sixteen numbers.
#[derive(Clone, Copy)]
pub(crate) struct HalfOfV3 {
    simd: V3,
    half: usize,
}

impl HalfOfV3 {
    /// Gives this half of sixteen numbers.
    #[inline(always)]
    fn of<T: Pod>(self, line: &[T; CacheLine::LEN]) -> __m256i {
        let halves: [__m256i; 2] = bytemuck::cast(*line);
        halves[self.half]
    }
}

impl SixteenLanes for HalfOfV3 {
    type F32x16 = __m256;
    type U32x16 = __m256i;

    const ACCUMULATORS: usize = 8;

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
    fn repeat_four(self, quad: &[f32; 4]) -> __m256 {
        bytemuck::cast([*quad; 2])
    }

    #[inline(always)]
    fn select(self, quads: __m256, index: __m256i) -> __m256 {
        self.simd.avx._mm256_permutevar_ps(quads, index)
    }

    #[inline(always)]
    fn look_up(self, table: &CacheLine, words: __m256i) -> __m256i {
        let [table, _]: [__m256i; 2] = bytemuck::cast(table.0);
        self.simd.avx2._mm256_permutevar8x32_epi32(table, words)
    }

    #[inline(always)]
    fn shift_right_by_three(self, words: __m256i) -> __m256i {
        self.simd.avx2._mm256_srli_epi32::<3>(words)
    }

    #[inline(always)]
    fn line_of_words(self, line: &CacheLine) -> __m256i {
        self.of(&line.0)
    }

    #[inline(always)]
    fn line_of_floats(self, line: &CacheLine) -> __m256 {
        bytemuck::cast(self.of(&line.0))
    }

    #[inline(always)]
    fn load(self, x: &[f32; CacheLine::LEN]) -> __m256 {
        bytemuck::cast(self.of(x))
    }

    #[inline(always)]
    fn store(self, x: __m256, out: &mut [f32; CacheLine::LEN]) {
        let (eights, _) = out.as_chunks_mut::<8>();
        eights[self.half] = bytemuck::cast(x);
    }

    #[inline(always)]
    fn widen_bf16(self, line: &CacheLine) -> [__m256; 2] {
        let (avx, words) = (self.simd.avx2, self.line_of_words(line));
        let upper = self.simd.avx._mm256_set1_epi32(0xffff_0000_u32 as i32);
        [bytemuck::cast(avx._mm256_slli_epi32::<16>(words)), bytemuck::cast(avx._mm256_and_si256(words, upper))]
    }

    #[inline(always)]
    fn widen_f16(self, line: &CacheLine) -> [__m256; 2] {
        let quarters: [__m128i; 4] = bytemuck::cast(line.0);
        [eight_of_f16(self.simd, quarters[self.half]), eight_of_f16(self.simd, quarters[2 + self.half])]
    }
}

/// Widens finite f16 numbers: exponent and fraction are shifted to their places in an f32; a product with 2¹¹² corrects
/// the exponent's bias, for subnormal numbers too; the sign is set last.
#[inline(always)]
fn eight_of_f16(simd: V3, halves: __m128i) -> __m256 {
    let (avx, avx2) = (simd.avx, simd.avx2);
    let words = avx2._mm256_cvtepu16_epi32(halves);
    let magnitude = avx2._mm256_and_si256(words, avx._mm256_set1_epi32(0x7fff));
    let magnitude = avx._mm256_castsi256_ps(avx2._mm256_slli_epi32::<13>(magnitude));
    let magnitude = avx._mm256_mul_ps(magnitude, avx._mm256_set1_ps(2f32.powi(112)));
    let sign = avx2._mm256_and_si256(words, avx._mm256_set1_epi32(0x8000));
    avx._mm256_or_ps(magnitude, avx._mm256_castsi256_ps(avx2._mm256_slli_epi32::<16>(sign)))
}
