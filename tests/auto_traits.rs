//! Values that programs keep in their own types and threads are `Send`, `Sync` and `Debug`; checked by the compiler.

use std::fmt::Debug;

use armor_core::{
    BlockDiagonal, Correction, CorrectionOptions, Correlation, Coupling, Descent, Error, Factorization, Hessian,
    HessianAccumulator, JointAdam, Layer, LeastSquares, Normalization, Options, PackedFactorization, PairAccumulator,
    PairMoments, Progress, SparseCore, SparseGpt, State, Target, Weight,
};

fn shared<T: Send + Sync + Debug>() {}

#[test]
fn values_may_be_shared_between_threads() {
    shared::<BlockDiagonal>();
    shared::<Correction>();
    shared::<CorrectionOptions>();
    shared::<Correlation>();
    shared::<Coupling>();
    shared::<Error>();
    shared::<Factorization>();
    shared::<Hessian>();
    shared::<HessianAccumulator>();
    shared::<Layer<'static>>();
    shared::<Normalization>();
    shared::<Options>();
    shared::<PackedFactorization>();
    shared::<PairAccumulator>();
    shared::<PairMoments>();
    shared::<Progress>();
    shared::<SparseCore>();
    shared::<Target>();
    shared::<Weight<'static>>();
}

#[test]
fn states_and_parts_may_be_shared_too() {
    shared::<State<'static>>();
    shared::<LeastSquares>();
    shared::<JointAdam>();
    shared::<SparseGpt>();
}

#[test]
fn runs_may_be_prepared_on_one_thread_and_started_on_another() {
    fn sent<T: Send + Debug>() {}
    sent::<Descent<'static>>();
}
