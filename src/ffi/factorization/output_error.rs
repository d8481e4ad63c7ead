//! The output error of a factorisation.

use super::handle::FactorizationHandle;
use crate::descent::options::Objective;
use crate::error::Error;
use crate::ffi::failure::Failure;
use crate::ffi::guard::guard;
use crate::ffi::opaque;
use crate::ffi::pointer::{Out, Span, input};
use crate::ffi::view::{HessianView, MatrixView};
use crate::input::layer::Layer;

/// Writes the relative output error tr((W - V) H (W - V)^T) / tr(W H W^T) to out, where W is the weight and V = A * S * B
/// is the factorisation. The computation is in double precision. The Hessian need not be the one of the factorisation: a
/// Hessian from other data shows how good the factorisation is for data that it has not seen. With ARMOR_HESSIAN_FULL
/// the call uses all of H, with ARMOR_HESSIAN_DIAGONAL only the diagonal.
///
/// Any thread may call this function. It fails like armor_factorize for a wrong weight or Hessian, and with
/// ARMOR_INVALID_SHAPE if the weight does not have the shape of the factorisation.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn armor_factorization_output_error(
    factorization: *const FactorizationHandle,
    weight: *const MatrixView,
    hessian: *const HessianView,
    out: *mut f64,
) -> u32 {
    guard(|| {
        // SAFETY: the caller keeps the module's contract.
        let (factorization, memory) = unsafe { opaque::borrow("factorization", factorization)? };
        // SAFETY: the caller keeps the module's contract.
        let (weight, hessian) = unsafe { (&input("weight", weight, 1)?[0], &input("hessian", hessian, 1)?[0]) };
        let read = [memory, Span::new("weight", weight, 1)?, Span::new("hessian", hessian, 1)?];
        let out = Out::new("out", out)?.apart_from(&read)?;
        // SAFETY: the caller keeps the module's contract.
        let (weight, weight_span) = unsafe { weight.weight()? };
        out.span.is_apart_from(&[weight_span])?;
        // SAFETY: the caller keeps the module's contract.
        let (hessian, hessian_span) = unsafe { hessian.hessian(weight.dim().1, Objective::Full)? };
        out.span.is_apart_from(hessian_span.as_slice())?;
        let error = factorization.output_error(&Layer::new(weight, hessian)?).map_err(of_weight)?;
        // SAFETY: the caller keeps the module's contract.
        unsafe { out.write(error) };
        Ok(())
    })
}

/// Converts an error about a `layer`, whose weight is an argument of its own here.
fn of_weight(error: Error) -> Failure {
    let mut failure = Failure::from(error);
    if let Some(message) = failure.message.strip_prefix("layer.") {
        failure.message = message.to_owned();
    }
    failure
}
