//! Options of the output error that a run minimises, and what a result is worth under it.

use super::factorization::FactorizationHandle;
use super::guard::guard;
use super::handle;
use super::options::{OptionsHandle, set};
use super::pointer::{Out, Span, input};
use super::status::{ARMOR_UNKNOWN_VALUE, Failure};
use super::view::{HessianView, MatrixView};
use crate::descent::options::Objective;
use crate::error::Error;
use crate::input::layer::Layer;
use crate::problem::proxy_loss::output_error::RowWeighting;

/// Every input on its own, weighted by the Hessian's diagonal: the paper's.
pub const ARMOR_OBJECTIVE_DIAGONAL: u32 = 1;
/// The output error under the whole Hessian; needs ARMOR_HESSIAN_FULL and ARMOR_METHOD_EXACT.
pub const ARMOR_OBJECTIVE_FULL: u32 = 2;

/// Every row by NoWag's scale: an error counts relative to the size of its row.
pub const ARMOR_ROWS_NOWAG: u32 = 1;
/// All rows alike.
pub const ARMOR_ROWS_ALIKE: u32 = 2;

/// Sets which output error is minimised, ARMOR_OBJECTIVE_*. Default: ARMOR_OBJECTIVE_DIAGONAL. The full one takes
/// O(m k^2) an iteration.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn armor_options_set_objective(options: *mut OptionsHandle, objective: u32) -> u32 {
    guard(|| {
        let objective = match objective {
            ARMOR_OBJECTIVE_DIAGONAL => Objective::Diagonal,
            ARMOR_OBJECTIVE_FULL => Objective::Full,
            other => {
                let message = format!("objective: {other} is not an objective, expected 1 or 2");
                return Err(Failure::new(ARMOR_UNKNOWN_VALUE, message));
            }
        };
        // SAFETY: the caller keeps the module's contract.
        unsafe { set(options, |options| options.objective(objective)) }
    })
}

/// Sets the shrinkage of the full Hessian towards its diagonal, 0 (as it is) to 1 (its diagonal). Default: 0.5.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn armor_options_set_shrinkage(options: *mut OptionsHandle, alpha: f64) -> u32 {
    // SAFETY: the caller keeps the module's contract.
    guard(|| unsafe { set(options, |options| options.shrinkage(alpha)) })
}

/// Sets which rows' errors count more, ARMOR_ROWS_*. Default: ARMOR_ROWS_NOWAG with the diagonal objective, which is the
/// paper's proxy loss, and ARMOR_ROWS_ALIKE, the true output error, with the full one.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn armor_options_set_row_weighting(options: *mut OptionsHandle, weighting: u32) -> u32 {
    guard(|| {
        let weighting = match weighting {
            ARMOR_ROWS_NOWAG => RowWeighting::NoWag,
            ARMOR_ROWS_ALIKE => RowWeighting::Uniform,
            other => {
                let message = format!("row_weighting: {other} is not a weighting of rows, expected 1 or 2");
                return Err(Failure::new(ARMOR_UNKNOWN_VALUE, message));
            }
        };
        // SAFETY: the caller keeps the module's contract.
        unsafe { set(options, |options| options.row_weighting(weighting)) }
    })
}

/// Sets the most bytes of working memory that the full objective may take on top of the diagonal one's; 0, the default,
/// is no limit. A run that cannot keep within it fails with ARMOR_MEMORY_LIMIT and says what it needs.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn armor_options_set_memory_limit(options: *mut OptionsHandle, bytes: usize) -> u32 {
    // SAFETY: the caller keeps the module's contract.
    guard(|| unsafe { set(options, |options| options.memory_limit((bytes > 0).then_some(bytes))) })
}

/// Writes to out the relative output error tr((W - V) H (W - V)^T) / tr(W H W^T) of a factorisation V = A S B of the
/// weight W, computed in double precision. The Hessian may be another than the one fitted to: one held out says what the
/// fit is worth. ARMOR_HESSIAN_FULL takes all of H, ARMOR_HESSIAN_DIAGONAL its diagonal.
///
/// Any thread may call it. Fails as armor_factorize does for its weight and Hessian, and with ARMOR_INVALID_SHAPE for a
/// weight of another shape than the factorisation's.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn armor_factorization_output_error(
    factorization: *const FactorizationHandle,
    weight: *const MatrixView,
    hessian: *const HessianView,
    out: *mut f64,
) -> u32 {
    guard(|| {
        // SAFETY: the caller keeps the module's contract.
        let (factorization, memory) = unsafe { handle::borrow("factorization", factorization)? };
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

/// What was wrong with a layer, whose weight is the argument here.
fn of_weight(error: Error) -> Failure {
    let mut failure = Failure::from(error);
    if let Some(message) = failure.message.strip_prefix("layer.") {
        failure.message = message.to_owned();
    }
    failure
}
