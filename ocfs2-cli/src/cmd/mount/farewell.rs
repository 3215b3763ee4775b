//! How `ocfs2 umount` learns that a volume is clean.
//!
//! umount(2) returns when nobody can see the directory any more; the program behind it still has to bring the volume into
//! order. So that program listens at a socket whose name follows from the device number of the mount, which the mount table
//! shows. Whoever unmounts connects first, and reads to the end after: the last line says how it went, and a program that
//! crashed says nothing.

use std::io::{self, Read, Write};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixListener, UnixStream};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use log::warn;

/// Those who may wait at the same time; more are turned away.
const CROWD: usize = 64;

/// What is said when all went well.
const CLEAN: &str = "clean\n";

/// The side of the program that serves a mount.
#[derive(Debug, Default)]
pub(crate) struct Farewell {
    waiting: Arc<Mutex<Vec<UnixStream>>>,
}

impl Farewell {
    /// Listens for those who want to know when the mount with this device number has ended.
    pub(crate) fn of_mount(device: &str) -> io::Result<Self> {
        let farewell = Self::default();
        let address = address(device)?;
        let waiting = farewell.waiting.clone();
        thread::Builder::new()
            .name("farewell".to_owned())
            .spawn(move || listen(&address, &waiting))?;
        Ok(farewell)
    }

    /// Tells everybody how it ended.
    pub(crate) fn say(&self, outcome: Result<(), &anyhow::Error>) {
        let text = match outcome {
            Ok(()) => CLEAN.to_owned(),
            Err(error) => format!("{error:#}\n"),
        };
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        for mut stream in waiting.drain(..) {
            // Who has left does not need to know.
            let _ = stream.write_all(text.as_bytes());
        }
    }
}

fn listen(address: &SocketAddr, waiting: &Mutex<Vec<UnixStream>>) {
    let listener = loop {
        match UnixListener::bind_addr(address) {
            Ok(listener) => break listener,
            // The number was that of a mount which is just ending.
            Err(error) if error.kind() == io::ErrorKind::AddrInUse => thread::sleep(Duration::from_millis(50)),
            Err(error) => return warn!("nobody can wait for the end of this mount: {error}"),
        }
    };
    for stream in listener.incoming().flatten() {
        let mut waiting = waiting.lock().unwrap_or_else(PoisonError::into_inner);
        if waiting.len() < CROWD {
            waiting.push(stream);
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
        loop {
            match Waiting::begin(device, Some(rustix::process::getuid().as_raw())) {
                Some(waiting) => return waiting,
                None => thread::sleep(Duration::from_millis(1)),
            }
        }
    }

    #[test]
    fn who_waits_learns_how_it_ended() {
        let number = format!("test:{}", std::process::id());
        let farewell = Farewell::of_mount(&number).unwrap();
        let (one, other) = (connect(&number), connect(&number));
        while farewell.waiting.lock().unwrap().len() < 2 {
            thread::sleep(Duration::from_millis(1));
        }
        farewell.say(Ok(()));
        assert_eq!((one.end(), other.end()), (Ok(()), Ok(())));
        let late = connect(&number);
        while farewell.waiting.lock().unwrap().is_empty() {
            thread::sleep(Duration::from_millis(1));
        }
        farewell.say(Err(&anyhow::anyhow!("the disk is gone")));
        assert_eq!(late.end(), Err("the disk is gone".to_owned()));
    }

    #[test]
    fn nobody_waits_for_a_mount_that_is_not_there() {
        assert!(Waiting::begin("test:none", Some(0)).is_none());
    }
}
