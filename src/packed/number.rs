//! Number types of packed matrices: how two numbers of every row of a panel are kept in cache lines.

use half::{bf16, f16};

use crate::factors::precision::Precision;
use crate::kernels::cache_line::CacheLine;
use crate::kernels::lanes::SixteenLanes;
use crate::packed::strip::ROWS;

impl Precision {
    /// Counts the lines that hold two numbers of every row of a panel.
    pub(super) fn lines(self) -> usize {
        2 * ROWS * self.width() / size_of::<CacheLine>()
    }

    /// Appends two numbers of every row of a panel, rounded to this type.
    pub(super) fn push(self, lines: &mut Vec<CacheLine>, pairs: &[[f32; 2]; ROWS]) {
        match self {
            Precision::F32 => PackedF32::push(lines, pairs),
            Precision::F16 => PackedF16::push(lines, pairs),
            Precision::Bf16 => PackedBf16::push(lines, pairs),
        }
    }

    /// Reads the two numbers of one row of a panel from the lines that `push` appended.
    pub(super) fn read(self, lines: &[CacheLine], row: usize) -> [f32; 2] {
        match self {
            Precision::F32 => [lines[0].0[row], lines[1].0[row]].map(f32::from_bits),
            Precision::F16 => {
                let halves: [[u16; ROWS]; 2] = bytemuck::cast(lines[0].0);
                halves.map(|half| f16::from_bits(half[row]).to_f32())
            }
            Precision::Bf16 => {
                let halves: [u16; 2] = [lines[0].0[row] as u16, (lines[0].0[row] >> 16) as u16];
                halves.map(|half| bf16::from_bits(half).to_f32())
            }
        }
    }
}

/// A number type that kernels are compiled for: it keeps two numbers of every row of a panel in one line or two.
pub(super) trait PackedNumber {
    /// Lines that hold two numbers of every row of a panel.
    const LINES: usize;

    /// Appends two numbers of every row, rounded to the type.
    fn push(lines: &mut Vec<CacheLine>, pairs: &[[f32; 2]; ROWS]);

    /// Reads what `push` appended.
    fn pair<L: SixteenLanes>(lanes: L, lines: &[CacheLine]) -> [L::F32x16; 2];
}

/// Two lines of f32: the first numbers of all rows, then the second numbers.
pub(super) struct PackedF32;

/// One line of f16: the first numbers of all rows, then the second numbers.
pub(super) struct PackedF16;

/// One line of bf16: a word for each row, with the first number in the lower half.
pub(super) struct PackedBf16;

impl PackedNumber for PackedF32 {
    const LINES: usize = 2;

    fn push(lines: &mut Vec<CacheLine>, pairs: &[[f32; 2]; ROWS]) {
        lines.extend([0, 1].map(|slot| CacheLine(pairs.map(|pair| pair[slot].to_bits()))));
    }

    #[inline(always)]
    fn pair<L: SixteenLanes>(lanes: L, lines: &[CacheLine]) -> [L::F32x16; 2] {
        [lanes.line_of_floats(&lines[0]), lanes.line_of_floats(&lines[1])]
    }
}

impl PackedNumber for PackedF16 {
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

impl PackedNumber for PackedBf16 {
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
