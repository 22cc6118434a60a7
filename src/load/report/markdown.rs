//! The report in GitHub-flavoured Markdown, for the summary of a CI job.

use std::fmt::{self, Write};

use super::Report;
use super::beside::Compared;
use super::latency::FIGURES;
use super::quantity::{Bytes, Count, Number};
use super::targets::HEADINGS;
use crate::program::escape::escape;

impl Report {
    /// The report in Markdown: the verdict, what was wrong, and the tables.
    #[must_use]
    pub fn markdown(&self) -> String {
        let mut text = String::new();
        let _ = self.write_markdown(&mut text); // a String takes everything
        text
    }

    fn write_markdown(&self, text: &mut String) -> fmt::Result {
        self.markdown_verdict(text)?;
        self.markdown_search(text)?;
        self.markdown_wrongs(text)?;
        self.markdown_targets(text)?;
        self.markdown_comparisons(text)?;
        self.markdown_latencies(text)
    }

    fn markdown_verdict(&self, text: &mut String) -> fmt::Result {
        let record = &self.record;
        let (right, wrong) = (record.outcomes.right, record.outcomes.wrongs());
        let seconds = self.elapsed.as_secs_f64();
        let sign = if self.is_good() { "✅" } else { "❌" };
        if let Some(search) = &self.search {
            writeln!(text, "### {sign} {}\n", plain(&search.headline()))?;
        } else {
            writeln!(
                text,
                "### {sign} {} right, {} wrong, {} a second\n",
                Count(right),
                Count(wrong),
                Number(self.throughput(), 0)
            )?;
        }
        for failure in self.conditions_met() {
            writeln!(text, "**Failed: {}**\n", plain(&failure))?;
        }
        writeln!(text, "{}\n", code(&self.line))?;
        let [sent, received] = record.bytes.map(|bytes| Bytes(bytes as f64));
        writeln!(
            text,
            "{} connections in {} s, {} open at once at most, {} held, {} given up; sent {sent}, received {received}; \
             seed {}\n",
            Count(record.outcomes.opened),
            Number(seconds, 2),
            Count(record.most_open),
            Count(record.held),
            Count(record.outcomes.given_up),
            self.seed
        )?;
        for remark in self.cut_short().into_iter().chain(self.remarks()) {
            writeln!(text, "{}\n", plain(&remark))?;
        }
        Ok(())
    }

    fn markdown_wrongs(&self, text: &mut String) -> fmt::Result {
        let record = &self.record;
        if record.outcomes.wrong.is_empty() {
            return Ok(());
        }
        table_head(text, ["wrong", "count"])?;
        for (fault, count) in &record.outcomes.wrong {
            table_row(text, [code(&fault.to_string()), Count(*count).to_string()])?;
        }
        writeln!(text)?;
        for (_, described) in &record.described {
            writeln!(text, "- {}", code(described))?;
        }
        writeln!(text)
    }

    fn markdown_targets(&self, text: &mut String) -> fmt::Result {
        let rows = self.target_rows();
        if rows.is_empty() {
            return Ok(());
        }
        table_head(text, HEADINGS)?;
        for [target, cells @ ..] in rows {
            let cells = cells.iter().map(|cell| plain(cell));
            table_row(text, std::iter::once(code(&target)).chain(cells))?;
        }
        writeln!(text)
    }

    fn markdown_search(&self, text: &mut String) -> fmt::Result {
        let Some(search) = &self.search else {
            return Ok(());
        };
        for remark in search.remarks() {
            writeln!(text, "{}\n", plain(&remark))?;
        }
        table_head(text, search.headings())?;
        for row in search.rows() {
            table_row(text, row.iter().map(|cell| plain(cell)))?;
        }
        writeln!(text)
    }

    /// Beside the first target, and beside an earlier run.
    fn markdown_comparisons(&self, text: &mut String) -> fmt::Result {
        let targets = self.tallies().skip(1).zip(self.beside_first());
        for (target, compared) in targets {
            writeln!(text, "{} beside the first target:\n", code(&target.target))?;
            compared_list(text, &compared, "the first")?;
        }
        if let Some(baseline) = &self.baseline {
            let began = humantime::format_rfc3339_seconds(baseline.began);
            writeln!(
                text,
                "Beside the baseline of {began}, with 95 % intervals:\n"
            )?;
            compared_list(text, &self.beside_baseline(), "the baseline")?;
        }
        Ok(())
    }

