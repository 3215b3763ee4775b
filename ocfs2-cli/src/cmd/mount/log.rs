//! Where messages of a mount go while it lives: to stderr, and to the system's log once nobody looks at stderr any more.
//!
//! An error is reported once: a broken disk says the same about every request. Messages to syslog are datagrams of our own
//! making, each on a new socket, so that they arrive again after the log daemon was restarted.
//!
//! Source: RFC 3164, section 4.

use std::collections::HashSet;
use std::hash::{BuildHasher, RandomState};
use std::io::Write;
use std::os::unix::net::UnixDatagram;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, OnceLock, PoisonError};

use log::{Level, LevelFilter, Log, Metadata, Record};

/// Where the system's log listens.
const SYSLOG: &str = "/dev/log";

/// The facility for daemons, times eight.
const DAEMON: u8 = 3 << 3;

/// Errors that are remembered as said.
const REMEMBERED: usize = 4096;

static LOGGER: OnceLock<Logger> = OnceLock::new();

/// The logger of this process.
#[derive(Debug)]
struct Logger {
    program: String,
    to_syslog: AtomicBool,
    hasher: RandomState,
    said: Mutex<HashSet<u64>>,
}

/// Sends messages to stderr from here on, under the name of `program`; with `verbose` those about details too.
pub(crate) fn begin(program: &str, verbose: bool) {
    let logger = LOGGER.get_or_init(|| Logger {
        program: program.to_owned(),
        to_syslog: AtomicBool::new(false),
        hasher: RandomState::new(),
        said: Mutex::default(),
    });
    // The second call of a process finds the first one's logger.
    if log::set_logger(logger).is_ok() {
        log::set_max_level(if verbose { LevelFilter::Debug } else { LevelFilter::Info });
    }
}

/// Sends messages to the system's log from here on.
pub(crate) fn detach() {
    if let Some(logger) = LOGGER.get() {
        logger.to_syslog.store(true, Ordering::Relaxed);
    }
}

impl Logger {
    /// Whether an error is news.
    fn is_new(&self, text: &str) -> bool {
        let mut said = self.said.lock().unwrap_or_else(PoisonError::into_inner);
        // What comes behind so many different ones has nothing to add.
        said.len() < REMEMBERED && said.insert(self.hasher.hash_one(text))
    }

    fn syslog(&self, level: Level, text: &str) {
        let severity = match level {
            Level::Error => 3,
            Level::Warn => 4,
            Level::Info => 6,
            Level::Debug | Level::Trace => 7,
        };
        let time = jiff::Zoned::now().strftime("%b %e %H:%M:%S").to_string();
        let name = self.program.replace(' ', "-");
        let message = format!("<{}>{time} {name}[{}]: {text}", DAEMON | severity, std::process::id());
        // A machine without a log keeps none.
        let _ = UnixDatagram::unbound().and_then(|socket| socket.send_to(message.as_bytes(), SYSLOG));
    }
}

impl Log for Logger {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        // The crates below have a lot to say that is of interest only to those who work on them.
        let ours = metadata.target().starts_with("ocfs2");
        metadata.level() <= if ours { Level::Debug } else { Level::Warn }
    }

    fn log(&self, record: &Record<'_>) {
        if !self.enabled(record.metadata()) {
            return;
        }
        let text = record.args().to_string();
        if record.level() <= Level::Warn && !self.is_new(&text) {
            return;
        }
        match self.to_syslog.load(Ordering::Relaxed) {
            true => self.syslog(record.level(), &text),
            // There is no place left to report that stderr takes no text.
            false => drop(writeln!(std::io::stderr(), "{}: {text}", self.program)),
        }
    }

    fn flush(&self) {}
}
