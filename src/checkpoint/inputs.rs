//! The inputs of a job, and the checks of a weight and its Hessian: all that the headers say, before any layer runs.

use safetensors::Dtype;

use super::error::{CheckpointError, tensor_error};
use super::orientation::{Claims, Orientation};
use super::overrides::Overrides;
use super::scales::scale_of;
use super::selected_tensor::SelectedTensor;
use super::settings::JobSettings;
use super::source::{Source, is_number, is_weight};
use super::tensor_names::{beside, name_of_slice};
use crate::factors::precision::Precision;

/// The type that stands for a tensor's own: that of the tensor itself, or the nearest that factors may have.
fn own_precision(dtype: Dtype) -> Precision {
    match dtype {
        Dtype::F16 => Precision::F16,
        Dtype::BF16 | Dtype::F8_E4M3 => Precision::Bf16,
        _ => Precision::F32,
    }
}

/// The inputs of a job, whose tensors are checked.
pub(super) struct Inputs<'a> {
    pub settings: &'a JobSettings,
    pub claims: Claims,
    pub overrides: &'a Overrides<'a>,
    pub checkpoint: &'a Source,
    /// `None` where the caller calibrates.
    pub hessians: Option<&'a Source>,
}

impl Inputs<'_> {
    /// Checks a weight and its Hessian, if a file has it, and gives the layer of a tensor of two axes, or the layers of a
    /// tensor of three.
    ///
    /// # Errors
    /// [`CheckpointError::Tensor`] for a type, shape, orientation or format that does not fit.
    pub fn layers(&self, name: &str, hessian: Option<&str>) -> Result<Vec<SelectedTensor>, CheckpointError> {
        let (file, info) = self.checkpoint.info(name).expect("the name comes from the source");
        let refuse = |problem: String| Err(tensor_error(&file, name, problem));
        if !is_weight(info.dtype) {
            return refuse(format!("is {:?}, expected F32, F64, F16, BF16 or F8_E4M3", info.dtype));
        }
        let (slices, matrix) = axes(&info.shape).map_err(|problem| tensor_error(&file, name, problem))?;
        let scale = match (info.dtype, slices) {
            (Dtype::F8_E4M3, None) => Some(scale_of(self.checkpoint, name, matrix)?),
            (Dtype::F8_E4M3, Some(_)) => return refuse("is F8_E4M3 with three axes, expected two".to_owned()),
            _ => None,
        };
        let calibration = self.hessians.zip(hessian);
        let orientation = match calibration {
            None => self.claims.of_caller(name),
            Some((hessians, hessian)) => {
                self.claims.orientation((self.checkpoint, hessians), (name, hessian), matrix)?
            }
        };
        let transposed = orientation == Orientation::Transposed;
        let [rows, cols] = if transposed { [matrix[1], matrix[0]] } else { matrix };
        let dtype = self.settings.dtype.unwrap_or_else(|| own_precision(info.dtype).into());
        let options = self.overrides.options_of(name);
        let misfit = |error| tensor_error(&file, name, format!("its options do not fit: {error}"));
        options.validate().map_err(misfit)?;
        let pattern = options.pattern;
        if !cols.is_multiple_of(pattern.m()) {
            return refuse(format!("{cols} columns are not a multiple of {}, the group of {pattern}", pattern.m()));
        }
        if let Err(error) = self.settings.format.check((rows, cols), pattern, dtype) {
            return refuse(error.to_string());
        }
        let tokens = match calibration {
            None => None,
            Some((hessians, hessian)) => {
                check_hessian((name, [rows, cols]), (hessians, hessian), slices)?;
                tokens(hessians, hessian, slices)?
            }
        };
        let layer = |slice: Option<usize>| SelectedTensor {
            name: slice.map_or_else(|| name.to_owned(), |slice| name_of_slice(name, slice)),
            tensor: name.to_owned(),
            scale: scale.clone(),
            slice,
            file: file.clone(),
            hessian: hessian.map(str::to_owned),
            rows,
            cols,
            transposed,
            options: options.clone(),
            is_orientation_assumed: orientation == Orientation::Assumed,
            dtype,
            bytes: rows * cols * info.dtype.bitsize() / 8,
            tokens: tokens.as_ref().map(|tokens| tokens[slice.unwrap_or(0)]),
        };
        Ok(match slices {
            None => vec![layer(None)],
            Some(slices) => (0..slices).map(|slice| layer(Some(slice))).collect(),
        })
    }
}

/// Reads a shape as that of a matrix, or of so many matrices.
fn axes(shape: &[usize]) -> Result<(Option<usize>, [usize; 2]), String> {
    let axes = match *shape {
        [rows, cols] => (None, [rows, cols]),
        [slices, rows, cols] => (Some(slices), [rows, cols]),
        _ => return Err(format!("has shape {shape:?}, expected two or three axes")),
    };
    match shape.contains(&0) {
        true => Err(format!("has shape {shape:?}, which has no entries")),
        false => Ok(axes),
    }
}

/// Checks type and shape of a Hessian.
fn check_hessian(
    (weight, [rows, cols]): (&str, [usize; 2]),
    (hessians, hessian): (&Source, &str),
    slices: Option<usize>,
) -> Result<(), CheckpointError> {
    let (file, info) = hessians.info(hessian).expect("the name comes from the source");
    if !is_number(info.dtype) {
        let problem = format!("is {:?}, expected F32, F64, F16 or BF16", info.dtype);
        return Err(tensor_error(&file, hessian, problem));
    }
    let matrix = if hessian.ends_with("_diag") { vec![cols] } else { vec![cols, cols] };
    let expected: Vec<usize> = slices.into_iter().chain(matrix).collect();
    if info.shape == expected {
        return Ok(());
    }
    let mut problem = format!("has shape {:?}, expected {expected:?} for {weight} of {rows} × {cols}", info.shape);
    if info.shape.last() == Some(&rows) && info.shape.len() == expected.len() {
        problem += "; if the weight is stored as [inputs, outputs], name it in the setting \"transposed\"";
    }
    Err(tensor_error(&file, hessian, problem))
}

/// Reads how many tokens reached the layer, or every slice.
fn tokens(hessians: &Source, hessian: &str, slices: Option<usize>) -> Result<Option<Vec<u64>>, CheckpointError> {
    let key = beside(hessian, "tokens");
    let Some(counts) = hessians.integers(&key)? else { return Ok(None) };
    let expected = slices.unwrap_or(1);
    let counts: Vec<u64> = counts.into_iter().filter_map(|count| count.try_into().ok()).collect();
    if counts.len() == expected {
        return Ok(Some(counts));
    }
    let problem = format!("does not hold {expected} numbers that are not negative");
    Err(tensor_error(&hessians.file_of(&key), &key, problem))
}