    fn markdown_latencies(&self, text: &mut String) -> fmt::Result {
        let mut rows = self.latencies();
        rows.retain(|row| !row.histogram.is_empty());
        if rows.is_empty() {
            return Ok(());
        }
        let headings = FIGURES.map(|(_, heading, _)| heading);
        let headings = std::iter::once("time").chain(headings).chain(["count"]);
        table_head(text, headings)?;
        for row in rows {
            let figures = FIGURES.map(|(_, _, figure)| figure.time(row.histogram).to_string());
            let name = std::iter::once(row.name.to_owned());
            let count = Count(row.histogram.len()).to_string();
            table_row(text, name.chain(figures).chain([count]))?;
        }
        let phases = self.about_phases().join("; ");
        writeln!(text, "\n{}. {phases}", self.about_latencies())
    }
}

fn compared_list(text: &mut String, compared: &[Compared], with: &str) -> fmt::Result {
    for compared in compared {
        writeln!(text, "- {}", plain(&compared.sentence(with)))?;
    }
    writeln!(text)
}

/// The headings, of which all but the first are of numbers.
fn table_head<'a>(text: &mut String, headings: impl IntoIterator<Item = &'a str>) -> fmt::Result {
    let headings: Vec<&str> = headings.into_iter().collect();
    table_row(text, headings.iter().map(|heading| (*heading).to_owned()))?;
    writeln!(text, "|---|{}", "--:|".repeat(headings.len() - 1))
}

fn table_row(text: &mut String, cells: impl IntoIterator<Item = String>) -> fmt::Result {
    let cells: Vec<String> = cells.into_iter().collect();
    writeln!(text, "| {} |", cells.join(" | "))
}

/// Text that others chose, as it is: no character of it means something to Markdown or to HTML.
fn plain(text: &str) -> String {
    let mut shown = String::new();
    for character in escape(text).chars() {
        if character.is_ascii_punctuation() {
            shown.push('\\');
        }
        shown.push(character);
        shown += behind(character);
    }
    shown
}

/// An empty comment behind an `@`: without it cmark-gfm makes a link of `a@b.c`, even of one that is escaped.
fn behind(character: char) -> &'static str {
    if character == '@' { "<!-- -->" } else { "" }
}

/// The same in the type of code. HTML's element, since a table takes a `|` for its own even between
/// backticks, and in no other place.
fn code(text: &str) -> String {
    let mut shown = "<code>".to_owned();
    for character in escape(text).chars() {
        match character {
            c if c.is_ascii_punctuation() && !"-/,=%".contains(c) => {
                let _ = write!(shown, "&#{};{}", u32::from(c), behind(c));
            }
            c => shown.push(c),
        }
    }
    shown + "</code>"
}

#[cfg(test)]
mod tests {
    use crate::load::machine::record::Record;
    use crate::load::report::Report;
    use crate::load::report::read::tests::eventful;
    use crate::load::report::search::tests::searched;

    /// tests/suite/load/markdown.rs renders it, where there is a renderer.
    #[test]
    fn comparisons_and_a_search_are_in_it() {
        let mut report = eventful();
        let check = |text: &str, parts: &[&str]| {
            for part in parts {
                assert!(text.contains(part), "{part} is not in {text}");
            }
        };
        check(
            &report.markdown(),
            &[
                "<code>b&#58;1</code> beside the first target:\n\n- p50 ",
                " of the first",
                "cut short\\: it broke\n",
            ],
        );
        report.baseline = Some(Box::new(eventful()));
        check(
            &report.markdown(),
            &[
                "\nBeside the baseline of 2026-11-28T",
                "- rate 1\\.00 of the baseline",
            ],
        );
        let search = searched("p99<5ms");
        let headings = search.headings().join(" | ");
        report.search = Some(search);
        let text = report.markdown();
        assert!(text.starts_with("### ❌ p99\\<5ms holds at "), "{text}");
        check(&text, &[&format!("\n| {headings} |\n|---|--:|")]);
    }

    /// A run that was refused everywhere has no times, and so no table of them.
    #[test]
    fn what_is_not_there_has_no_table() {
        let nothing = Report::of(Record::new(["a".to_owned()]).unwrap());
        let text = nothing.markdown();
        assert!(text.starts_with("### ❌ 0 right, 0 wrong, "), "{text}");
        assert!(!text.contains("|---|"), "{text}");
    }
}
