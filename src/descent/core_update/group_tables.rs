//! The exact solution of one group of the core, for every mask that the pattern allows.

use crate::factors::groups::columns;
use crate::factors::pattern::Pattern;

/// Diagonal ridge of the N × N solves relative to each diagonal entry of Q, and an absolute one.
#[derive(Clone, Copy, Debug)]
pub(super) struct Ridge {
    pub relative: f64,
    pub absolute: f64,
}

/// All masks of a pattern and, for every group of a column panel, the inverses (Q_mm)⁻¹ they need.
///
/// With the other groups fixed, the loss of group values s is P_rr sᵀ Q s − 2 hᵀ s + const; the best values on a
/// mask are s = Q_mm⁻¹ h_m / P_rr, and they lower the loss by h_mᵀ Q_mm⁻¹ h_m / P_rr.
#[derive(Clone, Debug)]
pub(super) struct GroupTables {
    pattern: Pattern,
    masks: Vec<u8>,
    /// Columns of each mask, N a mask, ascending.
    members: Vec<usize>,
    /// Inverses, [group][mask][N × N].
    inverses: Vec<f32>,
    /// Q_gg, [group][M × M].
    grams: Vec<f32>,
}

impl GroupTables {
    /// Most masks that a pattern has: 4 of 8.
    pub const MOST_MASKS: usize = 70;

    pub fn new(pattern: Pattern) -> Self {
        let masks: Vec<u8> = (0..=u8::MAX).filter(|&mask| pattern.admits(mask)).collect();
        let members = masks.iter().flat_map(|&mask| columns(mask)).collect();
        GroupTables { pattern, masks, members, inverses: Vec::new(), grams: Vec::new() }
    }

    /// Takes the Gram matrix Q = B̃ B̃ᵀ of a panel of `q` columns, row-major.
    pub fn prepare(&mut self, gram: &[f32], q: usize, ridge: Ridge) {
        let (n, m) = (self.pattern.n(), self.pattern.m());
        self.inverses.clear();
        self.grams.clear();
        let mut inverse = [0.0; 64];
        for start in (0..q).step_by(m) {
            for i in 0..m {
                let row = (start + i) * q + start;
                self.grams.extend_from_slice(&gram[row..row + m]);
            }
            for members in self.members.chunks_exact(n) {
                invert(n, &mut inverse, |i, j| {
                    let entry = f64::from(gram[(start + members[i]) * q + start + members[j]]);
                    if i == j { entry * (1.0 + ridge.relative) + ridge.absolute } else { entry }
                });
                self.inverses.extend(inverse[..n * n].iter().map(|&x| x as f32));
            }
        }
    }

    pub fn pattern(&self) -> Pattern {
        self.pattern
    }

    pub fn masks(&self) -> &[u8] {
        &self.masks
    }

    /// Columns that mask number `index` keeps.
    #[inline(always)]
    pub fn members(&self, index: usize) -> &[usize] {
        let n = self.pattern.n();
        &self.members[index * n..(index + 1) * n]
    }

    /// Inverses of one group, N × N for each mask in turn.
    #[inline(always)]
    pub fn inverses(&self, group: usize) -> &[f32] {
        let size = self.masks.len() * self.pattern.n() * self.pattern.n();
        &self.inverses[group * size..(group + 1) * size]
    }

    /// Q_gg of one group, M × M.
    #[inline(always)]
    pub fn gram(&self, group: usize) -> &[f32] {
        let size = self.pattern.m() * self.pattern.m();
        &self.grams[group * size..(group + 1) * size]
    }
}

/// Inverts the symmetric positive semi-definite n × n matrix of `entry` by Cholesky, row-major into `inverse`.
///
/// A coordinate whose pivot vanishes (a dead column of B̃, or one that depends on those before it) gets zeros, so
/// it takes no part in the solution.
fn invert(n: usize, inverse: &mut [f64; 64], entry: impl Fn(usize, usize) -> f64) {
    const DEPENDENT: f64 = 1e-9;
    let mut lower = [[0.0; 8]; 8];
    let mut live = [true; 8];
    for j in 0..n {
        let pivot = entry(j, j) - (0..j).map(|k| lower[j][k] * lower[j][k]).sum::<f64>();
        live[j] = pivot > DEPENDENT * entry(j, j) && pivot > f64::from(f32::MIN_POSITIVE);
        let root = if live[j] { pivot.sqrt() } else { 1.0 };
        lower[j][j] = root;
        for i in j + 1..n {
            let rest = entry(i, j) - (0..j).map(|k| lower[i][k] * lower[j][k]).sum::<f64>();
            lower[i][j] = if live[j] { rest / root } else { 0.0 };
        }
        if !live[j] {
            lower[j][..j].fill(0.0);
        }
    }
    for column in 0..n {
        let mut x = [0.0; 8];
        for i in column..n {
            let unit = if i == column { 1.0 } else { 0.0 };
            x[i] = (unit - (column..i).map(|k| lower[i][k] * x[k]).sum::<f64>()) / lower[i][i];
        }
        for i in (0..n).rev() {
            x[i] = (x[i] - (i + 1..n).map(|k| lower[k][i] * x[k]).sum::<f64>()) / lower[i][i];
        }
        for i in 0..n {
            inverse[i * n + column] = if live[i] && live[column] { x[i] } else { 0.0 };
        }
    }
}
