//! The working memory of the full objective, and the tiles that keep within its limit.

use crate::error::Error;
use crate::factors::partition::Partition;

/// Columns of a tile: enough rows of V for efficient products, few enough for a product's panels to stay in cache.
const TILE: usize = 512;

/// The widest tile of columns, up to [`TILE`], whose working memory keeps within the limit.
///
/// # Errors
/// [`Error::MemoryLimit`] where a tile of one block needs more.
pub(super) fn tile_within(limit: Option<usize>, rows: Partition, cols: Partition) -> Result<usize, Error> {
    let widest = TILE.max(cols.block).min(cols.len);
    let Some(limit) = limit else { return Ok(widest) };
    let mut width = widest;
    while working_memory(rows, cols, width) > limit && width > cols.block {
        width = (width - cols.block).max(cols.block);
    }
    let needed = working_memory(rows, cols, width);
    if needed > limit {
        return Err(Error::MemoryLimit { limit, needed, rows: rows.len, cols: cols.len });
    }
    Ok(width)
}

/// Bytes that a coupled descent takes on top of a separable one, at tiles of `width` columns.
fn working_memory(rows: Partition, cols: Partition, width: usize) -> usize {
    let (m, k) = (rows.len, cols.len);
    // Ω in f64 beside L, and a panel of 128 columns, while Ω is factored; then L, three matrices of the weight's size,
    // and the buffers of a tile.
    let factoring = 12 * k * k + 8 * 128 * k;
    let running = 4 * (k * k + 3 * m * k + width * (k + width) + 2 * m * width + 3 * k * cols.block);
    factoring.max(running)
}
