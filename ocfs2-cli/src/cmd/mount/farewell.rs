//! How `ocfs2 umount` learns that a volume is clean.
//!
//! umount(2) returns when nobody can see the directory any more; the program behind it still has to bring the volume into
//! order. So that program has a socket whose name follows from the device number of the mount, which the mount table shows.
//! Whoever unmounts connects first, and reads to the end after: the system lets them queue up without anybody accepting
//! them. At its end the program tells them all how it went; the connections close when it is gone, and a program that
//! crashed says nothing.

use std::io::{self, Read, Write};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixListener, UnixStream};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

/// What is said when all went well.
const CLEAN: &str = "clean\n";

/// The side of the program that serves a mount.
#[derive(Clone, Debug, Default)]
pub(crate) struct Farewell {
    open: Arc<Mutex<Open>>,
}

#[derive(Debug, Default)]
struct Open {
    listener: Option<UnixListener>,
    /// Those who have been told, and are let go with the process.
    told: Vec<UnixStream>,
}

impl Farewell {
    /// Lets those queue up who want to know when the mount with this device number has ended.
    ///
    /// # Errors
    /// The system's.
    pub(crate) fn of_mount(device: &str) -> io::Result<Self> {
        let farewell = Self::default();
        let address = address(device)?;
        match UnixListener::bind_addr(&address) {
            Ok(listener) => farewell.listen(listener),
            // The number was that of a mount which is just ending.
            Err(error) if error.kind() == io::ErrorKind::AddrInUse => {
                let farewell = farewell.clone();
                thread::Builder::new()
                    .name("farewell".to_owned())
                    .spawn(move || farewell.try_until_free(&address))?;
            }
            Err(error) => return Err(error),
        }
        Ok(farewell)
    }

    fn try_until_free(&self, address: &SocketAddr) {
        for _ in 0..1000 {
            match UnixListener::bind_addr(address) {
                Ok(listener) => return self.listen(listener),
                Err(_) => thread::sleep(Duration::from_millis(20)),
            }
        }
    }

    fn listen(&self, listener: UnixListener) {
        self.open.lock().unwrap_or_else(PoisonError::into_inner).listener = Some(listener);
    }

    /// Tells everybody that all went well, or what did not.
    pub(crate) fn say(&self, error: Option<&anyhow::Error>) {
        let text = match error {
            None => CLEAN.to_owned(),
            Some(error) => format!("{error:#}\n"),
        };
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(listener) = open.listener.take() else { return };
        if listener.set_nonblocking(true).is_err() {
            return;
        }
        while let Ok((mut stream, _)) = listener.accept() {
            // Who has left does not need to know.
            let _ = stream.write_all(text.as_bytes());
            open.told.push(stream);
        }
    }
}

/// The side of whoever unmounts.
#[derive(Debug)]
pub(crate) struct Waiting {
    stream: UnixStream,
}

impl Waiting {
    /// Gets in touch with the program behind the mount with this device number, which `owner` or root must have started.
    /// `None` when there is none.
    pub(crate) fn begin(device: &str, owner: Option<u32>) -> Option<Self> {
        let stream = UnixStream::connect_addr(&address(device).ok()?).ok()?;
        let server = rustix::net::sockopt::socket_peercred(&stream).ok()?;
        let trusted = server.uid.is_root() || Some(server.uid.as_raw()) == owner;
        trusted.then_some(Self { stream })
    }

    /// Waits for the end of the mount.
    ///
    /// # Errors
    /// What went wrong, in the words of the program that served it.
    pub(crate) fn end(mut self) -> Result<(), String> {
        let mut text = String::new();
        let read = self.stream.read_to_string(&mut text);
        match (read, text.as_str()) {
            (_, CLEAN) => Ok(()),
            (_, "") => {
                Err("the program that served it ended without a word; the next mount recovers the volume".to_owned())
            }
            (_, why) => Err(why.trim_end().to_owned()),
        }
    }
}

/// The name that a mount's program listens at. It is in no directory: nothing of it is left behind by a crash.
fn address(device: &str) -> io::Result<SocketAddr> {
    SocketAddr::from_abstract_name(format!("ocfs2-mount/{device}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn connect(device: &str) -> Waiting {
        Waiting::begin(device, Some(rustix::process::getuid().as_raw())).expect("somebody listens")
    }

    #[test]
    fn who_waits_learns_how_it_ended() {
        let number = format!("test:{}", std::process::id());
        let farewell = Farewell::of_mount(&number).unwrap();
        let (one, other) = (connect(&number), connect(&number));
        farewell.say(None);
        drop(farewell);
        assert_eq!((one.end(), other.end()), (Ok(()), Ok(())));
        let farewell = Farewell::of_mount(&number).unwrap();
        let late = connect(&number);
        farewell.say(Some(&anyhow::anyhow!("the disk is gone")));
        drop(farewell);
        assert_eq!(late.end(), Err("the disk is gone".to_owned()));
        let farewell = Farewell::of_mount(&number).unwrap();
        let alone = connect(&number);
        drop(farewell);
        assert!(alone.end().unwrap_err().contains("without a word"));
    }

    #[test]
    fn nobody_waits_for_a_mount_that_is_not_there() {
        assert!(Waiting::begin("test:none", Some(0)).is_none());
    }
}
