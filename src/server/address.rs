//! Addresses: as people write them, and as a listener has them.

use std::fmt;
use std::io;
use std::net::{Ipv6Addr, SocketAddr};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use socket2::SockAddr;

use super::system;

/// An address as it is written: `HOST:PORT`, `[V6]:PORT`, `unix:PATH` or `unix:@NAME`.
///
/// ```
/// use hello_echo::Address;
///
/// let address: Address = "[::]:8000".parse()?;
/// assert_eq!(address, Address::Tcp { host: "::".into(), port: 8000 });
/// assert_eq!(address.to_string(), "[::]:8000");
/// assert!("8000".parse::<Address>().is_err());
/// # Ok::<(), hello_echo::ParseAddressError>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Address {
    /// A TCP port of a host.
    Tcp {
        /// An IPv4 address, an IPv6 address without brackets, or a name to be resolved.
        host: String,
        /// The port; 0 takes a free one.
        port: u16,
    },
    /// A Unix stream socket at this path. If an `@` comes first, the rest is a name in the abstract
    /// namespace. A file whose name begins with an `@` is `./@...`.
    Unix(PathBuf),
}

/// The address that a listener is bound to: a port 0 has become a real one, a name an IP address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LocalAddr {
    /// A TCP port.
    Tcp(SocketAddr),
    /// A Unix stream socket at this path. A name in the abstract namespace has an `@` before it.
    Unix(PathBuf),
}

impl LocalAddr {
    /// `None` for an address that is neither TCP nor Unix, or that nobody could connect to.
    pub(crate) fn of(address: &SockAddr) -> Option<Self> {
        let path = || Some(address.as_pathname()?.to_owned());
        let name = || {
            let name = String::from_utf8_lossy(address.as_abstract_namespace()?);
            Some(PathBuf::from(format!("@{name}")))
        };
        address
            .as_socket()
            .map(Self::Tcp)
            .or_else(|| path().or_else(name).map(Self::Unix))
    }
}

/// What [`Address::Unix`] is for the kernel.
///
/// # Errors
/// It is too long.
pub(crate) fn unix(path: &Path) -> io::Result<SockAddr> {
    match name(path) {
        Some(name) => system::abstract_name(name),
        None => SockAddr::unix(path),
    }
}

/// The name in the abstract namespace. `None` for a path.
pub(crate) fn name(path: &Path) -> Option<&[u8]> {
    path.as_os_str().as_bytes().strip_prefix(b"@")
}

/// Why a text is not an [`Address`], in words.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ParseAddressError(&'static str);

impl FromStr for Address {
    type Err = ParseAddressError;

    fn from_str(text: &str) -> Result<Self, ParseAddressError> {
        if let Some(path) = text.strip_prefix("unix:") {
            if path.is_empty() {
                return Err(ParseAddressError("unix: needs a path"));
            }
            if path == "@" {
                return Err(ParseAddressError("unix:@ needs a name"));
            }
            return Ok(Self::Unix(path.into()));
        }
        let (host, port) = text.rsplit_once(':').ok_or(ParseAddressError(
            "expected HOST:PORT, [V6]:PORT, unix:PATH or unix:@NAME",
        ))?;
        // u16's own parser would accept a sign.
        let is_number = port.bytes().all(|digit| digit.is_ascii_digit());
        let port = port
            .parse()
            .ok()
            .filter(|_| is_number)
            .ok_or(ParseAddressError("the port is not a number 0 to 65535"))?;
        Ok(Self::Tcp {
            host: parse_host(host)?.to_owned(),
            port,
        })
    }
}

