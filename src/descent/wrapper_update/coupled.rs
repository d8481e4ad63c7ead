//! The exact wrapper update where errors couple: all blocks of A at once, those of B̃ one after the other.

use rayon::prelude::*;

use crate::descent::wrapper_update::solution::write_solution;
use crate::factors::block_diagonal::BlockDiagonal;
use crate::kernels::elementwise::add_terms;
use crate::kernels::linalg::{
    Unknown, add_gram, add_product, mirror_lower, part_of, rows_of, set_product, solve_proximal,
};
use crate::kernels::scratch::with_scratch_f64;
use crate::problem::coupling::Coupling;
use crate::problem::coupling::products::TimesV;
use crate::problem::state::{SplitState, State};
use crate::problem::wrappers::Wrappers;

/// Products of this many columns are added up in f32 before their sum goes to f64.
const RUN: usize = 512;

/// Proximal ridge of Ω_bb: what it bounds is the rounding noise that Ω_bb⁻¹ amplifies, not the solution.
const CORRELATION_RIDGE: f64 = 1e-5;

/// Proximal ridge of U_bᵀ U_b.
const GRAM_RIDGE: f64 = 1e-6;

/// Solves for A: with T = S V each block is A_a = ((Y L)_a T_aᵀ)(T_a T_aᵀ)⁻¹.
pub(super) fn update_left(state: &mut State<'_>, coupling: &Coupling) {
    let SplitState { target, left, core, right, workspace } = state.split();
    workspace.fill(0.0);
    coupling.add_times_v(TimesV::Core, Wrappers::new(target, left, right), core, workspace);
    let product = &*workspace;
    left.par_blocks_mut().enumerate().for_each(|(a, block)| {
        let rows = target.row_blocks().range(a);
        let (k, p) = (coupling.cols().len, rows.len());
        with_scratch_f64([p * p; 5], |[gram, rhs, current, shifted, solution]| {
            gram.fill(0.0);
            rhs.fill(0.0);
            let mut sums = vec![0.0f32; 2 * p * p];
            for start in (0..k).step_by(RUN) {
                let run = start..k.min(start + RUN);
                let factor = coupling.part(product, rows.clone(), run.clone()).transpose();
                sums.fill(0.0);
                let (gram_sum, rhs_sum) = sums.split_at_mut(p * p);
                add_gram(gram_sum, factor);
                add_product(rhs_sum, coupling.part(coupling.whitened(), rows.clone(), run), factor);
                add_terms(gram, gram_sum);
                add_terms(rhs, rhs_sum);
            }
            mirror_lower(gram, p);
            write_solution(block, gram, rhs, Unknown::LeftOfGram, [current, shifted, solution]);
        });
    });
}

/// Solves for the blocks of B̃ in turn, each with those before it already moved: with U = A S and R the residual,
/// ΔB̃_b = (U_bᵀ U_b)⁻¹ U_bᵀ (R Ω)_b Ω_bb⁻¹.
///
/// The residual itself is not formed: U_bᵀ (R Ω)_b = U_bᵀ (Y Ω)_b − Σ_c (Uᵀ U)_bc B̃_c Ω_cb, so what changes with B̃ is
/// q × q, and no pass over m rows is needed between blocks.
pub(super) fn update_right(state: &mut State<'_>, coupling: &Coupling) {
    let SplitState { target, left, core, right, workspace } = state.split();
    coupling.write_left_product(Wrappers::new(target, left, right), core, workspace);
    let product = &*workspace;
    let right_hand_sides = right_hand_sides(coupling, product);
    let k = coupling.cols().len;
    let mut grams = Vec::new();
    for tile in coupling.tiles().iter() {
        // (Uᵀ U) in the tile's columns, k × width.
        grams.resize(k * tile.len(), 0.0);
        grams.par_chunks_mut(coupling.cols().block * tile.len()).enumerate().for_each(|(c, out)| {
            let rows = 0..target.rows();
            let of_c = coupling.part(product, rows.clone(), coupling.cols().range(c));
            set_product(out, of_c.transpose(), coupling.part(product, rows, tile.clone()));
        });
        for b in coupling.tiles().blocks_of(&tile) {
            let grams = Grams { values: &grams, width: tile.len(), first: coupling.cols().start(b) - tile.start };
            move_block(coupling, right, b, &right_hand_sides[b], grams);
        }
    }
}

