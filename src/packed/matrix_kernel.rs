//! What a kind of packed matrix must be able to do.

use crate::kernels::cache_line::CacheLine;
use crate::kernels::lanes::SixteenLanes;
use crate::packed::number::PackedNumber;
use crate::packed::strip::{PackedStrip, PanelOffset, STRIP_ROWS};
use crate::packed::vectors::InterleavedEntry;

/// A kind of packed matrix: how its strips are multiplied.
pub(super) trait MatrixKernel {
    /// Multiplies `R` panels of a strip with `V` vectors; sum [r][v] holds the rows of panel r times vector v.
    fn tile<L: SixteenLanes, N: PackedNumber, const R: usize, const V: usize>(
        lanes: L,
        strip: &[CacheLine],
        offset: PanelOffset,
        vectors: [&[f32]; V],
    ) -> [[L::F32x16; V]; R];

    /// Multiplies a strip with interleaved vectors and adds to the totals of its rows, which are zero at first. The sums
    /// are those of `tile`, in the same order.
    fn interleaved<L: SixteenLanes, N: PackedNumber>(
        lanes: L,
        strip: PackedStrip<'_>,
        x: &[InterleavedEntry],
        totals: &mut [InterleavedEntry; STRIP_ROWS],
    );
}
