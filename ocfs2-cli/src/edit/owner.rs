//! Owners as chown(1) takes them: `user`, `user:group`, `:group`, names of this system or numbers.

use crate::text::People;

/// Who is to own something; what is `None` stays.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Owner {
    /// User.
    pub(crate) uid: Option<u32>,
    /// Group.
    pub(crate) gid: Option<u32>,
}

impl Owner {
    /// Parses an owner. `user:` means the user's own group.
    ///
    /// # Errors
    /// A message for the user.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        let people = People::default();
        let (user, group) = match text.split_once(':') {
            Some((user, group)) => (user, Some(group)),
            None => (text, None),
        };
        let nobody = |id: &u32| *id != u32::MAX;
        let uid = match user {
            "" => None,
            name => {
                let uid = people.find_user(name).filter(nobody);
                Some(uid.ok_or_else(|| format!("there is no user '{name}'"))?)
            }
        };
        let gid = match group {
            None => None,
            Some("") if uid.is_none() => None,
            Some("") => {
                let gid = people.login_group(user);
                Some(gid.ok_or_else(|| format!("the group of user '{user}' is not known here"))?)
            }
            Some(name) => {
                let gid = people.find_group(name).filter(nobody);
                Some(gid.ok_or_else(|| format!("there is no group '{name}'"))?)
            }
        };
        Ok(Self { uid, gid })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_numbers_are_owners() {
        let owner = |uid, gid| Ok(Owner { uid, gid });
        assert_eq!(Owner::parse("root"), owner(Some(0), None));
        assert_eq!(Owner::parse("root:"), owner(Some(0), Some(0)));
        assert_eq!(Owner::parse("12:34"), owner(Some(12), Some(34)));
        assert_eq!(Owner::parse(":7"), owner(None, Some(7)));
        assert_eq!(Owner::parse(":"), owner(None, None));
        for (text, named) in [
            ("no-such-user-here", "no-such-user-here"),
            ("1:no-such-group", "no-such-group"),
            ("4294967295", "4294967295"),
            ("77777777:", "77777777"),
        ] {
            assert!(Owner::parse(text).is_err_and(|error| error.contains(named)), "{text}");
        }
    }
}
