//! What a sweep keeps from one update to the next: Gram matrices and tables of the wrappers.

use std::time::Duration;

use rayon::prelude::*;

use crate::descent::core_update::group_tables::{GroupTables, Ridge};
use crate::kernels::instructions::InstructionSet;
use crate::kernels::linalg::{rows_of, set_product};
use crate::problem::target::Target;
use crate::problem::wrappers::Wrappers;

/// Ridge of the group solves: the square root of f32's precision would bias values, this only breaks ties.
const RIDGE: Ridge = Ridge { relative: 1e-6, absolute: 0.0 };

/// Time of the last update by its parts, added up over the threads.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct SweepTimes {
    /// The loss's gradient: products.
    pub gradient: Duration,
    /// Random numbers, group solves and what they change, products with the rows below included.
    pub sweep: Duration,
}

impl SweepTimes {
    /// Adds the times of two parts of an update.
    pub fn and(self, other: SweepTimes) -> SweepTimes {
        SweepTimes { gradient: self.gradient + other.gradient, sweep: self.sweep + other.sweep }
    }
}

/// What all blocks of one column panel share.
#[derive(Clone, Debug)]
pub(super) struct PanelTables {
    /// Q, q × q.
    pub gram: Vec<f32>,
    pub groups: GroupTables,
}

impl PanelTables {
    /// Computes the tables of the groups from Q.
    pub fn prepare_groups(&mut self, q: usize) {
        self.groups.prepare(&self.gram, q, RIDGE);
    }
}

/// Gram matrices and tables, and the instructions that a sweep runs on.
#[derive(Clone, Debug)]
pub(super) struct SweepWorkspace {
    pub instructions: InstructionSet,
    /// P_a = A_aᵀ A_a, block after block as A is stored.
    pub left_grams: Vec<f32>,
    pub panels: Vec<PanelTables>,
    pub times: SweepTimes,
}

impl SweepWorkspace {
    pub fn new(instructions: InstructionSet) -> Self {
        SweepWorkspace { instructions, left_grams: Vec::new(), panels: Vec::new(), times: SweepTimes::default() }
    }

    /// Computes P_a = A_aᵀ A_a of every block, and makes one entry of `panels` for every column panel.
    pub fn prepare_left(&mut self, wrappers: Wrappers<'_>) {
        let left = wrappers.left;
        let p = left.block_size();
        self.fit_panels(wrappers.target);
        self.left_grams.resize(left.data().len(), 0.0);
        self.left_grams.par_chunks_mut(p * p).enumerate().for_each(|(a, gram)| {
            let block = rows_of(left.values(a), left.partition().size(a));
            set_product(gram, block.transpose(), block);
        });
    }

    /// Computes Q_b = B̃_b B̃_bᵀ and the tables of every panel, for a separable loss.
    pub fn prepare_right(&mut self, wrappers: Wrappers<'_>) {
        let right = wrappers.right;
        self.panels.par_iter_mut().enumerate().for_each(|(b, panel)| {
            let q = right.partition().size(b);
            let block = rows_of(right.values(b), q);
            panel.gram.resize(q * q, 0.0);
            set_product(&mut panel.gram, block, block.transpose());
            panel.prepare_groups(q);
        });
    }

    fn fit_panels(&mut self, target: &Target) {
        let pattern = target.pattern();
        if self.panels.first().is_some_and(|panel| panel.groups.pattern() != pattern) {
            self.panels.clear();
        }
        let new = || PanelTables { gram: Vec::new(), groups: GroupTables::new(pattern) };
        self.panels.resize_with(target.col_blocks().count(), new);
    }
}