fn parse_host(host: &str) -> Result<&str, ParseAddressError> {
    if let Some(bracketed) = host.strip_prefix('[') {
        let address = bracketed
            .strip_suffix(']')
            .ok_or(ParseAddressError("the bracket of [V6]:PORT is not closed"))?;
        // A zone (`fe80::1%eth0`) is left to the resolver, which knows the interfaces.
        let (numeric, _zone) = address.split_once('%').unwrap_or((address, ""));
        return match numeric.parse::<Ipv6Addr>() {
            Ok(_) => Ok(address),
            Err(_) => Err(ParseAddressError(
                "there is no IPv6 address in the brackets",
            )),
        };
    }
    if host.is_empty() {
        return Err(ParseAddressError(
            "the host is missing; all interfaces are 0.0.0.0 or [::]",
        ));
    }
    if host.contains(':') {
        return Err(ParseAddressError(
            "an IPv6 address needs brackets: [::1]:8000",
        ));
    }
    Ok(host)
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp { host, port } if host.contains(':') => write!(f, "[{host}]:{port}"),
            Self::Tcp { host, port } => write!(f, "{host}:{port}"),
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

impl fmt::Display for LocalAddr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(address) => address.fmt(f),
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

impl fmt::Display for ParseAddressError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0)
    }
}

impl std::error::Error for ParseAddressError {}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, expected: Result<Address, &'static str>) {
        let parsed = text.parse::<Address>();
        assert_eq!(parsed, expected.map_err(ParseAddressError), "{text}");
        if let Ok(address) = parsed {
            assert_eq!(address.to_string(), text, "written back");
        }
    }

    fn tcp(host: &str, port: u16) -> Result<Address, &'static str> {
        Ok(Address::Tcp {
            host: host.into(),
            port,
        })
    }

    #[test]
    fn addresses_parse_and_are_written_back() {
        check("127.0.0.1:8000", tcp("127.0.0.1", 8000));
        check("0.0.0.0:0", tcp("0.0.0.0", 0));
        check("localhost:65535", tcp("localhost", 65535));
        check("[::]:8000", tcp("::", 8000));
        check("[::1]:0", tcp("::1", 0));
        check("[fe80::1%eth0]:80", tcp("fe80::1%eth0", 80));
        check(
            "unix:/run/a,b:c.sock",
            Ok(Address::Unix("/run/a,b:c.sock".into())),
        );
        check("unix:relative", Ok(Address::Unix("relative".into())));
        check("unix:@name", Ok(Address::Unix("@name".into())));
    }

    #[test]
    fn a_name_is_not_a_path() {
        let check = |text: &str, name: Option<&[u8]>, path: Option<&str>| {
            let address = unix(Path::new(text)).unwrap();
            assert_eq!(address.as_abstract_namespace(), name, "{text}");
            assert_eq!(address.as_pathname(), path.map(Path::new), "{text}");
            if name.is_some() {
                assert_eq!(LocalAddr::of(&address), Some(LocalAddr::Unix(text.into())));
            }
        };
        check("@name", Some(b"name"), None);
        check("@/a/@b", Some(b"/a/@b"), None);
        check("./@name", None, Some("./@name"));
        check("/run/a@b", None, Some("/run/a@b"));
        assert!(unix(Path::new(&format!("@{}", "n".repeat(108)))).is_err());
    }

    #[test]
    fn a_wrong_address_is_explained() {
        let expected = "expected HOST:PORT, [V6]:PORT, unix:PATH or unix:@NAME";
        check("", Err(expected));
        check("8000", Err(expected));
        check("localhost", Err(expected));
        check(
            ":8000",
            Err("the host is missing; all interfaces are 0.0.0.0 or [::]"),
        );
        for port in ["", "x", "-1", "+1", "65536", "80 ", "8000/tcp"] {
            check(
                &format!("a:{port}"),
                Err("the port is not a number 0 to 65535"),
            );
        }
        check(
            "::1:8000",
            Err("an IPv6 address needs brackets: [::1]:8000"),
        );
        check("[::1:8000", Err("the bracket of [V6]:PORT is not closed"));
        check(
            "[host]:8000",
            Err("there is no IPv6 address in the brackets"),
        );
        check("[]:8000", Err("there is no IPv6 address in the brackets"));
        check("unix:", Err("unix: needs a path"));
        check("unix:@", Err("unix:@ needs a name"));
    }
}
