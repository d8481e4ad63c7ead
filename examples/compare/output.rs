//! Shows a comparison: the table, and the files.

use std::path::Path;

use armor_core::Pattern;
use serde_json::json;

use crate::chart;
use crate::common::Result;
use crate::common::files::put;
use crate::common::terminal::{plain, say};
use crate::methods::Row;

/// All methods on one layer, and what they were asked for.
pub struct Comparison<'a> {
    pub name: &'a str,
    pub shape: (usize, usize),
    pub pattern: Pattern,
    pub block: &'a [usize],
    pub seed: u64,
    /// Whether the whole Hessian is known.
    pub full: bool,
    pub rows: Vec<Row>,
}

impl Comparison<'_> {
    pub fn print(&self) -> Result<()> {
        let (rows, cols) = self.shape;
        let name = plain(self.name);
        say(format!("{name} ({rows} × {cols}), pattern {}, blocks of {:?}\n", self.pattern, self.block))?;
        say(format!(
            "{:<16}{:>12}{:>14}{:>12}{:>12}{:>10}{:>10}",
            "method", "proxy loss", "output error", "held out", "iterations", "seconds", "overhead"
        ))?;
        for row in &self.rows {
            let heldout = row.heldout_error.map_or("-".to_owned(), |error| format!("{error:.6}"));
            say(format!(
                "{:<16}{:>12.6}{:>14.6}{heldout:>12}{:>12}{:>10.2}{:>8.2} %",
                row.method,
                row.proxy_loss,
                row.output_error,
                row.iterations,
                row.seconds,
                100.0 * row.overhead
            ))?;
        }
        if !self.full {
            say("\nOnly the Hessian's diagonal is known: no SparseGPT, no full objective.")?;
        }
        Ok(())
    }

    /// Writes both files into `folder`, which exists.
    pub fn write(&self, folder: &Path) -> Result<()> {
        put(folder, "compare.json", format!("{:#}\n", self.report()).as_bytes())?;
        put(folder, "compare.svg", chart::draw(self.name, &self.rows)?.as_bytes())
    }

    fn report(&self) -> serde_json::Value {
        let rows = self.rows.iter().map(|row| {
            json!({
                "method": row.method,
                "proxy_loss": row.proxy_loss,
                "output_error": row.output_error,
                "heldout_error": row.heldout_error,
                "iterations": row.iterations,
                "seconds": row.seconds,
                "overhead": row.overhead,
            })
        });
        json!({
            "name": self.name,
            "rows": self.shape.0,
            "cols": self.shape.1,
            "pattern": self.pattern.to_string(),
            "block": self.block,
            "seed": self.seed,
            "methods": rows.collect::<Vec<_>>(),
        })
    }
}
