//! The least-squares problems of all blocks of one wrapper, as their normal equations.

use rayon::prelude::*;

use crate::factors::partition::Partition;
use crate::factors::sparse_core::SparseCore;
use crate::kernels::elementwise::add_terms;
use crate::kernels::linalg::{add_gram, add_product, mirror_lower, rows_of, set_product_transposed};
use crate::kernels::scratch::with_scratch;
use crate::problem::state::State;
use crate::problem::wrappers::Wrappers;

/// Terms of the equations of every block, summed up over runs of block products.
///
/// The left wrapper's block solves A_a (Σ_b T_ab T_abᵀ) = Σ_b Y_ab T_abᵀ with T_ab = S_ab B̃_b; the right one's
/// (Σ_a U_abᵀ U_ab) B̃_b = Σ_a U_abᵀ Y_ab with U_ab = A_a S_ab. The sum in brackets is called `gram`, the other `rhs`.
#[derive(Clone, Debug, Default)]
pub(super) struct NormalEquations {
    /// Gram (lower triangle), then rhs, [block][run][2][n × n] for blocks of n, the last one shorter.
    terms: Vec<f32>,
    layout: TermLayout,
}

#[derive(Clone, Copy, Debug, Default)]
struct TermLayout {
    /// Rows of a block but the last.
    block: usize,
    runs: usize,
}

impl TermLayout {
    fn new(blocks: Partition, across: Partition) -> Self {
        let run = RUN * (blocks.block / across.block).max(1);
        TermLayout { block: blocks.block, runs: across.count().div_ceil(run) }
    }

    fn run_len(self) -> usize {
        2 * self.block * self.block
    }
}

/// Square block products that are added up in f32 before their sum goes to f64. Runs of narrow blocks have more of
/// them, so that all terms together never take more than a quarter of the weight's memory, or one block's each.
const RUN: usize = 8;

/// Blocks that are stacked up for one product: enough rows for the product to be efficient, few enough for the
/// second-level cache.
fn stack(blocks: Partition) -> usize {
    const ROWS: usize = 512;
    (ROWS / blocks.block).clamp(1, RUN)
}

/// The products of one run, as even as can be: `count` products in `runs` runs.
fn run_range(run: usize, runs: usize, count: usize) -> std::ops::Range<usize> {
    run * count / runs..(run + 1) * count / runs
}

impl NormalEquations {
    /// Forms the equations of the left wrapper's blocks.
    pub fn of_left(&mut self, state: &State<'_>) {
        let target = state.target();
        let (rows, cols) = (target.row_blocks(), target.col_blocks());
        self.layout = TermLayout::new(rows, cols);
        self.terms.resize(rows.count() * self.layout.runs * self.layout.run_len(), 0.0);
        let runs = self.layout.runs;
        self.terms.par_chunks_mut(self.layout.run_len()).enumerate().for_each(|(index, terms)| {
            let (a, run) = (index / runs, index % runs);
            let p = rows.size(a);
            let (gram, rhs) = gram_and_rhs(terms, p);
            let lengths = [p * cols.block, p * cols.block * stack(cols)];
            with_scratch(lengths, |[dense, stacked]| {
                let mut run = run_range(run, runs, cols.count());
                while !run.is_empty() {
                    let blocks = run.start..run.end.min(run.start + stack(cols));
                    run.start = blocks.end;
                    // Tᵀ, q × p, for several blocks: all products below run faster on it.
                    let mut filled = 0;
                    for b in blocks {
                        let q = cols.size(b);
                        let (dense, transposed) = (&mut dense[..p * q], &mut stacked[filled..filled + p * q]);
                        filled += p * q;
                        state.core().expand(b, rows.range(a), dense);
                        set_product_transposed(transposed, rows_of(dense, q), rows_of(state.right().values(b), q));
                        add_product(rhs, rows_of(target.blocks(a..a + 1, b), q), rows_of(transposed, p));
                    }
                    add_gram(gram, rows_of(&stacked[..filled], p));
                }
            });
        });
    }

