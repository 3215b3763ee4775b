//! Telling the service manager that a mount is ready.
//!
//! Source: sd_notify(3).

use std::ffi::OsStr;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};

/// Says that the mount can be used, to a service manager that asked to be told.
pub(super) fn ready() {
    let Some(name) = std::env::var_os("NOTIFY_SOCKET") else {
        return;
    };
    let Ok(address) = address(&name) else { return };
    // A manager that does not listen does not care.
    let _ = UnixDatagram::unbound().and_then(|socket| socket.send_to_addr(b"READY=1\nSTATUS=mounted", &address));
}

/// A path, or behind an `@` a name that is in no directory.
fn address(name: &OsStr) -> std::io::Result<SocketAddr> {
    match name.as_bytes().strip_prefix(b"@") {
        Some(name) => SocketAddr::from_abstract_name(name),
        None => SocketAddr::from_pathname(name),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_with_an_at_sign_is_in_no_directory() {
        assert_eq!(
            address("@ready".as_ref()).unwrap().as_abstract_name(),
            Some(b"ready".as_slice())
        );
        let path = address("/run/notify".as_ref()).unwrap();
        assert_eq!(path.as_pathname(), Some("/run/notify".as_ref()));
    }
}
