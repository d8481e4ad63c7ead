//! Ticks of logarithmic axes.

/// 1 to 9 in every decade, or fewer where that would crowd the axis.
pub fn ticks(lowest: f64, highest: f64) -> Vec<f64> {
    let digits: &[u8] = match highest / lowest {
        ..20.0 => &[1, 2, 3, 4, 5, 6, 7, 8, 9],
        20.0..2000.0 => &[1, 2, 5],
        _ => &[1],
    };
    let decades = lowest.log10().floor() as i32..=highest.log10().ceil() as i32;
    // Parsed, since 7 · 10⁻² as a product would be labelled 0.07000000000000001.
    let ticks =
        decades.flat_map(|decade| digits.iter().filter_map(move |digit| format!("{digit}e{decade}").parse().ok()));
    ticks.filter(|tick| (lowest..=highest).contains(tick)).collect()
}
