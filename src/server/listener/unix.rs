//! Listening at a Unix path: which file may be replaced, and which is removed at the end.

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

/// Whether `path` is a Unix socket that nobody listens on: a killed server leaves one behind.
fn is_stale(path: &Path) -> bool {
    let is_socket = symlink_metadata(path).is_ok_and(|file| file.file_type().is_socket());
    let probe = || {
        let socket = Socket::new(Domain::UNIX, Type::STREAM, None)?;
        // A blocking connect(2) would wait while the backlog of a busy server is full.
        socket.set_nonblocking(true)?;
        socket.connect(&SockAddr::unix(path)?)
    };
    is_socket && probe().is_err_and(|e: io::Error| e.kind() == io::ErrorKind::ConnectionRefused)
}

/// The file of a socket. It is removed with the socket, unless another file is at its path by then.
#[derive(Debug)]
pub(super) struct OwnFile {
    path: PathBuf,
    id: (u64, u64),
}

impl Drop for OwnFile {
    fn drop(&mut self) {
        // Without the lock, a server that starts could replace the file between the two calls.
        let lock = Lock::take(&self.path);
        let is_ours = || symlink_metadata(&self.path).is_ok_and(|file| id(&file) == self.id);
        if lock.is_ok() && is_ours() {
            let _ = std::fs::remove_file(&self.path);
        }
    }
}

/// The device and the inode, which together identify a file.
fn id(file: &std::fs::Metadata) -> (u64, u64) {
    (file.dev(), file.ino())
}

/// Lets one server at a time check what is at a path and replace it, because a socket that is bound
/// and does not listen yet refuses connections like a stale one.
///
/// The lock is flock(2) on a file beside the socket. Only a process that could make the socket can
/// make this file, and only the same user can open it. (A lock on the directory would need no file,
/// but any user who may read the directory could hold it.) The file exists for less than a
/// millisecond. If a process is killed in that time, the file stays, locked by nobody.
struct Lock {
    path: PathBuf,
    _file: Flock<File>,
}

/// How often to try for the lock, a millisecond apart.
const TRIES: u32 = 1000;

impl Lock {
    /// Waits up to a second for the lock.
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
            // No process needs the lock for so long: the one that made the file was killed.
            std::fs::remove_file(&path).map_err(failed)?;
        }
        let taken = Self::try_take(&path).map_err(failed)?;
        taken.ok_or_else(|| failed(io::Error::other("another server that starts here has it")))
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
        // It does not follow a link that somebody made, and does not wait for a pipe.
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
        // Removed while the lock is held, so the file is ours.
        let _ = std::fs::remove_file(&self.path);
    }
}
