//! Lanes of AVX-512: one register holds sixteen numbers.

use std::arch::x86_64::{__m128, __m256i, __m512, __m512i};

use pulp::x86::V4;

use crate::kernels::cache_line::CacheLine;
use crate::kernels::lanes::{Lanes, SixteenLanes};

impl Lanes for V4 {
    type Sixteen = Self;

    #[inline(always)]
    fn sixteen(self) -> Self {
        self
    }

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

impl SixteenLanes for V4 {
    type F32x16 = __m512;
    type U32x16 = __m512i;

    const ACCUMULATORS: usize = 16;

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
    fn repeat_four(self, quad: &[f32; 4]) -> __m512 {
        self.avx512f._mm512_broadcast_f32x4(bytemuck::cast::<_, __m128>(*quad))
    }

    #[inline(always)]
    fn select(self, quads: __m512, index: __m512i) -> __m512 {
        self.avx512f._mm512_permutevar_ps(quads, index)
    }

    #[inline(always)]
    fn look_up(self, table: &CacheLine, words: __m512i) -> __m512i {
        self.avx512f._mm512_permutexvar_epi32(words, bytemuck::cast(table.0))
    }

    #[inline(always)]
    fn shift_right_by_three(self, words: __m512i) -> __m512i {
        self.avx512f._mm512_srli_epi32::<3>(words)
    }

    #[inline(always)]
    fn line_of_words(self, line: &CacheLine) -> __m512i {
        bytemuck::cast(line.0)
    }

    #[inline(always)]
    fn line_of_floats(self, line: &CacheLine) -> __m512 {
        bytemuck::cast(line.0)
    }

    #[inline(always)]
    fn load(self, x: &[f32; CacheLine::LEN]) -> __m512 {
        bytemuck::cast(*x)
    }

    #[inline(always)]
    fn store(self, x: __m512, out: &mut [f32; CacheLine::LEN]) {
        *out = bytemuck::cast(x);
    }

    #[inline(always)]
    fn widen_bf16(self, line: &CacheLine) -> [__m512; 2] {
        let (avx, words) = (self.avx512f, self.line_of_words(line));
        let upper = avx._mm512_set1_epi32(0xffff_0000_u32 as i32);
        [
            avx._mm512_castsi512_ps(avx._mm512_slli_epi32::<16>(words)),
            avx._mm512_castsi512_ps(avx._mm512_and_si512(words, upper)),
        ]
    }

    #[inline(always)]
    fn widen_f16(self, line: &CacheLine) -> [__m512; 2] {
        let [first, second]: [__m256i; 2] = bytemuck::cast(line.0);
        [self.avx512f._mm512_cvtph_ps(first), self.avx512f._mm512_cvtph_ps(second)]
    }

    #[inline(always)]
    fn expand(self, kept: u16, values: &[f32; 8]) -> Option<[f32; CacheLine::LEN]> {
        let packed = self.avx512f._mm512_castps256_ps512(bytemuck::cast(*values));
        Some(bytemuck::cast(self.avx512f._mm512_maskz_expand_ps(kept, packed)))
    }
}
