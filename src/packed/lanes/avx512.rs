//! AVX-512: sixteen numbers are one register.

use std::arch::x86_64::{__m128, __m256i, __m512, __m512i};

use pulp::x86::V4;

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
