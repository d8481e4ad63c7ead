//! Sixteen rows of a panel side by side, one SIMD lane each, on every instruction set.

#[cfg(target_arch = "x86_64")]
mod avx2;
#[cfg(target_arch = "x86_64")]
mod avx512;

#[cfg(all(target_arch = "x86_64", not(miri)))]
use std::sync::LazyLock;

use bytemuck::{Pod, Zeroable};
use half::f16;

use crate::kernels::instructions::InstructionSet;

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
