//! The report as text, for a terminal. It has no colour, so that it reads the same in a terminal,
//! in a file and in a mail, and needs no option for it.

mod search;

use std::fmt::{self, Write};

use hdrhistogram::Histogram;

use super::Report;
use super::latency::{Bucket, FIGURES, Latency, buckets};
use super::quantity::{Bytes, Time};
use super::targets::HEADINGS;
use crate::program::escape::escape;

/// The bars of a distribution that goes to a file or to another program.
const BARS: usize = 20;

/// A small terminal scrolls rather than that a distribution has fewer bars.
const LEAST_BARS: usize = 6;

/// A terminal has these lines beside the report: the command, and the next prompt.
const OTHER_LINES: usize = 2;

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text(None)?)
    }
}

impl Report {
    /// The report for a terminal of so many rows and columns: its distribution fills what is left.
    #[must_use]
    pub fn for_terminal(&self, size: Option<(u16, u16)>) -> String {
        self.text(size).unwrap_or_default() // a String takes everything
    }

    fn text(&self, size: Option<(u16, u16)>) -> Result<String, fmt::Error> {
        let mut rows = self.latencies();
        rows.retain(|row| !row.histogram.is_empty());
        let mut text = String::new();
        self.search_answer(&mut text)?;
        self.summary(&mut text)?;
        self.search_table(&mut text)?;
        self.targets_table(&mut text)?;
        self.baseline(&mut text)?;
        self.table(&mut text, &rows)?;
        let shown = rows.iter().find(|row| row.key == "total");
        if let Some(row) = shown.or(rows.iter().find(|row| row.key == "held_echo")) {
            writeln!(text, "\nexchanges by {} time", row.name)?;
            let bars = size.map_or(BARS, |size| rows_left(&text, size));
            write!(text, "{}", Bars(row.histogram, bars))?;
        }
        Ok(text)
    }

    fn summary(&self, text: &mut String) -> fmt::Result {
        let record = &self.record;
        let (done, seconds) = (
            record.outcomes.right + record.outcomes.wrongs(),
            self.elapsed.as_secs_f64(),
        );
        let (right, wrong) = (record.outcomes.right, record.outcomes.wrongs());
        if let Some(cut_short) = self.cut_short() {
            writeln!(text, "{}", escape(&cut_short))?;
        }
        writeln!(
            text,
            "{done} exchanges in {seconds:.2} s: {right} right, {wrong} wrong"
        )?;
        writeln!(text, "{}", self.about_rate())?;
        writeln!(
            text,
            "{} connections opened, {} at once at most, {} held, {} given up",
            record.outcomes.opened, record.most_open, record.held, record.outcomes.given_up
        )?;
        let [sent, received] = record.bytes.map(|bytes| bytes as f64);
        let [out, back] = [sent, received].map(|bytes| Bytes(bytes / seconds.max(1e-9)));
        let [sent, received] = [sent, received].map(Bytes);
        let seed = self.seed;
        writeln!(
            text,
            "sent {sent}, {out}/s; received {received}, {back}/s; seed {seed}"
        )?;
        let ([payload, echoed], in_part) = (record.echoed, record.echoed_in_part);
        writeln!(
            text,
            "echoed {echoed} of {payload} bytes; {in_part} exchanges were echoed in part"
        )?;
        for remark in self.remarks() {
            writeln!(text, "{remark}")?;
        }
        for (fault, count) in &record.outcomes.wrong {
            writeln!(text, "  {count} {fault}")?;
        }
        for (_, described) in &record.described {
            writeln!(text, "  {}", escape(described))?;
        }
        Ok(())
    }

    fn targets_table(&self, text: &mut String) -> fmt::Result {
        let rows = self.target_rows();
        let width = |row: &[String; 6]| row[0].chars().count();
        let Some(width) = rows.iter().map(width).max() else {
            return Ok(());
        };
        writeln!(text)?;
        let headings = HEADINGS.map(str::to_owned);
        let mut compared = [vec![], vec![]].into_iter().chain(self.beside_first());
        for [target, opened, right, p50, p99, wrong] in std::iter::once(headings).chain(rows) {
            let target = escape(&target);
            writeln!(
                text,
                "{target:<width$} {opened:>9} {right:>9} {p50:>9} {p99:>9}  {wrong}"
            )?;
            for compared in compared.next().into_iter().flatten() {
                writeln!(text, "  {}", compared.sentence("the first"))?;
            }
        }
        Ok(())
    }

    fn baseline(&self, text: &mut String) -> fmt::Result {
        let Some(baseline) = &self.baseline else {
            return Ok(());
        };
        let began = humantime::format_rfc3339_seconds(baseline.began);
        writeln!(
            text,
            "\nbeside the baseline of {began}, with 95 % intervals"
        )?;
        for compared in self.beside_baseline() {
            writeln!(text, "  {}", compared.sentence("the baseline"))?;
        }
        Ok(())
    }

    fn table(&self, text: &mut String, rows: &[Latency<'_>]) -> fmt::Result {
        if rows.is_empty() {
            return Ok(());
        }
        write!(text, "\n{}\n{}", self.about_latencies(), Table(rows))?;
        writeln!(text, "{}", self.about_phases().join(";\n"))
    }
}

/// The rows that a terminal has left below this text, whose long lines it wraps.
fn rows_left(text: &str, (rows, columns): (u16, u16)) -> usize {
    let columns = usize::from(columns.max(1));
    let wrapped = |line: &str| line.chars().count().max(1).div_ceil(columns);
    let taken: usize = text.lines().map(wrapped).sum();
    usize::from(rows)
        .saturating_sub(taken + OTHER_LINES)
        .max(LEAST_BARS)
}

/// Less than 80 columns wide, as long as there are fewer than 100 million exchanges.
struct Table<'a>(&'a [Latency<'a>]);

impl fmt::Display for Table<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:<14}", "")?;
        for (_, heading, _) in FIGURES {
            write!(f, "{heading:>7}")?;
        }
        writeln!(f, " {:>8}", "count")?;
        for Latency {
            name, histogram, ..
        } in self.0
        {
            write!(f, "{name:<14}")?;
            for (_, _, figure) in FIGURES {
                let time = figure.time(histogram).to_string();
                write!(f, "{:>7}", time.replace(' ', ""))?;
            }
            writeln!(f, " {:>8}", histogram.len())?;
        }
        Ok(())
    }
}

/// A bar for each of at most so many buckets, as long as its share of the largest.
struct Bars<'a>(&'a Histogram<u64>, usize);

impl fmt::Display for Bars<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const WIDTH: u64 = 50;
        let buckets = buckets(self.0, self.1);
        let most = buckets.iter().map(|bucket| bucket.count).max().unwrap_or(0);
        for Bucket { end, count, .. } in buckets {
            // In eighths of a block and rounded up, so that the least count shows, too.
            let eighths = (count * WIDTH * 8).div_ceil(most.max(1));
            let mut bar = "█".repeat((eighths / 8) as usize);
            bar.extend(
                "▏▎▍▌▋▊▉"
                    .chars()
                    .nth((eighths % 8).wrapping_sub(1) as usize),
            );
            writeln!(f, "{:>11} {bar} {count}", format!("≤ {}", Time(end as u64)))?;
        }
        Ok(())
    }
}
