//! The names of weights, of their Hessians, and of what stands beside a Hessian.

/// How the names of Hessians end: of a diagonal, and of a whole matrix.
pub(super) const HESSIAN_ENDINGS: [&str; 2] = ["hessian_diag", "hessian"];

/// Whether a tensor of this name is a Hessian.
pub(super) fn is_hessian(name: &str) -> bool {
    name.rsplit('.').next().is_some_and(|ending| HESSIAN_ENDINGS.contains(&ending))
}

/// Returns the name of a tensor without its ending `.weight`: the start of the names of what belongs to it.
pub(super) fn stem(name: &str) -> &str {
    name.strip_suffix(".weight").unwrap_or(name)
}

/// The name of a Hessian without its ending.
pub(super) fn stem_of_hessian(name: &str) -> &str {
    name.rsplit_once('.').map_or("", |(stem, _)| stem)
}

/// The name of a tensor that stands beside a Hessian.
pub(super) fn beside(hessian: &str, ending: &str) -> String {
    format!("{}.{ending}", stem_of_hessian(hessian))
}

/// The name of a tensor, or of a slice of one: `T[3]`.
pub(super) fn key_of(tensor: &str, slice: Option<usize>) -> String {
    slice.map_or_else(|| tensor.to_owned(), |slice| format!("{tensor}[{slice}]"))
}

/// The name of a layer that is a slice of a tensor: `T.3` of `T`, and `T.3.weight` of `T.weight`.
pub(super) fn name_of_slice(tensor: &str, slice: usize) -> String {
    let ending = &tensor[stem(tensor).len()..];
    format!("{}.{slice}{ending}", stem(tensor))
}
