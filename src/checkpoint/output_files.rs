//! The names of the output's files. A program that does not know the factors must not find weights in the folder: it
//! would run the model with random numbers in place of the compressed weights.

use super::shard_index::INDEX;
use crate::result::formats::format::Format;

/// The variant, as `transformers` calls it, of a file with factors: `model.armor.safetensors`.
const VARIANT: &str = "armor";

/// Returns the name of the output's file for a file of the input. The format `reconstructed` keeps the names; in any other
/// format `model-00001-of-00002.safetensors` becomes `model.armor-00001-of-00002.safetensors`.
pub(super) fn shard_name(input: &str, format: Format) -> String {
    if format == Format::Reconstructed {
        return input.to_owned();
    }
    let stem = input.strip_suffix(".safetensors").unwrap_or(input);
    let number = stem.find("-of-").and_then(|of| stem[..of].rfind('-'));
    let (start, number) = stem.split_at(number.unwrap_or(stem.len()));
    format!("{start}.{VARIANT}{number}.safetensors")
}

/// Returns the name of the output's index for that of the input: `model.safetensors.index.armor.json`.
pub(super) fn index_name(input: &str, format: Format) -> String {
    match input.strip_suffix(INDEX) {
        Some(start) if format != Format::Reconstructed => format!("{start}.safetensors.index.{VARIANT}.json"),
        _ => input.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_follow_the_variants_of_transformers() {
        for (input, expected) in [
            ("model.safetensors", "model.armor.safetensors"),
            ("model-00001-of-00002.safetensors", "model.armor-00001-of-00002.safetensors"),
            ("my-model.safetensors", "my-model.armor.safetensors"),
            ("weights", "weights.armor.safetensors"),
        ] {
            assert_eq!(shard_name(input, Format::Factors), expected);
            assert_eq!(shard_name(input, Format::Reconstructed), input);
        }
        let index = "model.safetensors.index.json";
        assert_eq!(index_name(index, Format::Cutlass), "model.safetensors.index.armor.json");
        assert_eq!(index_name(index, Format::Reconstructed), index);
    }
}
