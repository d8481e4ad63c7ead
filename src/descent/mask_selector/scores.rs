//! Initial masks by one score of every entry: NoWag-P, magnitude, Wanda.

use rayon::prelude::*;

use crate::descent::mask_selector::selector::MaskSelector;
use crate::error::BoxError;
use crate::factors::groups::columns;
use crate::factors::pattern::Pattern;
use crate::problem::normalization::Normalization;
use crate::problem::state::State;

/// NoWag-P, the paper's starting point (section 3): keeps the N largest W̄_ij² d_j of every M, with the values W̄_ij.
///
/// An input of importance 0 never takes the place of another one, whatever the weights are: its entries are kept only
/// where a group has fewer than N others, those of largest |W_ij| first.
#[derive(Clone, Copy, Debug, Default)]
pub struct NoWagP;

/// Keeps the N largest |W_ij| of every M, whatever the inputs are, with the values W̄_ij.
#[derive(Clone, Copy, Debug, Default)]
pub struct Magnitude;

/// Wanda (arXiv 2306.11695): keeps the N largest |W_ij| ‖x_j‖ of every M, with the values W̄_ij.
///
/// ‖x_j‖² is the Hessian's diagonal, or 1 for all inputs where that is all zero. The score of a dead input is 0; its
/// entries are kept only where a group has fewer than N others, those of largest |W_ij| first.
#[derive(Clone, Copy, Debug, Default)]
pub struct Wanda;

impl MaskSelector for NoWagP {
    fn select(&mut self, state: &mut State<'_>) -> Result<(), BoxError> {
        let target = state.target();
        let Normalization { cols, importance, .. } = target.normalization();
        let of_columns = importance.iter().zip(target.roots()).zip(cols);
        let columns = of_columns.map(|((&d, root), r)| ColumnScore::new(d, d.sqrt() / root, r / root));
        keep_largest(state, &columns.collect::<Vec<_>>());
        Ok(())
    }
}

impl MaskSelector for Magnitude {
    fn select(&mut self, state: &mut State<'_>) -> Result<(), BoxError> {
        let target = state.target();
        let of_columns = target.normalization().cols.iter().zip(target.roots());
        let columns = of_columns.map(|(r, root)| ColumnScore { is_live: true, scale: r / root });
        keep_largest(state, &columns.collect::<Vec<_>>());
        Ok(())
    }
}

impl MaskSelector for Wanda {
    fn select(&mut self, state: &mut State<'_>) -> Result<(), BoxError> {
        let target = state.target();
        let squares = target.hessian().importance();
        let of_columns = squares.iter().zip(target.roots()).zip(&target.normalization().cols);
        let columns = of_columns.map(|((&d, root), r)| ColumnScore::new(d, r * (d.sqrt() / root), r / root));
        keep_largest(state, &columns.collect::<Vec<_>>());
        Ok(())
    }
}

/// How the entries of a column are scored.
#[derive(Clone, Copy)]
struct ColumnScore {
    /// Whether its input counts.
    is_live: bool,
    /// The score of an entry is |Y_ij| times this.
    scale: f64,
}

impl ColumnScore {
    /// Scores an input of importance `d` by the scale `live`, and by |W_ij| where d is 0.
    fn new(d: f64, live: f64, of_weight: f64) -> Self {
        let is_live = d > 0.0;
        ColumnScore { is_live, scale: if is_live { live } else { of_weight } }
    }
}

/// The rank of an entry in its group, in one number that is fast to compare: those of inputs that count before all others,
/// then by size.
#[derive(Clone, Copy, PartialEq, PartialOrd)]
pub(super) struct EntryRank(f64);

impl EntryRank {
    /// Ranks an entry by its score, whose sign does not matter.
    pub fn new(is_live: bool, score: f64) -> Self {
        let size = score.abs();
        // The negative reciprocal grows with the size, too, and is below the size of every entry of an input that counts.
        EntryRank(if is_live { size } else { -1.0 / (size + f64::MIN_POSITIVE) })
    }
}

/// Keeps the N entries of highest rank in every group, the first ones where they tie, with the values W̄_ij.
fn keep_largest(state: &mut State<'_>, scores: &[ColumnScore]) {
    /// Rows of a task.
    const HEIGHT: usize = 64;
    let target = state.target();
    let (n, m) = (target.pattern().n(), target.pattern().m());
    state.core_mut().pieces_mut(HEIGHT).for_each(|((b, piece), core)| {
        let cols = target.col_blocks().range(b);
        let (scores, roots) = (&scores[cols.clone()], &target.roots()[cols.clone()]);
        let rows = target.panel(b)[piece * HEIGHT * cols.len()..].chunks_exact(cols.len());
        let groups = core.masks.iter_mut().zip(core.values.chunks_exact_mut(n));
        let of_rows = rows.flat_map(|row| row.chunks_exact(m).zip(scores.chunks_exact(m).zip(roots.chunks_exact(m))));
        for ((mask, values), (group, (scores, roots))) in groups.zip(of_rows) {
            let rank =
                |(&value, score): (&f32, &ColumnScore)| EntryRank::new(score.is_live, f64::from(value) * score.scale);
            *mask = largest(n, group.iter().zip(scores).map(rank));
            for (value, column) in values.iter_mut().zip(columns(*mask)) {
                *value = (f64::from(group[column]) / roots[column]) as f32;
            }
        }
    });
}

/// Mask of the `n` entries of highest rank, the first ones where they tie.
pub(super) fn largest(n: usize, of_group: impl Iterator<Item = EntryRank>) -> u8 {
    const LAST: EntryRank = EntryRank(f64::NEG_INFINITY);
    let mut ranks = [LAST; Pattern::MAX_M];
    for (rank, entry) in ranks.iter_mut().zip(of_group) {
        *rank = entry;
    }
    let mut mask = 0;
    for _ in 0..n {
        let mut best = 0;
        for (column, rank) in ranks.iter().enumerate() {
            if *rank > ranks[best] {
                best = column;
            }
        }
        mask |= 1 << best;
        ranks[best] = LAST;
    }
    mask
}
