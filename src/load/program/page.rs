//! The file of `--html`. An old page stays until the new one is whole.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use nix::fcntl::{FcntlArg, OFlag, fcntl};

/// A file that will be written at the end of the run.
pub(super) struct Page {
    file: File,
    /// The name of the regular file that the page replaces. A link is followed, so that it stays a link.
    name: Option<PathBuf>,
    /// The file that the page is written to first, and renamed from.
    temporary: Option<PathBuf>,
}

impl Page {
    /// Makes sure that the page can be written. Nothing of an old one is lost yet.
    ///
    /// # Errors
    /// One line: the file, or its folder, cannot be written.
    pub(super) fn create(name: &Path) -> io::Result<Self> {
        Self::try_create(name).map_err(|e| cannot_write(name, &e))
    }

    fn try_create(name: &Path) -> io::Result<Self> {
        // /dev/stdout is whatever stdout is: a file there has other things in it, too.
        if name.starts_with("/dev") || name.starts_with("/proc") {
            let file = open(name, OpenOptions::new().append(true))?;
            return Ok(Self::in_place(file, None));
        }
        let old = match open(name, OpenOptions::new().write(true)) {
            Ok(old) => Some(old),
            Err(e) if e.kind() == io::ErrorKind::NotFound => None,
            Err(e) => return Err(e),
        };
        let name = target_of(name)?;
        let kind = old.as_ref().map(File::metadata).transpose()?;
        if kind.as_ref().is_none_or(fs::Metadata::is_file) {
            let temporary = beside(&name);
            match (new_file(&temporary), old) {
                (Ok(file), _) => {
                    if let Some(kind) = kind {
                        let _ = file.set_permissions(kind.permissions());
                    }
                    return Ok(Self {
                        file,
                        name: Some(name),
                        temporary: Some(temporary),
                    });
                }
                (Err(e), None) => return Err(e),
                // Only the file itself can be written, so it is, at the end.
                (Err(_), Some(file)) => return Ok(Self::in_place(file, Some(name))),
            }
        }
        // A pipe or a device, which must not be replaced.
        old.map(|file| Self::in_place(file, None))
            .ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    fn in_place(file: File, name: Option<PathBuf>) -> Self {
        Self {
            file,
            name,
            temporary: None,
        }
    }

    /// # Errors
    /// One line: which file, and why.
    pub(super) fn write(mut self, page: &str) -> io::Result<()> {
        let written = self.try_write(page);
        written.map_err(|e| cannot_write(self.name.as_deref().unwrap_or(Path::new("the page")), &e))
    }

    fn try_write(&mut self, page: &str) -> io::Result<()> {
        if self.temporary.is_none() && self.name.is_some() {
            self.file.set_len(0)?;
        }
        self.file.write_all(page.as_bytes())?;
        match (self.temporary.take(), &self.name) {
            (Some(temporary), Some(name)) => fs::rename(temporary, name),
            _ => Ok(()),
        }
    }
}

impl Drop for Page {
    /// A page that was never written leaves nothing behind.
    fn drop(&mut self) {
        if let Some(temporary) = &self.temporary {
            let _ = fs::remove_file(temporary);
        }
    }
}

/// Opens a file. A pipe that nobody reads is an error, because waiting for a reader would delay the
/// run. Later writes wait for the reader.
fn open(name: &Path, options: &mut OpenOptions) -> io::Result<File> {
    let file = match options.custom_flags(libc::O_NONBLOCK).open(name) {
        Err(e) if e.raw_os_error() == Some(libc::ENXIO) => {
            return Err(io::Error::other("nobody reads this pipe"));
        }
        opened => opened?,
    };
    let flags = OFlag::from_bits_retain(fcntl(&file, FcntlArg::F_GETFL)?);
    fcntl(&file, FcntlArg::F_SETFL(flags - OFlag::O_NONBLOCK))?;
    Ok(file)
}

/// The most links that lead from one to the next, as Linux has it.
const LINKS: usize = 40;

/// Where a name leads. A link is followed, also if there is nothing yet where it leads.
fn target_of(name: &Path) -> io::Result<PathBuf> {
    let mut name = name.to_owned();
    for _ in 0..LINKS {
        if let Ok(whole) = fs::canonicalize(&name) {
            return Ok(whole);
        }
        let Ok(next) = fs::read_link(&name) else {
            return Ok(name);
        };
        name = name.with_file_name("").join(next);
    }
    Err(io::Error::from_raw_os_error(libc::ELOOP))
}

/// The name of a file in the same folder, as only there rename(2) replaces a file at once. It is short,
/// as there is a limit to names.
fn beside(name: &Path) -> PathBuf {
    name.with_file_name(format!(".hello-load.{}.tmp", std::process::id()))
}

/// A new file, in place of one that a process of the same number has left.
fn new_file(name: &Path) -> io::Result<File> {
    let create = || OpenOptions::new().write(true).create_new(true).open(name);
    match create() {
        Err(e) if e.kind() == io::ErrorKind::AlreadyExists => {
            fs::remove_file(name)?;
            create()
        }
        created => created,
    }
}

fn cannot_write(name: &Path, error: &io::Error) -> io::Error {
    let why = format!("cannot write {}: {error}", name.display());
    io::Error::new(error.kind(), why)
}
