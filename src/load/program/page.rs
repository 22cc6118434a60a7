//! The file of `--html`. An old page stays until the new one is whole.

use std::fs::{self, File, Metadata, OpenOptions};
use std::hash::{BuildHasher, Hasher, RandomState};
use std::io::{self, Write};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use nix::fcntl::{FcntlArg, OFlag, fcntl};

/// A file that will be written at the end of the run.
pub(super) struct Page {
    /// As the user wrote it.
    name: PathBuf,
    place: Place,
}

/// Where the page goes.
enum Place {
    /// A pipe or a device, or what stdout is: the page comes after what is there.
    Added(File),
    /// A file whose folder takes no new file.
    Overwritten(File),
    /// A new file, which takes this name when it is whole. A link is followed, so that it stays a link.
    /// The old file is there for a name that cannot be taken: another user's in a folder like /tmp, or
    /// one that something is mounted on; and for a folder that takes no new file any more.
    Renamed { name: PathBuf, old: Option<File> },
}

impl Page {
    /// Makes sure that the page can be written. Nothing of an old one is lost yet, and nothing new is left
    /// if the program is killed.
    ///
    /// # Errors
    /// One line: the file, or its folder, cannot be written.
    pub(super) fn create(name: &Path) -> io::Result<Self> {
        Ok(Self {
            name: name.to_owned(),
            place: Place::find(name).map_err(|e| cannot_write(name, &e))?,
        })
    }

    /// # Errors
    /// One line: which file, and why.
    pub(super) fn write(self, page: &str) -> io::Result<()> {
        let written = match self.place {
            Place::Added(mut file) => file.write_all(page.as_bytes()),
            Place::Overwritten(file) => overwrite(file, page),
            Place::Renamed { name, old } => replace(&name, old, page),
        };
        written.map_err(|e| cannot_write(&self.name, &e))
    }
}

impl Place {
    fn find(name: &Path) -> io::Result<Self> {
        // /dev/stdout is whatever stdout is: a file there has other things in it, too.
        if name.starts_with("/dev") || name.starts_with("/proc") {
            return open(name, OpenOptions::new().append(true)).map(Self::Added);
        }
        let mut old = match open(name, OpenOptions::new().write(true)) {
            Ok(old) => Some(old),
            Err(e) if e.kind() == io::ErrorKind::NotFound => None,
            Err(e) => return Err(e),
        };
        let name = target_of(name)?;
        if let Some(file) = old.take_if(|old| !old.metadata().is_ok_and(|kind| kind.is_file())) {
            return Ok(Self::Added(file));
        }
        match (Temporary::create(&name), old) {
            (Ok(_), old) => Ok(Self::Renamed { name, old }),
            (Err(_), Some(file)) => Ok(Self::Overwritten(file)),
            (Err(e), None) => Err(e),
        }
    }
}

/// Writes the page over what is in the file. The file gets its new length last, so a page that is not
/// longer than the old one fits on a full disk, too.
///
/// # Errors
/// It cannot be written, or the file was removed and so nobody would find the page.
fn overwrite(mut file: File, page: &str) -> io::Result<()> {
    if file.metadata()?.nlink() == 0 {
        return Err(io::Error::from_raw_os_error(libc::ENOENT));
    }
    file.write_all(page.as_bytes())?;
    file.set_len(page.len() as u64)
}

/// Replaces the old file by a new one. If that cannot be done, as the folder takes no new file by now
/// or the name cannot be taken, the old file is overwritten.
fn replace(name: &Path, old: Option<File>, page: &str) -> io::Result<()> {
    match (rename_new(name, old.as_ref(), page), old) {
        (Err(e), Some(old)) if !both_would_be_lost(&old, page, &e) => overwrite(old, page),
        (replaced, _) => replaced,
    }
}

/// Writes the page into a new file, and gives it the name.
fn rename_new(name: &Path, old: Option<&File>, page: &str) -> io::Result<()> {
    let mut new = Temporary::create(name)?;
    new.file.write_all(page.as_bytes())?;
    if let Some(old) = old.and_then(|old| old.metadata().ok()) {
        let _ = new.file.set_permissions(old.permissions());
    }
    fs::rename(&new.name, name)
}

/// On a full disk a page that is longer than the old one may not fit in its place.
fn both_would_be_lost(old: &File, page: &str, why: &io::Error) -> bool {
    let is_full = matches!(
        why.kind(),
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded
    );
    let is_longer = |old: Metadata| page.len() as u64 > old.len();
    is_full && old.metadata().map_or(true, is_longer)
}

/// A new file beside another. It is removed with this value, unless it has another name by then.
struct Temporary {
    file: File,
    name: PathBuf,
}

impl Temporary {
    /// The file is in the same folder, as only there rename(2) replaces a file at once. Its name is
    /// short, as there is a limit to names. It is made of chance, not of the process's number: in each
    /// of several containers that share the folder the program may be process 1.
    fn create(beside: &Path) -> io::Result<Self> {
        let chance = RandomState::new().build_hasher().finish();
        let name = beside.with_file_name(format!(".hello-load.{chance:016x}.tmp"));
        let file = OpenOptions::new()
            .write(true)
            .create_new(true)
            .open(&name)?;
        Ok(Self { file, name })
    }
}

impl Drop for Temporary {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.name);
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
            return is_file_name(&name)
                .then_some(name)
                .ok_or_else(|| io::Error::from_raw_os_error(libc::EISDIR));
        };
        name = name.with_file_name("").join(next);
    }
    Err(io::Error::from_raw_os_error(libc::ELOOP))
}

/// Whether a file can have the name. `x/` can only be a folder's, and Path leaves out the end of it.
fn is_file_name(name: &Path) -> bool {
    let (whole, file) = (name.as_os_str(), name.file_name());
    file.is_some_and(|file| whole.as_bytes().ends_with(file.as_bytes()))
}

fn cannot_write(name: &Path, error: &io::Error) -> io::Error {
    let why = format!("cannot write {}: {error}", name.display());
    io::Error::new(error.kind(), why)
}