    /// Forms the equations of the right wrapper's blocks; leaves A S in the state.
    pub fn of_right(&mut self, state: &mut State<'_>) {
        let (rows, cols) = (state.target().row_blocks(), state.target().col_blocks());
        self.layout = TermLayout::new(cols, rows);
        let TermLayout { runs, .. } = self.layout;
        let run_len = self.layout.run_len();
        self.terms.resize(cols.count() * runs * run_len, 0.0);
        state.fill_left_product(|wrappers, core, product| {
            let panels = product.par_chunks_mut(rows.len * cols.block);
            let terms = self.terms.par_chunks_mut(runs * run_len);
            terms.zip(panels).enumerate().for_each(|(b, (terms, panel))| {
                let pieces = pieces_of_runs(panel, runs, rows, cols.size(b));
                terms.par_chunks_mut(run_len).zip(pieces).enumerate().for_each(|(run, (terms, piece))| {
                    let first = rows.start(run_range(run, runs, rows.count()).start);
                    right_run(wrappers, core, b, first, terms, piece);
                });
            });
        });
    }

    /// Sums up the equations of block `index`, of size n, in f64: gram and rhs, both n × n, row-major.
    pub fn sum(&self, index: usize, n: usize, gram: &mut [f64], rhs: &mut [f64]) {
        gram.fill(0.0);
        rhs.fill(0.0);
        let len = self.layout.runs * self.layout.run_len();
        for terms in self.terms[index * len..(index + 1) * len].chunks_exact(self.layout.run_len()) {
            add_terms(gram, &terms[..n * n]);
            add_terms(rhs, &terms[n * n..2 * n * n]);
        }
        mirror_lower(gram, n);
    }
}

/// Cuts a panel of A S, `q` wide, into the rows of every run.
fn pieces_of_runs(panel: &mut [f32], runs: usize, rows: Partition, q: usize) -> Vec<&mut [f32]> {
    let mut pieces = Vec::with_capacity(runs);
    let mut rest = panel;
    for run in 0..runs {
        let range = run_range(run, runs, rows.count());
        let height = rows.range(range.end - 1).end - rows.start(range.start);
        let (piece, after) = rest.split_at_mut(height * q);
        pieces.push(piece);
        rest = after;
    }
    pieces
}

/// Forms one run's terms for block `b` of the right wrapper, and the run's rows of A S, which start at row `first`.
fn right_run(
    wrappers: Wrappers<'_>,
    core: &SparseCore,
    b: usize,
    first: usize,
    terms: &mut [f32],
    product: &mut [f32],
) {
    let (rows, q) = (wrappers.target.row_blocks(), wrappers.target.col_blocks().size(b));
    let (gram, rhs) = gram_and_rhs(terms, q);
    let mut start = first;
    with_scratch([rows.block * q], |[dense]| {
        for stacked in product.chunks_mut(rows.block * q * stack(rows)) {
            for (i, product) in stacked.chunks_mut(rows.block * q).enumerate() {
                let dense = &mut dense[..product.len()];
                let a = start / rows.block + i;
                core.expand(b, rows.range(a), dense);
                wrappers.multiply_left(a, dense, product);
            }
            let height = stacked.len() / q;
            let values = rows_of(&wrappers.target.panel(b)[start * q..(start + height) * q], q);
            add_gram(gram, rows_of(stacked, q));
            add_product(rhs, rows_of(stacked, q).transpose(), values);
            start += height;
        }
    });
}

/// The two parts of a run's terms for a block of size n, zeroed.
fn gram_and_rhs(terms: &mut [f32], n: usize) -> (&mut [f32], &mut [f32]) {
    let (gram, rhs) = terms[..2 * n * n].split_at_mut(n * n);
    gram.fill(0.0);
    rhs.fill(0.0);
    (gram, rhs)
}
