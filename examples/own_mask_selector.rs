//! A mask selector of one's own: the relative importance of every weight in its row and column.
//!
//! A weight scores (|W_ij| / Σ_i |W_ij| + |W_ij| / Σ_j |W_ij|) · d_j^¼, d_j the mean square of input j: large weights
//! of small rows and columns are kept too, which spreads the pruned weights over all channels. Each group keeps the N
//! entries of highest score.
//!
//! `cargo run --release --example own_mask_selector`

use armor_core::{BoxError, Descent, Error, Hessian, Layer, MaskSelector, Options, State};
use ndarray::{Array1, Array2, Axis};

struct RelativeImportance;

impl MaskSelector for RelativeImportance {
    fn select(&mut self, state: &mut State<'_>) -> Result<(), BoxError> {
        let target = state.target();
        let importance = target.hessian().importance();
        let (n, m) = (target.pattern().n(), target.pattern().m());
        let magnitude = Array2::from_shape_fn((target.rows(), target.cols()), |(i, j)| target.weight(i, j).abs());
        let of_rows = magnitude.sum_axis(Axis(1));
        let of_cols = magnitude.sum_axis(Axis(0));
        for row in 0..target.rows() {
            for group in 0..target.cols() / m {
                let score = |j: usize| {
                    let relative = magnitude[[row, j]] / of_rows[row] + magnitude[[row, j]] / of_cols[j];
                    relative * importance[j].powf(0.25)
                };
                let mut columns: Vec<usize> = (0..m).collect();
                columns.sort_by(|&a, &b| score(group * m + b).total_cmp(&score(group * m + a)));
                columns.truncate(n);
                columns.sort_unstable();
                let mask = columns.iter().fold(0, |mask, column| mask | 1 << column);
                let values: Vec<f32> = columns.iter().map(|j| target.normalized(row, group * m + j)).collect();
                state.core_mut().set_group(row, group, mask, &values)?;
            }
        }
        Ok(())
    }
}

fn main() -> Result<(), Error> {
    let weight = Array2::from_shape_fn((64, 128), |(i, j)| ((37 * i + 11 * j + i * j) % 101) as f32 / 50.0 - 1.0);
    let squares = Array1::from_shape_fn(128, |j| 1.0 + (j % 7) as f32);
    let layer = Layer::new(&weight, Hessian::from_diagonal(&squares)?)?;
    let options = Options::exact().block(16).iterations(60);
    let pruned = Descent::new(&options)?.initial_mask(RelativeImportance).prune(&layer)?;
    let factorized = Descent::new(&options)?.initial_mask(RelativeImportance).run(&layer)?;
    println!("NoWag-P, pruned               {:.6}", pruned.nowag_p_loss());
    println!("relative importance, pruned   {:.6}", pruned.loss());
    println!("factorised from there         {:.6}", factorized.loss());
    Ok(())
}
