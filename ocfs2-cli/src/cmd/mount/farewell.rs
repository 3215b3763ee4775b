//! How `ocfs2 umount` learns that a volume is clean.
//!
//! umount(2) returns when nobody can see the directory any more; the program behind it still has to bring the volume into
//! order. So that program has a socket whose name follows from what the mount table shows: the device number of the mount
//! and its source, as the number alone is soon that of another mount, while the volume of the first is still being written.
//! Whoever unmounts connects first, and reads to the end after: the system lets them queue up without anybody accepting
//! them. At its end the program tells them all how it went; the connections close when it is gone, and a program that
//! crashed says nothing.

use std::io::{self, Read, Write};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::{SocketAddr, UnixListener, UnixStream};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use crate::mounts::Mount;

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
    /// Lets those queue up who want to know when a mount has ended.
    ///
    /// # Errors
    /// The system's.
    pub(crate) fn of_mount(mount: &Mount) -> io::Result<Self> {
        let listener = Some(bind(&address(mount)?)?);
        let told = Vec::new();
        let open = Arc::new(Mutex::new(Open { listener, told }));
        Ok(Self { open })
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
    /// Gets in touch with the program behind a mount, which the mount's owner or root must have started. `None` when there
    /// is none.
    pub(crate) fn begin(mount: &Mount) -> Option<Self> {
        let stream = UnixStream::connect_addr(&address(mount).ok()?).ok()?;
        let server = rustix::net::sockopt::socket_peercred(&stream).ok()?;
        let trusted = server.uid.is_root() || Some(server.uid.as_raw()) == mount.owner();
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

/// Listens at an address, for which another mount of the same source may have to end first: that has let go of the source
/// before, and leaves in a moment.
fn bind(address: &SocketAddr) -> io::Result<UnixListener> {
    const TRIES: u32 = 1000;
    const PAUSE: Duration = Duration::from_millis(10);
    for _ in 0..TRIES {
        match UnixListener::bind_addr(address) {
            Err(error) if error.kind() == io::ErrorKind::AddrInUse => thread::sleep(PAUSE),
            bound => return bound,
        }
    }
    UnixListener::bind_addr(address)
}

/// The name that a mount's program listens at. It is in no directory: nothing of it is left behind by a crash. Sources can
/// be longer than names.
fn address(mount: &Mount) -> io::Result<SocketAddr> {
    let source = crc32c::crc32c(mount.source.as_os_str().as_bytes());
    SocketAddr::from_abstract_name(format!("ocfs2-mount/{}/{source:08x}", mount.device))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mount(source: &str) -> Mount {
        Mount {
            device: format!("test:{}", std::process::id()),
            point: "/point".into(),
            kind: crate::mounts::OUR_TYPE.to_owned(),
            source: source.into(),
            options: [String::new(), format!("user_id={}", rustix::process::getuid().as_raw())],
        }
    }

    fn connect(mount: &Mount) -> Waiting {
        Waiting::begin(mount).expect("somebody listens")
    }

    #[test]
    fn who_waits_learns_how_it_ended() {
        let number = mount("image");
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
        assert!(Waiting::begin(&mount("none")).is_none());
    }

    #[test]
    fn a_mount_that_is_ending_does_not_speak_for_the_next_one_with_its_number() {
        let (ending, next) = (mount("ending"), mount("next"));
        let first = Farewell::of_mount(&ending).unwrap();
        let second = Farewell::of_mount(&next).unwrap();
        let waiting = connect(&next);
        first.say(Some(&anyhow::anyhow!("not asked")));
        second.say(None);
        drop(second);
        assert_eq!(waiting.end(), Ok(()));
    }

    #[test]
    fn the_next_mount_of_a_source_waits_until_the_last_has_spoken() {
        let mount = mount("again");
        let first = Farewell::of_mount(&mount).unwrap();
        let waiting = connect(&mount);
        let second = thread::scope(|scope| {
            let second = scope.spawn(|| Farewell::of_mount(&mount).unwrap());
            first.say(None);
            drop(first);
            second.join().unwrap()
        });
        assert_eq!(waiting.end(), Ok(()));
        let waiting = connect(&mount);
        second.say(None);
        drop(second);
        assert_eq!(waiting.end(), Ok(()));
    }
}
