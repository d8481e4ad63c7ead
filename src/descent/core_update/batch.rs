//! Blocks of one column panel that are swept side by side, one block a SIMD lane.

use std::ops::Range;

use crate::descent::core_update::noise::BlockNoise;
use crate::descent::core_update::strip::{BlockShape, RowStrip, STRIP};
use crate::descent::core_update::tracked_loss::Change;
use crate::descent::core_update::workspace::PanelTables;
use crate::descent::step::Step;
use crate::factors::partition::Partition;
use crate::factors::sparse_core::CoreRowsMut;
use crate::kernels::instructions::InstructionSet;
use crate::kernels::linalg::{add_product, part_of, rows_of};
use crate::problem::target::Target;

/// The block rows of a panel, cut into batches of as many as there are lanes.
#[derive(Clone, Copy)]
pub(super) struct Batches {
    pub lanes: usize,
    pub partition: Partition,
}

impl Batches {
    /// Rows of a whole batch.
    pub fn rows(self) -> usize {
        self.lanes * self.partition.block
    }

    /// The batch's blocks in runs of equal size: a smaller last block cannot share lanes with the others.
    pub fn runs(self, batch: usize) -> impl Iterator<Item = Range<usize>> {
        let start = batch * self.lanes;
        let end = self.partition.count().min(start + self.lanes);
        let full = (self.partition.len / self.partition.block).clamp(start, end);
        [start..full, full..end].into_iter().filter(|blocks| !blocks.is_empty())
    }
}

/// Blocks of equal size in column panel `b`.
pub(super) struct Batch<'a> {
    pub target: &'a Target,
    pub step: &'a Step,
    pub b: usize,
    pub blocks: Range<usize>,
    pub panel: &'a PanelTables,
}

impl Batch<'_> {
    pub fn shape(&self) -> BlockShape {
        let (p, q) = (self.target.row_blocks().size(self.blocks.start), self.target.col_blocks().size(self.b));
        BlockShape { blocks: self.blocks.len(), p, q }
    }

    pub fn groups(&self) -> usize {
        let BlockShape { blocks, p, q } = self.shape();
        blocks * p * (q / self.target.pattern().m())
    }

    /// Length of the scratch memory that [`Batch::descend`] takes.
    pub fn scratch(&self) -> usize {
        RowStrip::scratch(self.target.pattern(), self.shape().q) + self.groups()
    }

    /// Solves every group of the blocks once, given half the loss's gradient in them, [block][p × q], which is
    /// overwritten, and P_a of all blocks of A; returns how the loss changed.
    pub fn descend(
        &self,
        instructions: InstructionSet,
        left_grams: &[f32],
        mut core: CoreRowsMut<'_>,
        gradients: &mut [f32],
        scratch: &mut [f32],
    ) -> Change {
        let (pattern, block) = (self.target.pattern(), self.target.row_blocks().block);
        let shape @ BlockShape { blocks, p, q } = self.shape();
        let left_grams = &left_grams[self.blocks.start * block * block..][..blocks * p * p];
        // The uniform numbers come last: the strip's own part begins at the start of a cache line.
        let (scratch, uniforms) = scratch.split_at_mut(RowStrip::scratch(pattern, q));
        let noise = (self.step.temperature > 0.0).then(|| {
            for (a, uniforms) in self.blocks.clone().zip(uniforms.chunks_exact_mut(self.groups() / blocks)) {
                BlockNoise::new(self.step, a, self.b).fill(uniforms);
            }
            (self.step.temperature, &*uniforms)
        });
        let mut change = Change::default();
        for start in (0..p).step_by(STRIP) {
            let rows = start..p.min(start + STRIP);
            carry_rows_above(shape, &rows, left_grams, gradients);
            let strip = RowStrip {
                tables: &self.panel.groups,
                pattern,
                shape,
                rows,
                gradients,
                left_grams,
                right_gram: &self.panel.gram,
                core: core.reborrow(),
                noise,
                scratch,
            };
            change = change.and(instructions.dispatch(blocks, strip));
        }
        change
    }
}

/// Adds to the gradients of a strip what the rows above it, which hold their change ΔS Q by now, contribute.
fn carry_rows_above(shape: BlockShape, rows: &Range<usize>, left_grams: &[f32], gradients: &mut [f32]) {
    let BlockShape { p, q, .. } = shape;
    for (gradient, gram) in gradients.chunks_exact_mut(p * q).zip(left_grams.chunks_exact(p * p)) {
        let (above, strip) = gradient.split_at_mut(rows.start * q);
        let coupling = part_of(&gram[rows.start * p..], rows.len(), rows.start, p);
        add_product(&mut strip[..rows.len() * q], coupling, rows_of(above, q));
    }
}
