//! Initial masks: what is kept before any wrapper exists.

use crate::mask::MaskSelector;
use crate::{Error, State, Step};

/// NoWag-P, the paper's starting point (section 3): keeps the N largest W̄_ij² d_j of every M, with the values W̄_ij.
#[derive(Clone, Copy, Debug, Default)]
pub struct NoWagP;

/// Keeps the N largest |W_ij| of every M, whatever the inputs are, with the values W̄_ij.
#[derive(Clone, Copy, Debug, Default)]
pub struct Magnitude;

impl MaskSelector for NoWagP {
    fn select(&mut self, state: &mut State<'_>, _step: &Step) -> Result<(), Error> {
        let target = state.target();
        keep_largest(state, |row, col| target.whitened(row, col).abs())
    }
}

impl MaskSelector for Magnitude {
    fn select(&mut self, state: &mut State<'_>, _step: &Step) -> Result<(), Error> {
        let target = state.target();
        let columns = &target.normalization().cols;
        keep_largest(state, |row, col| (f64::from(target.normalized(row, col)) * columns[col]).abs() as f32)
    }
}

/// Keeps the N entries of largest score in every group, the first ones where scores tie.
fn keep_largest(state: &mut State<'_>, score: impl Fn(usize, usize) -> f32) -> Result<(), Error> {
    let target = state.target();
    let (n, m) = (target.pattern().n(), target.pattern().m());
    let mut order: Vec<usize> = Vec::with_capacity(m);
    for row in 0..target.rows() {
        for group in 0..target.cols() / m {
            let start = group * m;
            order.clear();
            order.extend(0..m);
            order.sort_by(|&i, &j| score(row, start + j).total_cmp(&score(row, start + i)));
            order.truncate(n);
            order.sort_unstable();
            let mask = order.iter().fold(0u8, |mask, j| mask | 1 << j);
            let values: [f32; 8] =
                std::array::from_fn(|slot| order.get(slot).map_or(0.0, |j| target.normalized(row, start + j)));
            state.core_mut().set_group(row, group, mask, &values[..n])?;
        }
    }
    Ok(())
}
