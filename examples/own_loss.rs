//! A loss of one's own: tr((W − Ŵ) M (W − Ŵ)ᵀ) for any positive semi-definite M, k × k.
//!
//! M here is the mean of the Hessians of two texts, however many tokens each has: the layer is to serve both.
//!
//! `cargo run --release --example own_loss`

use armor_core::{
    BoxError, Correlation, Descent, Error, Hessian, HessianAccumulator, HessianKind, Layer, Normalization, Options,
    ProxyLoss,
};
use ndarray::Array2;

struct WeightedError {
    matrix: Hessian,
}

impl ProxyLoss for WeightedError {
    /// M's diagonal as importances, and neither row nor column scales.
    fn normalize(&self, layer: &Layer<'_>) -> Result<Normalization, BoxError> {
        Ok(Normalization { importance: self.matrix.importance(), ..Normalization::plain(layer) })
    }

    /// The rest of M couples the errors at different inputs.
    fn correlation(&self, _layer: &Layer<'_>) -> Result<Option<Correlation>, BoxError> {
        Ok(Some(Correlation::new(&self.matrix, 0.0)?))
    }
}

/// The Hessian of some tokens, of which neighbouring inputs are correlated.
fn hessian(tokens: usize, seed: usize) -> Result<Hessian, Error> {
    let noise = |t: usize, j: usize| ((t * 7919 + j * 104_729 + seed * 31) % 1009) as f32 / 504.5 - 1.0;
    let activations = Array2::from_shape_fn((tokens, 64), |(t, j)| noise(t, j) + noise(t, (j + seed) % 64));
    let mut accumulator = HessianAccumulator::new(64, HessianKind::Full);
    accumulator.add(&activations)?;
    accumulator.hessian()
}

fn main() -> Result<(), Error> {
    let weight = Array2::from_shape_fn((48, 64), |(i, j)| ((37 * i + 11 * j + i * j) % 101) as f32 / 50.0 - 1.0);
    let texts = [hessian(4000, 1)?, hessian(500, 5)?];
    let entry = |text: &Hessian, i: usize, j: usize| text.row(i).map_or(0.0, |row| row[j]);
    let mean = Array2::from_shape_fn((64, 64), |(i, j)| (entry(&texts[0], i, j) + entry(&texts[1], i, j)) / 2.0);
    let both = Hessian::from_full(&mean)?;

    let layer = Layer::new(&weight, texts[0].clone())?;
    let options = Options::exact().block(16).iterations(40);
    let run =
        |matrix: &Hessian| Descent::new(&options)?.proxy_loss(WeightedError { matrix: matrix.clone() }).run(&layer);
    println!("fitted to        error on the first text   on the second");
    for (name, matrix) in [("the first text", &texts[0]), ("both texts", &both)] {
        let result = run(matrix)?;
        let second = Layer::new(&weight, texts[1].clone())?;
        println!("{name:15}  {:23.6}  {:14.6}", result.output_error(&layer)?, result.output_error(&second)?);
    }
    Ok(())
}