/// U_bᵀ (Y Ω)_b of every block, in f64.
fn right_hand_sides(coupling: &Coupling, product: &[f32]) -> Vec<Vec<f64>> {
    let rows = coupling.bands().blocks.len;
    (0..coupling.cols().count())
        .into_par_iter()
        .map(|b| {
            let cols = coupling.cols().range(b);
            let mut sum = vec![0.0; cols.len() * cols.len()];
            let mut term = vec![0.0; sum.len()];
            for start in (0..rows).step_by(RUN) {
                let run = start..rows.min(start + RUN);
                let of_b = coupling.part(product, run.clone(), cols.clone());
                set_product(&mut term, of_b.transpose(), coupling.part(coupling.weighted(), run, cols.clone()));
                add_terms(&mut sum, &term);
            }
            sum
        })
        .collect()
}

/// (Uᵀ U) of all columns with those of one block, which start at column `first` of `width`.
#[derive(Clone, Copy)]
struct Grams<'a> {
    values: &'a [f32],
    width: usize,
    first: usize,
}

/// Adds ΔB̃_b to one block.
fn move_block(coupling: &Coupling, right: &mut BlockDiagonal, b: usize, rhs: &[f64], grams: Grams<'_>) {
    let cols = coupling.cols();
    let (k, q) = (cols.len, cols.size(b));
    let mut correlations = vec![0.0f32; q * k];
    correlations.par_chunks_mut(k).zip(cols.range(b)).for_each(|(out, row)| {
        out.iter_mut().zip(coupling.row(row)).for_each(|(out, value)| *out = value as f32);
    });
    let of_b =
        |c: usize| part_of(&grams.values[cols.start(c) * grams.width + grams.first..], cols.size(c), q, grams.width);
    // (Uᵀ U)_bc B̃_c Ω_cb of every c.
    let terms: Vec<Vec<f32>> = (0..cols.count())
        .into_par_iter()
        .map(|c| {
            let size = cols.size(c);
            let (mut half, mut term) = (vec![0.0; size * q], vec![0.0; q * q]);
            let correlations = part_of(&correlations[cols.start(c)..], q, size, k);
            set_product(&mut half, rows_of(right.values(c), size), correlations.transpose());
            set_product(&mut term, of_b(c).transpose(), rows_of(&half, q));
            term
        })
        .collect();
    let mut rest = rhs.to_vec();
    for term in &terms {
        rest.iter_mut().zip(term).for_each(|(rest, &term)| *rest -= f64::from(term));
    }
    let gram = square(q, |i, j| grams.values[(cols.start(b) + i) * grams.width + grams.first + j]);
    let correlation = square(q, |i, j| correlations[i * k + cols.start(b) + j]);
    let zero = vec![0.0; q * q];
    let (mut shifted, mut half, mut step) = (zero.clone(), zero.clone(), zero.clone());
    let of_gram = [&mut shifted[..], &mut half];
    if !solve_proximal(&gram, &rest, &zero, Unknown::RightOfGram, GRAM_RIDGE, of_gram) {
        return;
    }
    let of_correlation = [&mut shifted[..], &mut step];
    if solve_proximal(&correlation, &half, &zero, Unknown::LeftOfGram, CORRELATION_RIDGE, of_correlation) {
        let mut block = right.block_mut(b);
        block.iter_mut().zip(&step).for_each(|(value, step)| *value = (f64::from(*value) + step) as f32);
    }
}

/// A q × q matrix in f64, row-major.
fn square(q: usize, entry: impl Fn(usize, usize) -> f32) -> Vec<f64> {
    (0..q * q).map(|at| entry(at / q, at % q).into()).collect()
}
