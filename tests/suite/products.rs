//! Products of packed factorisations.

use armor_core::{PackedFactorization, Precision};
use half::bf16;
use ndarray::{Array2, s};

use super::layer::Small;
use super::library::{Kind, Library, assert_refused, done};

const PRECISIONS: [Precision; 3] = [Precision::F32, Precision::F16, Precision::Bf16];

/// Inputs that bf16 holds exactly.
fn inputs(batch: usize) -> Array2<f32> {
    Array2::from_shape_fn((batch, 16), |(i, j)| bf16::from_f32((i + 1) as f32 * (j as f32 - 7.5) / 3.0).to_f32())
}

fn in_rust(precision: Precision, x: &Array2<f32>) -> Array2<f32> {
    let packed = PackedFactorization::new(&Small::new().in_rust(), precision).expect("fits");
    let mut y = Array2::zeros((x.nrows(), 12));
    packed.apply_batch_into(x.view(), y.view_mut(), &mut vec![0.0; packed.scratch_len(x.nrows())]).expect("fits");
    y
}

pub fn they_are_those_of_the_crate<L: Library>() {
    let (factorization, x) = (Small::new().factorized::<L>(), inputs(5));
    let (half, double) = (x.mapv(bf16::from_f32), x.mapv(f64::from));
    for precision in PRECISIONS {
        let expected = in_rust(precision, &x);
        for threads in [0, 1, 3] {
            let packed = L::pack(&factorization, precision, threads);
            let mut y = Array2::from_elem((5, 12), 7.0);
            done(L::multiply(&packed, (&x).into(), y.view_mut()));
            assert_eq!(y, expected);
            let mut wide = Array2::from_elem((5, 20), 7.0);
            for x in [(&half).into(), (&double).into()] {
                wide.fill(7.0);
                done(L::multiply(&packed, x, wide.slice_mut(s![.., ..12])));
                assert_eq!(wide.slice(s![.., ..12]), expected);
                assert!(wide.slice(s![.., 12..]).iter().all(|&y| y == 7.0), "nothing between the rows is written");
            }
        }
    }
}

pub fn a_vector_alone_has_the_bits_of_its_batch<L: Library>() {
    let packed = L::pack(&Small::new().factorized::<L>(), Precision::Bf16, 1);
    let batch = if cfg!(miri) { 3 } else { 70 };
    let (x, mut y, mut one) = (inputs(batch), Array2::zeros((batch, 12)), Array2::zeros((1, 12)));
    done(L::multiply(&packed, (&x).into(), y.view_mut()));
    for row in 0..batch {
        done(L::multiply(&packed, x.slice(s![row..row + 1, ..]).into(), one.view_mut()));
        assert_eq!(one.mapv(f32::to_bits), y.slice(s![row..row + 1, ..]).mapv(f32::to_bits));
    }
}

pub fn wrong_lengths<L: Library>() {
    let packed = L::pack(&Small::new().factorized::<L>(), Precision::F32, 0);
    let x = inputs(2);
    let mut y = Array2::from_elem((2, 12), 7.0);
    let narrow = L::multiply(&packed, x.slice(s![.., ..12]).into(), y.view_mut());
    assert_refused(narrow, Kind::Shape, "x: has length 12, expected 16");
    assert!(y.iter().all(|&y| y == 7.0), "a refused product writes nothing");
}

pub fn sizes_are_those_of_the_crate<L: Library>() {
    let factorization = Small::new().factorized::<L>();
    for precision in PRECISIONS {
        let bytes = PackedFactorization::new(&Small::new().in_rust(), precision).expect("fits").bytes();
        let found = L::packed_bytes(&L::pack(&factorization, precision, 0));
        assert_eq!(found, [bytes.left, bytes.core, bytes.right]);
    }
}
