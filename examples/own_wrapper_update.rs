//! A wrapper update of one's own: wrappers that only rotate.
//!
//! With the core fixed, the orthogonal A_a that is nearest to Y_a ≈ A_a T_a, T = S B̃, is the polar factor of Y_a T_aᵀ
//! (the orthogonal Procrustes problem); and of B̃_b = diag(√d) R_b the orthogonal R_b is that of (U_b diag(√d))ᵀ Y_b,
//! U = A S. Rotations have a condition number of 1: products with them amplify no rounding error.
//!
//! `cargo run --release --example own_wrapper_update`

use armor_core::{BoxError, Descent, Error, Hessian, Layer, Options, State, Step, WrapperUpdate, factorize};
use ndarray::{Array1, Array2, s};

struct Rotations;

impl WrapperUpdate for Rotations {
    fn update(&mut self, state: &mut State<'_>, _step: &Step) -> Result<(), BoxError> {
        let target = state.target();
        if target.coupling().is_some() {
            return Err("rotations are for separable losses only".into());
        }
        let (rows, cols) = (target.row_blocks(), target.col_blocks());
        let core = state.core().to_dense();
        for a in 0..rows.count() {
            let mut sum = Array2::zeros((rows.size(a), rows.size(a)));
            for b in 0..cols.count() {
                let t = core.slice(s![rows.range(a), cols.range(b)]).dot(&state.right().block(b));
                sum += &target.block(a, b).dot(&t.t());
            }
            state.left_mut().block_mut(a).assign(&polar_factor(sum));
        }
        for b in 0..cols.count() {
            let roots = target.roots()[cols.range(b)].iter().map(|&root| root as f32);
            let scale = Array2::from_diag(&Array1::from_iter(roots));
            let mut sum = Array2::zeros((cols.size(b), cols.size(b)));
            for a in 0..rows.count() {
                let u = state.left().block(a).dot(&core.slice(s![rows.range(a), cols.range(b)]));
                sum += &u.dot(&scale).t().dot(&target.block(a, b));
            }
            state.right_mut().block_mut(b).assign(&scale.dot(&polar_factor(sum)));
        }
        Ok(())
    }

    /// Each rotation is the best one for the other factors, and depends on nothing else.
    fn is_monotone(&self) -> bool {
        true
    }

    fn allows_extrapolation(&self) -> bool {
        true
    }
}

/// The orthogonal factor Q of X = Q P, by Newton-Schulz: Q ← 1.5 Q − 0.5 Q Qᵀ Q from X / ‖X‖_F.
fn polar_factor(matrix: Array2<f32>) -> Array2<f32> {
    let norm = matrix.iter().map(|x| x * x).sum::<f32>().sqrt().max(f32::MIN_POSITIVE);
    let mut q = matrix / norm;
    for _ in 0..40 {
        q = 1.5 * &q - 0.5 * q.dot(&q.t()).dot(&q);
    }
    q
}

fn main() -> Result<(), Error> {
    let weight = Array2::from_shape_fn((64, 128), |(i, j)| ((37 * i + 11 * j + i * j) % 101) as f32 / 50.0 - 1.0);
    let layer = Layer::new(&weight, Hessian::identity(128))?;
    let options = Options::exact().block(16).iterations(60);
    let free = factorize(&layer, &options)?;
    let rotated = Descent::new(&options)?.wrapper_update(Rotations).run(&layer)?;
    println!("NoWag-P         {:.6}", rotated.nowag_p_loss());
    println!("rotations       {:.6}", rotated.loss());
    println!("least squares   {:.6}", free.loss());
    Ok(())
}
