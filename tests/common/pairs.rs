//! Twins of the calibration on pairs: token by token, or dense and f64 from the formulas.

use ndarray::{Array2, ArrayView2, Axis, concatenate};

use super::{Mat, Random, solve};

/// Inputs of a layer in the dense model and in the compressed one, a row for each token.
#[derive(Clone)]
pub struct Pairs {
    pub dense: Array2<f32>,
    pub compressed: Array2<f32>,
}

impl Pairs {
    /// Correlated inputs of different strength, which the compressed model damps, mixes and disturbs by `drift`.
    pub fn drifting(tokens: usize, inputs: usize, drift: f64, seed: u64) -> Self {
        let mut random = Random::new(seed);
        // The layer's inputs have the same statistics whatever the seed of the tokens is.
        let mut layer = Random::new(0x1a_7e12);
        let scales: Vec<f64> = (0..inputs).map(|_| (0.5 * layer.normal()).exp()).collect();
        let damping: Vec<f64> = (0..inputs).map(|_| layer.uniform()).collect();
        let (mut dense, mut compressed) = (Mat::zeros((tokens, inputs)), Mat::zeros((tokens, inputs)));
        for token in 0..tokens {
            let shared = random.normal();
            for j in 0..inputs {
                dense[[token, j]] = scales[j] * (0.6 * shared + random.normal() + (j % 3) as f64);
            }
            for j in 0..inputs {
                let x = dense[[token, j]];
                let other = dense[[token, (j + 1) % inputs]];
                let noise = 0.3 * scales[j] * random.normal();
                compressed[[token, j]] = x + drift * (0.5 * other - damping[j] * x + noise);
            }
        }
        Pairs { dense: dense.mapv(|x| x as f32), compressed: compressed.mapv(|x| x as f32) }
    }

    /// Small whole numbers, all of whose moments f32 holds exactly where the number of tokens is a small power of two.
    pub fn whole(tokens: usize, inputs: usize, seed: u64) -> Self {
        let mut random = Random::new(seed);
        let mut number = |span: f64| ((random.uniform() - 0.5) * span).round() as f32;
        let dense = Array2::from_shape_fn((tokens, inputs), |_| number(8.0));
        let compressed = Array2::from_shape_fn((tokens, inputs), |(t, j)| {
            let other = dense[[t, (j + 1) % inputs]];
            dense[[t, j]] + if t % 3 == 0 { other } else { number(3.0) }
        });
        Pairs { dense, compressed }
    }

    pub fn inputs(&self) -> usize {
        self.dense.ncols()
    }

    pub fn tokens(&self) -> usize {
        self.dense.nrows()
    }

    /// E[z zᵀ] with z = (x − x̂, x̂), 2k × 2k.
    pub fn stacked(&self) -> Mat {
        let (dense, compressed) = (self.dense.mapv(f64::from), self.compressed.mapv(f64::from));
        let z = concatenate(Axis(1), &[(&dense - &compressed).view(), compressed.view()]).expect("of one height");
        z.t().dot(&z) / self.tokens() as f64
    }

    /// Ĥ = E[x̂ x̂ᵀ].
    pub fn hessian(&self) -> Mat {
        let compressed = self.compressed.mapv(f64::from);
        compressed.t().dot(&compressed) / self.tokens() as f64
    }

    /// Δ = E[(x − x̂) x̂ᵀ].
    pub fn cross(&self) -> Mat {
        let (dense, compressed) = (self.dense.mapv(f64::from), self.compressed.mapv(f64::from));
        (dense - &compressed).t().dot(&compressed) / self.tokens() as f64
    }

    /// E‖W x‖².
    pub fn energy(&self, weight: &Mat) -> f64 {
        self.dense.mapv(f64::from).dot(&weight.t()).iter().map(|y| y * y).sum::<f64>() / self.tokens() as f64
    }

    /// E‖W x − Ŵ x̂‖² / E‖W x‖², token by token.
    pub fn output_error(&self, weight: &Mat, replaced: &ArrayView2<'_, f32>) -> f64 {
        let expected = self.dense.mapv(f64::from).dot(&weight.t());
        let found = self.compressed.mapv(f64::from).dot(&replaced.mapv(f64::from).t());
        let squares = |values: &Mat| values.iter().map(|y| y * y).sum::<f64>();
        squares(&(&expected - &found)) / squares(&expected)
    }

    /// W + γ W Δ (Ĥ + λI)⁻¹ with λ relative to the mean of Ĥ's diagonal.
    pub fn corrected(&self, weight: &Mat, strength: f64, ridge: f64) -> Mat {
        let mut hessian = self.hessian();
        let mean = hessian.diag().mean().expect("not empty");
        hessian.diag_mut().mapv_inplace(|entry| entry + ridge * mean);
        let change = solve(&hessian, &weight.dot(&self.cross()).t().to_owned());
        weight + &(strength * &change.t())
    }
}
