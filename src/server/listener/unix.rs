//! Listening at a Unix path: which file may be replaced, and which is removed in the end.

use std::ffi::OsString;
use std::fs::{File, OpenOptions, symlink_metadata};
use std::io;
use std::os::unix::fs::{FileTypeExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::thread::sleep;
use std::time::Duration;

use nix::errno::Errno;
use nix::fcntl::{Flock, FlockArg};
use socket2::{Domain, SockAddr, Socket, Type};

use crate::error::explain;
use crate::server::{address, system};

/// Listens at a path, or at a name in the abstract namespace, which has no file.
pub(super) fn bind(path: &Path, backlog: u32) -> io::Result<(Socket, Option<OwnFile>)> {
    let socket = Socket::new(Domain::UNIX, Type::STREAM, None)?;
    let address = address::unix(path)?;
    system::refuse_descriptors(&socket);
    if address::name(path).is_some() {
        socket.bind(&address)?;
        super::listen(&socket, backlog)?;
        return Ok((socket, None));
    }
    let _until_it_listens = Lock::take(path)?;
    match socket.bind(&address) {
        Err(e) if e.kind() == io::ErrorKind::AddrInUse && is_stale(path) => {
            std::fs::remove_file(path)?;
            socket.bind(&address)?;
        }
        bound => bound?,
    }
    super::listen(&socket, backlog)?;
    let id = id(&symlink_metadata(path)?);
    let path = path.to_owned();
    Ok((socket, Some(OwnFile { path, id })))
}

/// Whether `path` is a Unix socket that nobody listens on: what a killed server leaves behind.
fn is_stale(path: &Path) -> bool {
    let is_socket = symlink_metadata(path).is_ok_and(|file| file.file_type().is_socket());
    let probe = || {
        let socket = Socket::new(Domain::UNIX, Type::STREAM, None)?;
        // A blocking connect(2) waits while the backlog of a busy server is full.
        socket.set_nonblocking(true)?;
        socket.connect(&SockAddr::unix(path)?)
    };
    is_socket && probe().is_err_and(|e: io::Error| e.kind() == io::ErrorKind::ConnectionRefused)
}

/// The file of a socket, removed with it. If there is another file at its path by then, that one stays.
#[derive(Debug)]
pub(super) struct OwnFile {
    path: PathBuf,
    id: (u64, u64),
}

impl Drop for OwnFile {
    fn drop(&mut self) {
        // Without the lock, a server that begins could replace the file between the two calls.
        let Ok(_lock) = Lock::take(&self.path) else {
            return;
        };
        if symlink_metadata(&self.path).is_ok_and(|file| id(&file) == self.id) {
            let _ = std::fs::remove_file(&self.path);
        }
    }
}

/// The device and the inode, which together name a file.
fn id(file: &std::fs::Metadata) -> (u64, u64) {
    (file.dev(), file.ino())
}

/// Lets one server at a time look at what is at a path and replace it: a socket that is bound and not
/// yet listening refuses connections like a stale one.
///
/// It is flock(2) on a file beside the socket, which can only be made by a process that could make the
/// socket as well, and only be opened by the same user. (A lock on the directory would need no file,
/// but any user who may read the directory could hold it.) The file is there for less than a
/// millisecond; if a process is killed in that time the file stays, locked by nobody.
struct Lock {
    path: PathBuf,
    _file: Flock<File>,
}

/// How often to try for the lock, a millisecond apart.
const TRIES: u32 = 1000;

impl Lock {
    /// Waits up to a second for it.
    fn take(path: &Path) -> io::Result<Self> {
        let path = Self::path(path);
        let failed = |e| explain(format!("its lock {}", path.display()), &e);
        let mut is_another_users = false;
        for _ in 0..TRIES {
            match Self::try_take(&path) {
                Ok(Some(lock)) => return Ok(lock),
                Ok(None) => is_another_users = false,
                Err(e) if is_denied(&e) && symlink_metadata(&path).is_ok() => {
                    is_another_users = true;
                }
                Err(e) => return Err(e),
            }
            sleep(Duration::from_millis(1));
        }
        if is_another_users {
            // No process needs it for so long: the one that made it was killed.
            std::fs::remove_file(&path).map_err(failed)?;
        }
        let taken = Self::try_take(&path).map_err(failed)?;
        taken.ok_or_else(|| failed(io::Error::other("a server that begins here has it")))
    }

    fn path(of: &Path) -> PathBuf {
        let mut name = OsString::from(".");
        name.push(of.file_name().unwrap_or_default());
        name.push(".hello-echo-lock");
        of.with_file_name(name)
    }

    /// `None` if another process has it.
    fn try_take(path: &Path) -> io::Result<Option<Self>> {
        let mut options = OpenOptions::new();
        options.write(true).create(true).mode(0o600);
        // A link of somebody's making is not followed, and a pipe is not waited for.
        options.custom_flags(libc::O_NOFOLLOW | libc::O_NONBLOCK);
        let file = options.open(path)?;
        let ours = id(&file.metadata()?);
        match Flock::lock(file, FlockArg::LockExclusiveNonblock) {
            // The last holder may have removed the file since it was opened here.
            Ok(file) if symlink_metadata(path).is_ok_and(|file| id(&file) == ours) => {
                let path = path.to_owned();
                Ok(Some(Self { path, _file: file }))
            }
            Ok(_) | Err((_, Errno::EWOULDBLOCK | Errno::EINTR)) => Ok(None),
            Err((_, e)) => Err(e.into()),
        }
    }
}

fn is_denied(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::PermissionDenied
}

impl Drop for Lock {
    fn drop(&mut self) {
        // While it is held, so that it is ours.
        let _ = std::fs::remove_file(&self.path);
    }
}
