//! Lanes for every CPU: plain arrays, which the compiler vectorises with the instructions that the target always has.

use half::f16;
use pulp::{Scalar256b, Simd};

use crate::kernels::cache_line::CacheLine;
use crate::kernels::lanes::{Lanes, SixteenLanes};

impl Lanes for Scalar256b {
    type Sixteen = Self;

    #[inline(always)]
    fn sixteen(self) -> Self {
        self
    }

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

impl SixteenLanes for Scalar256b {
    type F32x16 = [f32; CacheLine::LEN];
    type U32x16 = [u32; CacheLine::LEN];

    const ACCUMULATORS: usize = 1;

    type Half = Self;

    #[inline(always)]
    fn halves(self) -> Option<[Self; 2]> {
        None
    }

    #[inline(always)]
    fn zero(self) -> Self::F32x16 {
        [0.0; CacheLine::LEN]
    }

    #[inline(always)]
    fn add(self, a: Self::F32x16, b: Self::F32x16) -> Self::F32x16 {
        let mut sum = a;
        for lane in 0..CacheLine::LEN {
            sum[lane] += b[lane];
        }
        sum
    }

    #[inline(always)]
    fn fused(self, a: Self::F32x16, b: Self::F32x16, c: Self::F32x16) -> Self::F32x16 {
        let mut sum = c;
        for lane in 0..CacheLine::LEN {
            sum[lane] += a[lane] * b[lane];
        }
        sum
    }

    #[inline(always)]
    fn splat(self, x: f32) -> Self::F32x16 {
        [x; CacheLine::LEN]
    }

    #[inline(always)]
    fn repeat_four(self, quad: &[f32; 4]) -> Self::F32x16 {
        bytemuck::cast([*quad; 4])
    }

    #[inline(always)]
    fn select(self, quads: Self::F32x16, index: Self::U32x16) -> Self::F32x16 {
        let mut selected = [0.0; CacheLine::LEN];
        for lane in 0..CacheLine::LEN {
            selected[lane] = quads[(index[lane] & 3) as usize];
        }
        selected
    }

    #[inline(always)]
    fn look_up(self, table: &CacheLine, words: Self::U32x16) -> Self::U32x16 {
        let mut found = [0; CacheLine::LEN];
        for lane in 0..CacheLine::LEN {
            found[lane] = table.0[(words[lane] & 7) as usize];
        }
        found
    }

    #[inline(always)]
    fn shift_right_by_three(self, words: Self::U32x16) -> Self::U32x16 {
        let mut rest = words;
        for word in &mut rest {
            *word >>= 3;
        }
        rest
    }

    #[inline(always)]
    fn line_of_words(self, line: &CacheLine) -> Self::U32x16 {
        line.0
    }

    #[inline(always)]
    fn line_of_floats(self, line: &CacheLine) -> Self::F32x16 {
        bytemuck::cast(line.0)
    }

    #[inline(always)]
    fn load(self, x: &[f32; CacheLine::LEN]) -> Self::F32x16 {
        *x
    }

    #[inline(always)]
    fn store(self, x: Self::F32x16, out: &mut [f32; CacheLine::LEN]) {
        *out = x;
    }

    #[inline(always)]
    fn widen_bf16(self, line: &CacheLine) -> [Self::F32x16; 2] {
        let mut pair = [[0.0; CacheLine::LEN]; 2];
        for (lane, &word) in line.0.iter().enumerate() {
            pair[0][lane] = f32::from_bits(word << 16);
            pair[1][lane] = f32::from_bits(word & 0xffff_0000);
        }
        pair
    }

    #[inline(always)]
    fn widen_f16(self, line: &CacheLine) -> [Self::F32x16; 2] {
        let halves: [[u16; CacheLine::LEN]; 2] = bytemuck::cast(line.0);
        let mut pair = [[0.0; CacheLine::LEN]; 2];
        for (floats, halves) in pair.iter_mut().zip(halves) {
            for lane in 0..CacheLine::LEN {
                floats[lane] = f16::from_bits(halves[lane]).to_f32_const();
            }
        }
        pair
    }
}
