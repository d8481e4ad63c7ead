//! Factorisations as bytes: they come back as they went, and no other bytes are taken.

use super::layer::Small;
use super::library::{Change, Kind, Library, Preset, assert_refused, assert_refused_like, done};

const NAME: &str = "model.layers.0.mlp.up_proj";

/// Writes a factorisation and reads it again.
fn there_and_back<L: Library>(factorization: &L::Factorization) {
    let bytes = L::to_bytes(factorization, NAME);
    // Bytes need no alignment.
    let shifted: Vec<u8> = std::iter::once(0).chain(bytes.iter().copied()).collect();
    for bytes in [&bytes[..], &shifted[1..]] {
        let read = done(L::from_bytes(bytes, NAME));
        L::parts(&read).assert_same_bits(&L::parts(factorization));
        assert_eq!(L::seconds(&read), 0.0);
        assert_eq!(L::to_bytes(&read, NAME), bytes);
    }
}

pub fn they_come_back_as_they_went<L: Library>() {
    let small = Small::new();
    let factorization = small.factorized::<L>();
    assert_eq!(L::to_bytes(&factorization, NAME), small.in_rust().to_safetensors(NAME).expect("fits"));
    there_and_back::<L>(&factorization);
}

pub fn every_kind_of_factorisation_comes_back<L: Library>() {
    let cases: [(Preset, &[Change]); 5] = [
        (Preset::Exact, &[Change::LeftBlock(5), Change::RightBlock(12), Change::Iterations(6)]),
        (Preset::Exact, &[Change::Pattern(3, 8), Change::LeftBlock(16), Change::RightBlock(16), Change::Iterations(2)]),
        (Preset::Paper, &[Change::Pattern(1, 2), Change::LeftBlock(6), Change::RightBlock(6), Change::Iterations(3)]),
        (Preset::Exact, &[Change::LeftBlock(4), Change::Iterations(5), Change::TimeBudget(1e-300)]),
        (Preset::Exact, &[Change::Temperature(0.0), Change::Tolerance(0.9), Change::Patience(1)]),
    ];
    let mut reasons = Vec::new();
    for (preset, changes) in cases {
        let factorization = done(L::factorize(&Small::new().input(), &L::changed(preset, changes)));
        reasons.push(L::parts(&factorization).stop_reason);
        there_and_back::<L>(&factorization);
    }
    assert_eq!(reasons, ["iterations", "iterations", "iterations", "time_budget", "converged"]);
}

pub fn equal_factorisations_are_equal_bytes<L: Library>() {
    let bytes = || L::to_bytes(&Small::new().factorized::<L>(), NAME);
    let first = bytes();
    for _ in 0..8 {
        assert_eq!(bytes(), first);
    }
}

pub fn bytes_that_hold_none<L: Library>() {
    let bytes = L::to_bytes(&Small::new().factorized::<L>(), NAME);
    let message = "bytes: another.armor.core.shape: no such tensor";
    assert_refused(L::from_bytes(&bytes, "another"), Kind::Bytes, message);
    let cut = L::from_bytes(&bytes[..bytes.len() - 1], NAME);
    assert_refused_like(cut, Kind::Bytes, "bytes: header: describes ");
    let message = "bytes: header: cut off: the file ends at byte 4, before byte 8";
    assert_refused(L::from_bytes(b"GGUF", NAME), Kind::Bytes, message);
}
