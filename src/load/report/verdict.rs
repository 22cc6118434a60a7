//! Whether a run was good, and why not. The exit code, stderr, the page and the Markdown all ask here.

use super::Report;
use super::condition::Count;

impl Report {
    /// Whether the run was good: it was not cut short, nothing was wrong, and there are no
    /// [failures](Self::failures). A search tries rates that are too high, so what was wrong or missed
    /// then does not count.
    #[must_use]
    pub fn is_good(&self) -> bool {
        let is_wrong = self.record.outcomes.wrongs() > 0 && self.search.is_none();
        !is_wrong && self.failures().is_empty()
    }

    /// Why it was not good, a line for each reason. What was wrong is in the record.
    #[must_use]
    pub fn failures(&self) -> Vec<String> {
        let (outcomes, missed) = (&self.record.outcomes, self.record.missed);
        let mut failures = self.conditions_met();
        let is_tolerated = self.fail_if.iter().any(|c| c.is_about(Count::Missed));
        if missed > 0 && !is_tolerated && self.search.is_none() {
            failures.push(format!("{missed} exchanges were missed"));
        }
        if let Some(cut_short) = self.cut_short() {
            failures.push(cut_short);
            return failures; // what it has not reached is no other failure
        }
        failures.extend(self.search.as_ref().and_then(|search| search.complaint()));
        if outcomes.right == 0 && outcomes.wrongs() == 0 {
            failures.push("nothing was exchanged".to_owned());
        }
        failures
    }

    /// The conditions under which the run fails and that are so, each in one line.
    pub(super) fn conditions_met(&self) -> Vec<String> {
        let conditions = self.fail_if.iter();
        conditions.filter_map(|c| c.complaint(self)).collect()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::load::machine::exchange::{Fault, Phase};
    use crate::load::machine::record::{Outcomes, Record};
    use crate::load::report::html;
    use crate::load::report::search::tests::searched;

    /// Changes a good run, and compares what each report says with its failures.
    fn check(change: impl Fn(&mut Report), failures: &[&str], is_good: bool) {
        let mut record = Record::new(["a:1".to_owned()]).unwrap();
        record.outcomes.opened = 500;
        record.outcomes.right = 500;
        let mut report = Report::of(record);
        change(&mut report);
        assert_eq!(report.failures(), failures);
        assert_eq!(report.is_good(), is_good);
        let (sign, class) = if is_good {
            ("✅", "good")
        } else {
            ("❌", "bad")
        };
        let (markdown, page) = (report.markdown(), html::page(&report));
        assert!(markdown.starts_with(&format!("### {sign} ")), "{markdown}");
        assert!(page.contains(&format!("<h1 class=\"{class}\">")), "{page}");
    }

    #[test]
    fn every_report_has_the_same_verdict() {
        check(|_| {}, &[], true);
        check(
            |r| r.record.outcomes = Outcomes::default(),
            &["nothing was exchanged"],
            false,
        );
        let fault = Fault::TimedOut(Phase::Echo);
        check(
            |r| r.record.outcomes.wrong = [(fault, 1)].into(),
            &[],
            false,
        );
        check(|r| r.record.missed = 3, &["3 exchanges were missed"], false);
        let tolerant = |report: &mut Report, missed| {
            report.record.missed = missed;
            report.fail_if = vec!["missed>5".parse().unwrap()];
        };
        check(|r| tolerant(r, 3), &[], true);
        check(|r| tolerant(r, 6), &["missed>5: it is 6"], false);
        check(|r| r.is_cut_short = true, &["cut short by a signal"], false);
        check(
            |r| (r.is_cut_short, r.error) = (true, Some("it broke".to_owned())),
            &["cut short: it broke"],
            false,
        );
        let search = |report: &mut Report| {
            report.record.missed = 3;
            report.record.outcomes.wrong.insert(fault, 1);
            report.search = Some(searched("p99<5ms"));
        };
        check(search, &[], true);
        let unsure = |report: &mut Report| {
            search(report);
            let found = report.search.as_mut().unwrap().found.as_mut();
            found.unwrap().is_confirmed = false;
        };
        let failure = "p99<5ms held at 2000 a second, not confirmed";
        check(unsure, &[failure], false);
        let vain = |report: &mut Report| {
            search(report);
            report.search.as_mut().unwrap().found = None;
        };
        check(vain, &["no rate kept p99<5ms"], false);
        let stopped = |report: &mut Report| {
            vain(report);
            (report.is_cut_short, report.elapsed) = (true, Duration::from_millis(1));
        };
        check(stopped, &["cut short by a signal"], false);
    }
}
