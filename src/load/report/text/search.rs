//! What a search for a rate has found, as text.

use std::fmt::{self, Write};

use crate::load::report::Report;

impl Report {
    /// The answer, before all else.
    pub(super) fn search_answer(&self, text: &mut String) -> fmt::Result {
        let Some(search) = &self.search else {
            return Ok(());
        };
        writeln!(text, "{}", search.headline())?;
        for remark in search.remarks() {
            writeln!(text, "{remark}")?;
        }
        writeln!(text)
    }

    /// The windows, in order.
    pub(super) fn search_table(&self, text: &mut String) -> fmt::Result {
        let Some(search) = &self.search else {
            return Ok(());
        };
        writeln!(text)?;
        let headings = search.headings().map(str::to_owned);
        for row in std::iter::once(headings).chain(search.rows()) {
            let [rate, achieved, figure, samples, verdict] = row;
            writeln!(
                text,
                "{rate:>8} {achieved:>8} {figure:>10} {samples:>8}  {verdict}"
            )?;
        }
        Ok(())
    }
}
