//! `summary.html`: one page, without anything from elsewhere, that shows every layer's loss before and after.

use std::fmt::Write;
use std::path::Path;

use plotters::prelude::*;

use super::error::{CheckpointError, file_error};
use super::output_files::SUMMARY;
use super::report::{JobReport, LayerReport};
use crate::bytes::reader::WRITER;

const BEFORE: RGBColor = RGBColor(200, 120, 60);
const AFTER: RGBColor = RGBColor(40, 90, 170);

/// The page.
pub(super) fn page(report: &JobReport) -> Result<String, CheckpointError> {
    let (before, after) = report.bytes();
    let mut page = String::from(
        "<!doctype html>\n<html lang=\"en\">\n<meta charset=\"utf-8\">\n<title>Compressed checkpoint</title>\n<style>\n\
         body { font: 15px sans-serif; margin: 2em auto; max-width: 1000px }\n\
         table { border-collapse: collapse }\n\
         td, th { padding: 2px 10px; text-align: right; border-bottom: 1px solid #ddd }\n\
         td:first-child, th:first-child { text-align: left }\n</style>\n<h1>Compressed checkpoint</h1>\n",
    );
    let line = |page: &mut String, label: &str, value: &str| {
        let _ = writeln!(page, "<tr><td>{}</td><td>{}</td></tr>", escaped(label), escaped(value));
    };
    page.push_str("<table>\n");
    line(&mut page, "written by", WRITER);
    line(&mut page, "tensors compressed", &report.layers.len().to_string());
    line(&mut page, "tensors copied", &report.copied.to_string());
    line(&mut page, "bytes of the compressed ones, before", &before.to_string());
    line(&mut page, "bytes of the compressed ones, after", &after.to_string());
    line(&mut page, "mean loss of pruning alone", &figure(report.mean(|layer| layer.nowag_p_loss)));
    line(&mut page, "mean loss", &figure(report.mean(|layer| layer.loss)));
    for (key, value) in report.settings() {
        line(&mut page, key, &value.to_string());
    }
    page.push_str("</table>\n<h2>Relative proxy loss by layer</h2>\n");
    page.push_str(&plot(&report.layers).map_err(|error| file_error(Path::new(SUMMARY), error))?);
    page.push_str(
        "<h2>Layers</h2>\n<table>\n<tr><th>tensor</th><th>shape</th><th>pruning alone</th><th>loss</th>\
         <th>iterations</th><th>bytes, share of before</th></tr>\n",
    );
    for layer in &report.layers {
        let share = 100.0 * layer.bytes_after as f64 / layer.bytes_before as f64;
        let _ = writeln!(
            page,
            "<tr><td>{}</td><td>{} × {}</td><td>{}</td><td>{}</td><td>{}</td><td>{share:.1} %</td></tr>",
            escaped(&layer.name),
            layer.rows,
            layer.cols,
            figure(layer.nowag_p_loss),
            figure(layer.loss),
            layer.iterations
        );
    }
    page.push_str("</table>\n</html>\n");
    Ok(page)
}

fn figure(loss: f64) -> String {
    format!("{loss:.6}")
}

/// A text that is safe between tags.
fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

/// Two dots a layer, joined: above what pruning alone loses, below what is lost.
fn plot(layers: &[LayerReport]) -> Result<String, String> {
    let failed = |error: DrawingAreaErrorKind<_>| error.to_string();
    let highest = layers.iter().map(|layer| layer.nowag_p_loss.max(layer.loss)).fold(0.0, f64::max);
    let highest = if highest > 0.0 { highest * 1.15 } else { 1.0 };
    let mut svg = String::new();
    {
        let root = SVGBackend::with_string(&mut svg, (960, 420)).into_drawing_area();
        root.fill(&WHITE).map_err(failed)?;
        let mut chart = ChartBuilder::on(&root)
            .margin(12)
            .x_label_area_size(40)
            .y_label_area_size(72)
            .build_cartesian_2d(-1.0..layers.len() as f64, 0.0..highest)
            .map_err(failed)?;
        chart
            .configure_mesh()
            .disable_x_mesh()
            .x_desc("layer, in the order of the table below")
            .x_label_formatter(&|layer| if *layer < 0.0 { String::new() } else { layer.to_string() })
            .y_desc("relative proxy loss")
            .draw()
            .map_err(failed)?;
        let places = || layers.iter().enumerate().map(|(index, layer)| (index as f64, layer));
        let lines = places().map(|(x, layer)| {
            PathElement::new([(x, layer.nowag_p_loss), (x, layer.loss)], RGBColor(190, 190, 190).stroke_width(1))
        });
        chart.draw_series(lines).map_err(failed)?;
        for (label, color, loss) in [
            ("pruning alone", BEFORE, (|layer| layer.nowag_p_loss) as fn(&LayerReport) -> f64),
            ("A · S · B", AFTER, |layer| layer.loss),
        ] {
            let dots = places().map(|(x, layer)| Circle::new((x, loss(layer)), 3, color.filled()));
            let series = chart.draw_series(dots).map_err(failed)?;
            series.label(label).legend(move |(x, y)| Circle::new((x + 8, y), 3, color.filled()));
        }
        chart.configure_series_labels().background_style(WHITE).border_style(BLACK).draw().map_err(failed)?;
        root.present().map_err(failed)?;
    }
    Ok(svg)
}
