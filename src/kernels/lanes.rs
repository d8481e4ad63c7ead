//! What kernels ask of an instruction set; a file for each set implements it.

use pulp::Simd;

use crate::kernels::cache_line::CacheLine;

/// A token that proves that the CPU has an instruction set, with the operations that kernels need beyond pulp's.
pub(crate) trait Lanes: Simd {
    /// The same instruction set as a source of sixteen lanes, however many of its registers those take.
    type Sixteen: SixteenLanes;

    /// Gives the operations on sixteen lanes.
    fn sixteen(self) -> Self::Sixteen;

    /// Computes a · b + c in the fewest instructions.
    #[inline(always)]
    fn fused(self, a: Self::f32s, b: Self::f32s, c: Self::f32s) -> Self::f32s {
        self.mul_add_e_f32s(a, b, c)
    }

    /// Transposes a square tile of `F32_LANES` vectors in place.
    fn transpose(self, tile: &mut [Self::f32s]);
}

/// Sixteen numbers side by side, one for each word of a cache line, on any instruction set.
pub(crate) trait SixteenLanes: Copy {
    /// Sixteen f32 numbers.
    type F32x16: Copy;
    /// Sixteen u32 numbers.
    type U32x16: Copy;

    /// Most sums of sixteen lanes that a kernel can hold in registers.
    const ACCUMULATORS: usize;

    /// The same for the first or the last eight of every sixteen lanes.
    type Half: SixteenLanes;

    /// Gives both halves where the registers hold twice as many sums of one half; `None` elsewhere.
    fn halves(self) -> Option<[Self::Half; 2]>;

    /// Gives 0 in every lane.
    fn zero(self) -> Self::F32x16;
    /// Computes a + b.
    fn add(self, a: Self::F32x16, b: Self::F32x16) -> Self::F32x16;
    /// Computes a · b + c, rounded once where the set has a fused multiply-add.
    fn fused(self, a: Self::F32x16, b: Self::F32x16, c: Self::F32x16) -> Self::F32x16;
    /// Gives `x` in every lane.
    fn splat(self, x: f32) -> Self::F32x16;
    /// Gives the same four numbers in each of the four quarters.
    fn repeat_four(self, quad: &[f32; 4]) -> Self::F32x16;
    /// Gives in every lane the number of the lane's own quarter at the lowest two bits of `index`.
    fn select(self, quads: Self::F32x16, index: Self::U32x16) -> Self::F32x16;
    /// Gives in every lane `table[word & 7]`; the second half of the table repeats the first.
    fn look_up(self, table: &CacheLine, words: Self::U32x16) -> Self::U32x16;
    /// Shifts every word right by three bits.
    fn shift_right_by_three(self, words: Self::U32x16) -> Self::U32x16;
    /// Loads a line as u32 numbers.
    fn line_of_words(self, line: &CacheLine) -> Self::U32x16;
    /// Loads a line as f32 numbers.
    fn line_of_floats(self, line: &CacheLine) -> Self::F32x16;
    /// Loads sixteen numbers.
    fn load(self, x: &[f32; CacheLine::LEN]) -> Self::F32x16;
    /// Stores the lanes that `self` stands for: all sixteen, or those of a half.
    fn store(self, x: Self::F32x16, out: &mut [f32; CacheLine::LEN]);
    /// Widens the lower and the upper bf16 number of every word.
    fn widen_bf16(self, line: &CacheLine) -> [Self::F32x16; 2];
    /// Widens the first sixteen f16 numbers of a line, and the last sixteen; all must be finite.
    fn widen_f16(self, line: &CacheLine) -> [Self::F32x16; 2];

    /// Puts the numbers of `values`, in order, into the lanes whose bit is set in `kept`, and 0 into the others; `None`
    /// where the set has no instruction for it.
    #[inline(always)]
    fn expand(self, _kept: u16, _values: &[f32; 8]) -> Option<[f32; CacheLine::LEN]> {
        None
    }
}
