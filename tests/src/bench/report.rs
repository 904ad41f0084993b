//! The result for people, for machines, and for `docs/benchmarks.md`.

use std::fmt::Write as _;

use serde_json::{Value, json};

use crate::bench::{Done, Figure};

/// Everything a run gave.
pub struct Report {
    pub machine: Value,
    pub rows: Vec<Done>,
}

const HEAD: [&str; 7] = ["figure", "regmesh", "peer", "", "ratio", "goal", "reached"];

impl Report {
    pub fn json(&self) -> Value {
        let rows: Vec<Value> = self.rows.iter().map(row_json).collect();
        json!({"machine": self.machine, "rows": rows})
    }

    /// A table with one line a figure, in columns.
    pub fn table(&self) -> String {
        let mut lines = vec![HEAD.map(str::to_owned)];
        lines.extend(self.figures().map(cells));
        let width = |column: usize| {
            lines
                .iter()
                .map(|line| line[column].chars().count())
                .max()
                .unwrap_or_default()
        };
        let widths: Vec<usize> = (0..HEAD.len()).map(width).collect();
        let mut text = String::new();
        for line in &lines {
            let padded = line
                .iter()
                .zip(&widths)
                .map(|(cell, width)| format!("{cell:<width$}"));
            let _ = writeln!(text, "{}", padded.collect::<Vec<_>>().join("  ").trim_end());
        }
        for (row, error) in self.failures() {
            let _ = writeln!(text, "{row} could not be measured: {error}");
        }
        text
    }

    /// The page that is committed.
    pub fn page(&self) -> String {
        let mut text = String::from(PREAMBLE);
        for (key, value) in self.machine.as_object().into_iter().flatten() {
            let value = value
                .as_str()
                .map_or_else(|| value.to_string(), str::to_owned);
            let _ = writeln!(text, "- {key}: {value}");
        }
        for done in &self.rows {
            let _ = write!(text, "\n## {}\n\n", done.row.title);
            match &done.figures {
                Ok(figures) => text.push_str(&section(figures)),
                Err(error) => {
                    let _ = writeln!(text, "Could not be measured: {error:#}");
                }
            }
        }
        text
    }

    /// What went wrong: a row and its error.
    pub fn failures(&self) -> impl Iterator<Item = (&'static str, String)> {
        self.rows
            .iter()
            .filter_map(|done| Some((done.row.name, format!("{:#}", done.figures.as_ref().err()?))))
    }

    fn figures(&self) -> impl Iterator<Item = &Figure> {
        self.rows
            .iter()
            .filter_map(|done| done.figures.as_ref().ok())
            .flatten()
    }
}

const PREAMBLE: &str = "# Benchmarks

Made by `cargo run --release -p tests --bin regmesh-bench -- --write docs/benchmarks.md`; the goals are those of
`spec/qualities.md`. Load comes from wrk (GET), ab (HEAD), curl and skopeo, on the same cores as the servers: trust ratios, not
clocks. Every value is the median of several runs in which the servers took turns. regmesh runs with `--log warn` unless a line
says otherwise, since nginx writes no access log either. A blank under *reached* means that the table sets no goal there.

## The machine

";

fn section(figures: &[Figure]) -> String {
    if figures.is_empty() {
        return "Nothing was measured: the program under test was not there.\n".to_owned();
    }
    let mut text = String::from(
        "| figure | regmesh | peer | ratio | goal | reached | note |\n|---|---|---|---|---|---|---|\n",
    );
    for figure in figures {
        let [what, ours, peer, name, ratio, goal, reached] = cells(figure);
        let _ = writeln!(
            text,
            "| {what} | {ours} | {peer} {name} | {ratio} | {goal} | {reached} | {} |",
            figure.note
        );
    }
    text
}

fn cells(figure: &Figure) -> [String; 7] {
    let value = |value: f64| figure.unit.text(value);
    let (name, peer) = figure
        .peer
        .clone()
        .map_or_else(Default::default, |(name, peer)| (name, value(peer)));
    let reached = match figure.reached() {
        Some(true) => "yes",
        Some(false) => "NO",
        None => "",
    };
    [
        figure.what.clone(),
        figure.ours.map_or_else(|| "-".to_owned(), value),
        peer,
        name,
        figure
            .ratio()
            .map_or_else(String::new, |ratio| format!("{ratio:.2}x")),
        figure.goal_text(),
        reached.to_owned(),
    ]
}

fn row_json(done: &Done) -> Value {
    let figures = done
        .figures
        .as_ref()
        .map(|figures| figures.iter().map(Figure::json).collect::<Vec<_>>());
    json!({
        "row": done.row.name,
        "title": done.row.title,
        "seconds": done.took,
        "error": figures.as_ref().err().map(|error| format!("{error:#}")),
        "figures": figures.unwrap_or_default(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bench::ROWS;
    use crate::bench::figure::{Goal, Unit};

    fn report() -> Report {
        let figure = Figure::new("blob", Unit::PerSecond)
            .ours(50.0)
            .peer("nginx", 100.0)
            .goal(Goal::RatioAtLeast(0.6))
            .note("why");
        let rows = vec![
            Done {
                row: &ROWS[0],
                figures: Ok(vec![figure]),
                took: 1.0,
            },
            Done {
                row: &ROWS[1],
                figures: Err(anyhow::anyhow!("no wrk")),
                took: 0.0,
            },
        ];
        Report {
            machine: json!({"cores": 2}),
            rows,
        }
    }

    #[test]
    fn a_missed_goal_is_told_and_a_row_that_failed_too() {
        let table = report().table();
        assert!(
            table.contains("blob    50/s") && table.contains("0.50x  >= 0.6x  NO"),
            "{table}"
        );
        assert!(
            table.contains("check could not be measured: no wrk"),
            "{table}"
        );
        let page = report().page();
        assert!(
            page.contains("| blob | 50/s | 100/s nginx | 0.50x | >= 0.6x | NO | why |"),
            "{page}"
        );
        assert!(page.contains("- cores: 2"), "{page}");
        let json = report().json();
        assert_eq!(json["rows"][0]["figures"][0]["reached"], false);
        assert_eq!(json["rows"][1]["error"], "no wrk");
    }
}
