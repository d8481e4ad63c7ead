//! Accumulators: means over tokens, and refusals that add nothing.

use armor_core::{HessianAccumulator, HessianKind, Weight};
use half::bf16;
use ndarray::{Array2, s};

use super::library::{Kind, Library, assert_refused, done};
use crate::common;

const INPUTS: usize = 20;

fn bits(values: &[f32]) -> Vec<u32> {
    values.iter().map(|value| value.to_bits()).collect()
}

pub fn sums_are_means_of_products<L: Library>() {
    let activations = common::weight(50, INPUTS, 3);
    let wide = common::to_f64(&activations);
    let expected = wide.t().dot(&wide) / 50.0;
    for full in [false, true] {
        let mut accumulator = L::accumulator(INPUTS, full);
        for rows in [s![..7, ..], s![7..8, ..], s![8.., ..]] {
            done(L::add(&mut accumulator, activations.slice(rows).into()));
        }
        assert_eq!(L::tokens(&accumulator), 50);
        let mean = done(L::mean(&accumulator));
        let at = |index: usize| if full { (index / INPUTS, index % INPUTS) } else { (index, index) };
        assert_eq!(mean.len(), if full { INPUTS * INPUTS } else { INPUTS });
        for (index, &found) in mean.iter().enumerate() {
            let (i, j) = at(index);
            let off = (f64::from(found) - expected[[i, j]]).abs();
            let scale = (expected[[i, i]] * expected[[j, j]]).sqrt();
            assert!(off <= 1e-6 * scale, "[{i}, {j}]: {found} is not {}", expected[[i, j]]);
        }
    }
}

pub fn sums_are_those_of_the_crate<L: Library>() {
    let activations = common::weight(50, INPUTS, 3).mapv(|x| bf16::from_f32(x).to_f32());
    let (first, rest) = (activations.slice(s![..30, ..]), activations.slice(s![30.., ..]));
    for full in [false, true] {
        let mut expected = if full {
            HessianAccumulator::new(INPUTS, HessianKind::Full)
        } else {
            HessianAccumulator::new(INPUTS, HessianKind::Diagonal)
        };
        expected.add(&first).expect("finite");
        let mut other = expected.clone();
        other.add(&rest).expect("finite");
        expected.merge(&other).expect("of one kind");

        let (mut found, mut other) = (L::accumulator(INPUTS, full), L::accumulator(INPUTS, full));
        done(L::add(&mut found, first.into()));
        done(L::add(&mut other, (&first.mapv(bf16::from_f32)).into()));
        done(L::add(&mut other, (&rest.mapv(f64::from)).into()));
        done(L::merge(&mut found, &other));
        assert_eq!((L::tokens(&found), L::tokens(&other)), (80, 50));
        assert_eq!(L::accumulator_to_bytes(&found, "layer"), expected.to_safetensors("layer").expect("fits"));
        let hessian = expected.hessian().expect("tokens");
        let mean: Vec<f32> = if full {
            (0..INPUTS).flat_map(|i| hessian.row(i).expect("full").to_vec()).collect()
        } else {
            hessian.diagonal().iter().map(|&x| x as f32).collect()
        };
        assert_eq!(bits(&done(L::mean(&found))), bits(&mean));
    }
}

pub fn what_is_refused_adds_nothing<L: Library>() {
    let mut accumulator = L::accumulator(INPUTS, true);
    let mut activations = common::weight(9, INPUTS, 3);
    done(L::add(&mut accumulator, (&activations).into()));
    let before = L::accumulator_to_bytes(&accumulator, "layer");
    for bad in [f32::NAN, f32::NEG_INFINITY, 2e18] {
        activations[[7, 5]] = bad;
        activations[[8, 0]] = f32::INFINITY;
        let message = format!("activations: entry [7, 5] is {}, expected a number within ±1e18", f64::from(bad));
        assert_refused(L::add(&mut accumulator, (&activations).into()), Kind::NotFinite, &message);
    }
    let narrow: Weight<'_> = activations.slice(s![..7, ..19]).into();
    let message = "activations: covers 19 inputs, expected 20";
    assert_refused(L::add(&mut accumulator, narrow), Kind::Shape, message);
    let message = "other: accumulates the diagonal, expected the whole matrix";
    assert_refused(L::merge(&mut accumulator, &L::accumulator(INPUTS, false)), Kind::Shape, message);
    let message = "other: covers 3 inputs, expected 20";
    assert_refused(L::merge(&mut accumulator, &L::accumulator(3, true)), Kind::Shape, message);
    assert_eq!(L::accumulator_to_bytes(&accumulator, "layer"), before);
}

pub fn no_tokens_have_no_mean<L: Library>() {
    for full in [false, true] {
        let accumulator = L::accumulator(INPUTS, full);
        assert_eq!(L::tokens(&accumulator), 0);
        assert_refused(L::mean(&accumulator), Kind::Shape, "accumulator: no tokens were added");
    }
}

pub fn they_come_back_as_they_went<L: Library>() {
    let activations: Array2<f32> = common::weight(9, INPUTS, 4);
    for full in [false, true] {
        let mut accumulator = L::accumulator(INPUTS, full);
        done(L::add(&mut accumulator, (&activations).into()));
        let bytes = L::accumulator_to_bytes(&accumulator, "layer");
        let mut read = done(L::accumulator_from_bytes(&bytes, "layer"));
        assert_eq!(L::accumulator_to_bytes(&read, "layer"), bytes);
        assert_eq!((L::tokens(&read), done(L::mean(&read))), (9, done(L::mean(&accumulator))));
        // More tokens may follow.
        done(L::add(&mut read, (&activations).into()));
        done(L::add(&mut accumulator, (&activations).into()));
        assert_eq!(L::accumulator_to_bytes(&read, "layer"), L::accumulator_to_bytes(&accumulator, "layer"));
    }
    let message = "bytes: header: cut off: the file ends at byte 4, before byte 8";
    assert_refused(L::accumulator_from_bytes(b"GGUF", "layer"), Kind::Bytes, message);
}
