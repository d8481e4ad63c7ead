//! Number types of packed matrices, two numbers a row at a time.

use half::{bf16, f16};

use super::layout::ROWS;
use crate::factors::precision::Precision;
use crate::kernels::cache_line::CacheLine;
use crate::kernels::lanes::SixteenLanes;

impl Precision {
    /// Lines of two numbers for every row of a panel.
    pub(super) fn lines(self) -> usize {
        2 * size_of::<f32>() * ROWS / size_of::<CacheLine>() / (4 / self.width())
    }

    /// Appends two numbers for every row of a panel.
    pub(super) fn push(self, lines: &mut Vec<CacheLine>, pairs: &[[f32; 2]; ROWS]) {
        match self {
            Precision::F32 => F32::push(lines, pairs),
            Precision::F16 => F16::push(lines, pairs),
            Precision::Bf16 => Bf16::push(lines, pairs),
        }
    }
}

/// One such type, for the kernels: two numbers a row in one line or two.
pub(super) trait Store {
    /// Lines of two numbers for every row of a panel.
    const LINES: usize;

    /// Appends two numbers a row.
    fn push(lines: &mut Vec<CacheLine>, pairs: &[[f32; 2]; ROWS]);

    /// Reads what `push` appended.
    fn pair<L: SixteenLanes>(lanes: L, lines: &[CacheLine]) -> [L::F32x16; 2];
}

pub(super) struct F32;
pub(super) struct F16;
pub(super) struct Bf16;

impl Store for F32 {
    const LINES: usize = 2;

    fn push(lines: &mut Vec<CacheLine>, pairs: &[[f32; 2]; ROWS]) {
        lines.extend([0, 1].map(|slot| CacheLine(pairs.map(|pair| pair[slot].to_bits()))));
    }

    #[inline(always)]
    fn pair<L: SixteenLanes>(lanes: L, lines: &[CacheLine]) -> [L::F32x16; 2] {
        [lanes.line_of_floats(&lines[0]), lanes.line_of_floats(&lines[1])]
    }
}

impl Store for F16 {
    const LINES: usize = 1;

    fn push(lines: &mut Vec<CacheLine>, pairs: &[[f32; 2]; ROWS]) {
        let halves = [0, 1].map(|slot| pairs.map(|pair| f16::from_f32(pair[slot]).to_bits()));
        lines.push(CacheLine(bytemuck::cast(halves)));
    }

    #[inline(always)]
    fn pair<L: SixteenLanes>(lanes: L, lines: &[CacheLine]) -> [L::F32x16; 2] {
        lanes.widen_f16(&lines[0])
    }
}

impl Store for Bf16 {
    const LINES: usize = 1;

    fn push(lines: &mut Vec<CacheLine>, pairs: &[[f32; 2]; ROWS]) {
        let word = |[lower, upper]: [f32; 2]| {
            u32::from(bf16::from_f32(lower).to_bits()) | u32::from(bf16::from_f32(upper).to_bits()) << 16
        };
        lines.push(CacheLine(pairs.map(word)));
    }

    #[inline(always)]
    fn pair<L: SixteenLanes>(lanes: L, lines: &[CacheLine]) -> [L::F32x16; 2] {
        lanes.widen_bf16(&lines[0])
    }
}
