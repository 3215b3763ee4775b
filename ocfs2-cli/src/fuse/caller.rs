//! Who asks for something.

use std::fs;

use fuser::Request;
use ocfs2_fs::Caller;

/// The user behind a request, and the groups. Those that the request does not tell are asked of `/proc`: a process of
/// another PID name space, which is not there, has none of them.
pub(super) fn of(req: &Request) -> Caller {
    let status = fs::read_to_string(format!("/proc/{}/status", req.pid())).unwrap_or_default();
    Caller {
        uid: req.uid(),
        gid: req.gid(),
        groups: groups(&status),
        privileged: req.uid() == 0,
    }
}

/// The numbers in the line `Groups:`.
fn groups(status: &str) -> Vec<u32> {
    let line = status.lines().find_map(|line| line.strip_prefix("Groups:"));
    let numbers = line.unwrap_or_default().split_ascii_whitespace();
    numbers.filter_map(|number| number.parse().ok()).collect()
}

#[cfg(test)]
mod tests {
    use super::groups;

    #[test]
    fn groups_are_those_of_their_line() {
        assert_eq!(
            groups("Name:\tsh\nGid:\t1\t1\t1\t1\nGroups:\t4 24 100 \nNStgid:\t7\n"),
            [4, 24, 100]
        );
        assert!(groups("Name:\tsh\nGroups:\t\n").is_empty());
        assert!(groups("").is_empty());
    }
}
