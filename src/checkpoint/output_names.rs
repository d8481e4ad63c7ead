//! The names of the output's tensors, which must differ.

use std::collections::BTreeMap;

use super::error::{CheckpointError, tensor_error};
use super::selected_tensor::SelectedTensor;
use super::selection::Selection;
use crate::result::formats::format::Format;

/// The names of a layer's tensors, sorted.
fn names(layer: &SelectedTensor, format: Format) -> Vec<String> {
    let parts: &[&str] = match format {
        Format::Factors => &["armor.core.bitmask", "armor.core.compressed", "armor.core.shape"],
        Format::DenseCore => &["armor.core.dense"],
        Format::SparseBitmask => &["bitmask", "compressed", "shape"],
        Format::Cutlass => &["armor.core.meta", "armor.core.packed"],
        // All slices of a tensor become one.
        Format::Reconstructed if layer.slice.is_some_and(|slice| slice > 0) => return Vec::new(),
        Format::Reconstructed => return vec![layer.tensor.clone()],
    };
    let mut parts = [parts, &["armor.history", "armor.left", "armor.right"]].concat();
    parts.sort_unstable();
    parts.into_iter().map(|part| format!("{}.{part}", layer.stem())).collect()
}

/// Refuses layers that would become a tensor which is copied, or which another layer becomes.
pub(super) fn check(selection: &Selection, format: Format) -> Result<(), CheckpointError> {
    let copied = selection.copied.iter().map(|tensor| tensor.name.as_str());
    let mut taken: BTreeMap<String, &str> = copied.map(|name| (name.to_owned(), name)).collect();
    for layer in &selection.layers {
        for name in names(layer, format) {
            if let Some(other) = taken.insert(name.clone(), &layer.name) {
                let problem = match other == name {
                    true => format!("would become {name}, which the checkpoint has already"),
                    false => format!("would become {name}, and so would {other}"),
                };
                return Err(tensor_error(&layer.file, &layer.name, problem));
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::descent::options::Options;
    use crate::descent::run::factorize;
    use crate::error::Error;
    use crate::factors::precision::Precision;
    use crate::input::hessian::Hessian;
    use crate::input::layer::Layer;
    use crate::result::formats::contents::tensors;

    #[test]
    fn names_are_those_of_the_tensors() -> Result<(), Error> {
        let weight = ndarray::Array2::from_shape_fn((32, 32), |(i, j)| ((7 * i + 3 * j) % 23) as f32 - 11.0);
        let layer = Layer::new(&weight, Hessian::identity(32))?;
        let options = Options::exact().block(16).iterations(1);
        let result = factorize(&layer, &options)?;
        let text = || "a.b.weight".to_owned();
        let selected = SelectedTensor {
            name: text(),
            tensor: text(),
            scale: None,
            slice: None,
            file: text(),
            hessian: Some(text()),
            rows: 32,
            cols: 32,
            transposed: false,
            options,
            is_orientation_assumed: false,
            dtype: Precision::F16.into(),
            bytes: 4096,
            tokens: None,
        };
        for format in Format::ALL {
            let tensors = tensors(&result, "a.b", format, Precision::F16.into())?;
            let mut found: Vec<String> = tensors.into_iter().map(|tensor| tensor.name).collect();
            found.sort_unstable();
            assert_eq!(found, names(&selected, format));
        }
        Ok(())
    }
}
