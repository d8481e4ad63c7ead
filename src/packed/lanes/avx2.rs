//! AVX2: sixteen numbers are two registers, or one half of them after the other.

use std::arch::x86_64::{__m128i, __m256, __m256i};

use bytemuck::Pod;
use pulp::x86::V3;

use super::{Lanes, Line, ROWS};

/// Sixteen numbers are two registers, and every operation is that of both.
impl Lanes for V3 {
    type Floats = [__m256; 2];
    type Words = [__m256i; 2];

    const TILE: usize = 4;

    type Half = HalfOfV3;

    #[inline(always)]
    fn halves(self) -> Option<[HalfOfV3; 2]> {
        Some(pair(self))
    }

    #[inline(always)]
    fn zero(self) -> Self::Floats {
        let [upper, lower] = pair(self);
        [upper.zero(), lower.zero()]
    }

    #[inline(always)]
    fn add(self, a: Self::Floats, b: Self::Floats) -> Self::Floats {
        let [upper, lower] = pair(self);
        [upper.add(a[0], b[0]), lower.add(a[1], b[1])]
    }

    #[inline(always)]
    fn fused(self, a: Self::Floats, b: Self::Floats, c: Self::Floats) -> Self::Floats {
        let [upper, lower] = pair(self);
        [upper.fused(a[0], b[0], c[0]), lower.fused(a[1], b[1], c[1])]
    }

    #[inline(always)]
    fn splat(self, x: f32) -> Self::Floats {
        let [upper, lower] = pair(self);
        [upper.splat(x), lower.splat(x)]
    }

    #[inline(always)]
    fn quads(self, quad: &[f32; 4]) -> Self::Floats {
        let [upper, lower] = pair(self);
        [upper.quads(quad), lower.quads(quad)]
    }

    #[inline(always)]
    fn select(self, quads: Self::Floats, index: Self::Words) -> Self::Floats {
        let [upper, lower] = pair(self);
        [upper.select(quads[0], index[0]), lower.select(quads[1], index[1])]
    }

    #[inline(always)]
    fn look_up(self, table: &Line, words: Self::Words) -> Self::Words {
        let [upper, lower] = pair(self);
        [upper.look_up(table, words[0]), lower.look_up(table, words[1])]
    }

    #[inline(always)]
    fn drop_three_bits(self, words: Self::Words) -> Self::Words {
        let [upper, lower] = pair(self);
        [upper.drop_three_bits(words[0]), lower.drop_three_bits(words[1])]
    }

    #[inline(always)]
    fn words(self, line: &Line) -> Self::Words {
        let [upper, lower] = pair(self);
        [upper.words(line), lower.words(line)]
    }

    #[inline(always)]
    fn floats(self, line: &Line) -> Self::Floats {
        let [upper, lower] = pair(self);
        [upper.floats(line), lower.floats(line)]
    }

    #[inline(always)]
    fn array(self, x: &[f32; ROWS]) -> Self::Floats {
        let [upper, lower] = pair(self);
        [upper.array(x), lower.array(x)]
    }

    #[inline(always)]
    fn store(self, x: Self::Floats, out: &mut [f32; ROWS]) {
        let [upper, lower] = pair(self);
        upper.store(x[0], out);
        lower.store(x[1], out);
    }

    #[inline(always)]
    fn pair_of_bf16(self, line: &Line) -> [Self::Floats; 2] {
        let [upper, lower] = pair(self);
        let ([a, b], [c, d]) = (upper.pair_of_bf16(line), lower.pair_of_bf16(line));
        [[a, c], [b, d]]
    }

    #[inline(always)]
    fn pair_of_f16(self, line: &Line) -> [Self::Floats; 2] {
        let [upper, lower] = pair(self);
        let ([a, b], [c, d]) = (upper.pair_of_f16(line), lower.pair_of_f16(line));
        [[a, c], [b, d]]
    }
}

#[inline(always)]
fn pair(simd: V3) -> [HalfOfV3; 2] {
    [HalfOfV3 { simd, half: 0 }, HalfOfV3 { simd, half: 1 }]
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
        let quarters: [__m128i; 4] = bytemuck::cast(line.0);
        [eight_of_f16(self.simd, quarters[self.half]), eight_of_f16(self.simd, quarters[2 + self.half])]
    }
}

/// Widens finite f16 numbers: exponent and fraction go to their places in an f32, 2¹¹² mends the exponent's bias,
/// for subnormal numbers too; the sign goes last.
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
