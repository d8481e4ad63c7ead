//! The weights that a job leaves alone unless the setting `include` names them: compressing them costs much and saves
//! little, or nothing.

use super::selected_tensor::SelectedTensor;
use super::settings::JobSettings;
use super::tensor_names::stem;
use crate::descent::options::Options;
use crate::result::formats::format::Format;

/// The last component of the names of output layers, of embeddings, which a tied head shares, and of routers of experts.
const HEADS: [&str; 4] = ["lm_head", "embed_out", "output_projection", "output_layer"];
const EMBEDDINGS: [&str; 13] = [
    "tokens_embed",
    "token_embeddings",
    "embed_tokens",
    "embed_positions",
    "embed_in",
    "embeddings",
    "wte",
    "wpe",
    "word_embeddings",
    "position_embeddings",
    "tok_embeddings",
    "token_embedding",
    "position_embedding",
];
const ROUTERS: [&str; 4] = ["router", "gate", "shared_expert_gate", "wg"];

/// Says why a weight of this name and shape is left alone; `None` where they give no reason.
pub(super) fn by_name(name: &str, shape: &[usize]) -> Option<&'static str> {
    let parts: Vec<&str> = stem(name).split('.').collect();
    let last = parts.last().copied().unwrap_or_default();
    let is_head =
        matches!(parts[..], ["output" | "head"] | [.., "language_model", "output"] | [.., "shared_head", "head"]);
    if is_head || HEADS.contains(&last) {
        return Some("is an output layer");
    }
    if EMBEDDINGS.contains(&last) || parts == ["shared"] || parts == ["embed"] {
        return Some("is an embedding");
    }
    // A router has fewer outputs than inputs; some models call the first matrix of a feed-forward layer `gate`, too.
    let narrows = matches!(shape, [rows, cols] if rows < cols);
    (narrows && (ROUTERS.contains(&last) || parts.contains(&"router"))).then_some("is a router of experts")
}

/// Says why a layer of this shape is left alone.
pub(super) fn by_size(layer: &SelectedTensor, settings: &JobSettings) -> Option<String> {
    if layer.rows == 1 {
        return Some("has one row".to_owned());
    }
    // The other formats store a dense matrix, and are chosen for other reasons than size.
    let is_compact = matches!(settings.format, Format::Factors | Format::SparseBitmask | Format::Cutlass);
    let after = compact_bytes(layer, &layer.options);
    let grows = is_compact && after >= layer.bytes;
    grows.then(|| format!("would grow from {} to {after} bytes in blocks of {}", layer.bytes, blocks(&layer.options)))
}

fn blocks(options: &Options) -> String {
    match (options.left_block, options.right_block) {
        (left, right) if left == right => left.to_string(),
        (left, right) => format!("{left} and {right}"),
    }
}

/// Bytes of both wrappers, of the kept values, and of the mask at one bit an entry.
fn compact_bytes(layer: &SelectedTensor, options: &Options) -> usize {
    let wrapper = |len: usize, block: usize| {
        let block = block.min(len);
        len.div_ceil(block) * block * block
    };
    let values = layer.rows * options.pattern.kept(layer.cols);
    let mask = layer.rows * layer.cols.div_ceil(8);
    wrapper(layer.rows, options.left_block) * layer.dtype.left.width()
        + wrapper(layer.cols, options.right_block) * layer.dtype.right.width()
        + values * layer.dtype.core.width()
        + mask
}
