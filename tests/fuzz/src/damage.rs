//! Bytes that are sound but for some damage.

use arbitrary::Arbitrary;

#[derive(Arbitrary, Debug)]
pub struct Damage {
    flips: Vec<(u16, u8)>,
    cut: u8,
}

impl Damage {
    pub fn is_none(&self) -> bool {
        self.flips.is_empty() && self.cut() == 0
    }

    pub fn applied_to(&self, bytes: &[u8]) -> Vec<u8> {
        let mut bytes = bytes.to_vec();
        for &(at, flip) in &self.flips {
            let at = usize::from(at) % bytes.len();
            bytes[at] ^= flip;
        }
        bytes.truncate(bytes.len() - self.cut());
        bytes
    }

    /// Bytes that are missing at the end, mostly none.
    fn cut(&self) -> usize {
        usize::from(self.cut).saturating_sub(128)
    }
}
