//! What a source takes of a volume.

use std::collections::HashMap;

use ocfs2_fs::mkfs::Contents;

use super::{Source, What};

/// Counts what a source gives, without its contents. What it cannot give is left out here too, and reported when it is
/// imported.
///
/// # Errors
/// The contents of a file cannot be looked at.
pub(crate) fn measure(source: &mut dyn Source) -> anyhow::Result<Contents> {
    let mut contents = Contents::new();
    // Directories by path. Those that nothing describes are made all the same.
    let mut dirs: HashMap<Vec<Vec<u8>>, usize> = HashMap::from([(Vec::new(), 0)]);
    while let Some(next) = source.next() {
        let Ok(object) = next else { continue };
        for depth in 1..object.path.len() {
            directory(&mut contents, &mut dirs, &object.path[..depth]);
        }
        match object.what {
            What::Directory => {
                directory(&mut contents, &mut dirs, &object.path);
            }
            _ => {
                let Some((name, above)) = object.path.split_last() else {
                    continue;
                };
                if let Some(&dir) = dirs.get(above) {
                    contents.name(dir, name.len());
                }
                match object.what {
                    What::File(_) => contents.file(source.data_bytes()?),
                    What::Link(_) => {}
                    _ => contents.other(),
                }
            }
        }
        let xattrs = object.attributes.xattrs.iter();
        let bytes: usize = xattrs.map(|(name, value)| name.len() + value.len() + 16).sum();
        if bytes > 0 {
            contents.xattrs(bytes as u64);
        }
    }
    Ok(contents)
}

/// Counts a directory the first time it is met.
fn directory(contents: &mut Contents, dirs: &mut HashMap<Vec<Vec<u8>>, usize>, path: &[Vec<u8>]) {
    if dirs.contains_key(path) {
        return;
    }
    let number = contents.directory();
    dirs.insert(path.to_vec(), number);
    if let Some((name, above)) = path.split_last()
        && let Some(&above) = dirs.get(above)
    {
        contents.name(above, name.len());
    }
}
