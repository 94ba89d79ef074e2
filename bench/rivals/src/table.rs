//! A Markdown table of figures: a rival a line, the seeds taken together.

use std::fmt::Write;

/// What a column shows, and how the figures of several seeds become one.
pub(crate) struct Column {
    pub(crate) head: &'static str,
    pub(crate) unit: Unit,
    pub(crate) over: Over,
}

/// How a figure is written.
#[derive(Clone, Copy)]
pub(crate) enum Unit {
    Millis,
    Number,
    Percent,
}

/// What is taken of the seeds.
#[derive(Clone, Copy)]
pub(crate) enum Over {
    Median,
    Max,
}

/// The figures of one rival: for each seed, one for each column.
pub(crate) struct Row {
    pub(crate) name: String,
    pub(crate) seeds: Vec<Vec<f64>>,
}

/// Writes a table, its columns aligned for those who read it as text.
pub(crate) fn table(columns: &[Column], rows: &[Row]) -> String {
    let mut lines = vec![vec![String::new()]];
    lines[0].extend(columns.iter().map(|column| column.head.to_owned()));
    for row in rows {
        let mut line = vec![row.name.clone()];
        for (number, column) in columns.iter().enumerate() {
            let figures = row.seeds.iter().filter_map(|figures| figures.get(number).copied());
            line.push(written(together(figures.collect(), column.over), column.unit));
        }
        lines.push(line);
    }
    let width = |column: usize| lines.iter().map(|line| line[column].chars().count()).max().unwrap_or(0);
    let widths: Vec<_> = (0..=columns.len()).map(width).collect();
    let mut text = String::new();
    for (number, line) in lines.iter().enumerate() {
        let _ = write!(text, "| {:<1$} |", line[0], widths[0]);
        for (cell, width) in line.iter().zip(&widths).skip(1) {
            let _ = write!(text, " {cell:>width$} |");
        }
        text += "\n";
        if number == 0 {
            let _ = write!(text, "|{:-<1$}|", "", widths[0] + 2);
            for width in &widths[1..] {
                let _ = write!(text, "{:->1$}|", ":", width + 2);
            }
            text += "\n";
        }
    }
    text
}

/// Returns what the seeds show together; not a number if they show nothing.
fn together(mut figures: Vec<f64>, over: Over) -> f64 {
    figures.sort_unstable_by(f64::total_cmp);
    match over {
        Over::Median => figures.get(figures.len() / 2).copied(),
        Over::Max => figures.last().copied(),
    }
    .unwrap_or(f64::NAN)
}

fn written(figure: f64, unit: Unit) -> String {
    match unit {
        _ if figure.is_nan() => "–".into(),
        _ if figure.is_infinite() => "never".into(),
        Unit::Millis if figure < 99.95 => format!("{figure:.1}"),
        Unit::Millis => format!("{figure:.0}"),
        Unit::Number if figure < 10.0 => format!("{figure:.2}"),
        Unit::Number if figure < 99.95 => format!("{figure:.1}"),
        Unit::Number => format!("{figure:.0}"),
        Unit::Percent => format!("{:.1} %", figure * 100.0),
    }
}
