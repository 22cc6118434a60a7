//! The report as text, for a terminal.

use std::fmt;

use hdrhistogram::Histogram;

use super::Report;
use super::latency::{Latency, QUANTILES, Time, buckets};
use crate::program::escape::escape;

impl fmt::Display for Report<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let record = self.record;
        let (done, seconds) = (record.right + record.wrongs(), self.elapsed.as_secs_f64());
        let (right, wrong, rate) = (record.right, record.wrongs(), self.throughput());
        if let Some(cut_short) = self.cut_short() {
            writeln!(f, "{}", escape(&cut_short))?;
        }
        writeln!(
            f,
            "{done} exchanges in {seconds:.2} s, {rate:.0} a second: {right} right, {wrong} wrong"
        )?;
        writeln!(
            f,
            "{} connections opened, {} at once at most, {} held, {} given up; seed {}",
            record.opened, record.most_open, record.held, record.given_up, self.seed
        )?;
        for remark in self.remarks() {
            writeln!(f, "{remark}")?;
        }
        for (fault, count) in &record.wrong {
            writeln!(f, "  {count} {fault}")?;
        }
        for described in &record.described {
            writeln!(f, "  {}", escape(described))?;
        }
        let mut rows = self.latencies();
        rows.retain(|row| !row.histogram.is_empty());
        if rows.is_empty() {
            return Ok(());
        }
        write!(f, "\n{}", Table(&rows))?;
        if self.rate.is_some() {
            writeln!(
                f,
                "total counts from when an exchange was meant to begin, raw from when it did"
            )?;
        }
        let shown = rows.iter().find(|row| row.key == "total");
        let shown = shown.or(rows.iter().find(|row| row.key == "held_echo"));
        shown.map_or(Ok(()), |row| {
            write!(
                f,
                "\nexchanges by {} time\n{}",
                row.name,
                Bars(row.histogram)
            )
        })
    }
}

struct Table<'a>(&'a [Latency<'a>]);

impl fmt::Display for Table<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:<15}", "")?;
        for (_, heading, _) in QUANTILES {
            write!(f, "{heading:>10}")?;
        }
        writeln!(f, "{:>10}", "count")?;
        for Latency {
            name, histogram, ..
        } in self.0
        {
            write!(f, "{name:<15}")?;
            for (_, _, at) in QUANTILES {
                let time = Time(histogram.value_at_quantile(at)).to_string();
                write!(f, "{time:>10}")?;
            }
            writeln!(f, "{:>10}", histogram.len())?;
        }
        Ok(())
    }
}

/// A bar for each bucket, as long as its share of the largest.
struct Bars<'a>(&'a Histogram<u64>);

impl fmt::Display for Bars<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const WIDTH: u64 = 50;
        let buckets = buckets(self.0);
        let most = buckets.iter().map(|(_, count)| *count).max().unwrap_or(0);
        for (end, count) in buckets {
            // In eighths of a block and rounded up, so that the least count shows, too.
            let eighths = (count * WIDTH * 8).div_ceil(most.max(1));
            let mut bar = "█".repeat((eighths / 8) as usize);
            bar.extend(
                "▏▎▍▌▋▊▉"
                    .chars()
                    .nth((eighths % 8).wrapping_sub(1) as usize),
            );
            writeln!(f, "{:>11} {bar} {count}", format!("≤ {}", Time(end)))?;
        }
        Ok(())
    }
}
