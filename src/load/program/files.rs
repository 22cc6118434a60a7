//! Reports are read from files: those of --merge, and that of --baseline.

use std::fs::File;
use std::io::{self, BufReader, Read};
use std::path::Path;

use serde_json::{Deserializer, Value};

use crate::load::report::Report;

/// The report that the files make together. `-` is stdin.
///
/// # Errors
/// One line: which file cannot be read, is no report or cannot be added, and why.
pub(super) fn read<'a>(names: impl IntoIterator<Item = &'a Path>) -> io::Result<Report> {
    let mut sum = Sum::default();
    for name in names {
        let failed = |e: io::Error| {
            let why = format!("cannot read {}: {e}", name.display());
            io::Error::new(e.kind(), why)
        };
        if name == Path::new("-") {
            sum.read(io::stdin().lock()).map_err(failed)?;
        } else {
            sum.read(File::open(name).map_err(failed)?)
                .map_err(failed)?;
        }
    }
    sum.finish()
}

/// The report that a file with this text makes.
#[cfg(fuzzing)]
pub fn read_text(text: &[u8]) -> io::Result<Report> {
    let mut sum = Sum::default();
    sum.read(text)?;
    sum.finish()
}

/// The reports that were read so far. Each is added when it is read, so no more than two are kept.
#[derive(Default)]
struct Sum {
    whole: Option<Report>,
    /// The intervals of a run whose own report was not read yet.
    parts: Option<Report>,
}

impl Sum {
    /// Adds the reports of a file, one after the other.
    fn read(&mut self, file: impl Read) -> io::Result<()> {
        let mut found = false;
        let objects = Deserializer::from_reader(BufReader::new(file)).into_iter::<Value>();
        for (number, object) in (1..).zip(objects) {
            let which = |why: String| match number {
                1 => io::Error::other(why),
                _ => io::Error::other(format!("report {number}: {why}")),
            };
            let object = object.map_err(|e| match e.is_io() {
                true => e.into(),
                false => which(format!("it is not JSON: {e}")),
            })?;
            self.add(&object).map_err(which)?;
            found = true;
        }
        // A run that was killed has left its intervals only.
        if let Some(parts) = self.parts.take() {
            self.add_whole(parts).map_err(io::Error::other)?;
        }
        match found {
            true => Ok(()),
            false => Err(io::Error::other("there is no report in it")),
        }
    }

    /// An interval says how many connections are open at its end. The report of the whole run comes
    /// after its intervals, and counts what they count.
    fn add(&mut self, object: &Value) -> Result<(), String> {
        let report = Report::from_json(object)?;
        if object.get("open").is_none() {
            self.parts = None;
            return self.add_whole(report);
        }
        match &mut self.parts {
            Some(parts) => parts.add_part(report),
            None => self.parts = Some(report),
        }
        Ok(())
    }

    fn add_whole(&mut self, report: Report) -> Result<(), String> {
        match &mut self.whole {
            Some(whole) => whole
                .add(report)
                .map_err(|why| format!("it cannot be added: {why}")),
            None => {
                self.whole = Some(report);
                Ok(())
            }
        }
    }

    /// A sum may have more than a report can have.
    fn finish(self) -> io::Result<Report> {
        let whole = self.whole.ok_or("there is no report in the files");
        let whole = whole.map_err(io::Error::other)?;
        match Report::from_json(&whole.json()) {
            Ok(_) => Ok(whole),
            Err(why) => Err(io::Error::other(format!("the sum is no report: {why}"))),
        }
    }
}
