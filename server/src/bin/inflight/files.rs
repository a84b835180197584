//! Files that settings name: read whole, if they are files and no larger than they need to be.

use std::fs::Metadata;
use std::path::Path;

use crate::Failure;

/// The largest file that is read, in bytes.
const MAX_FILE: u64 = 16 << 20;

/// A text.
pub(crate) fn read_text(path: &Path) -> Result<String, Failure> {
    let bytes = read(path)?;
    Ok(String::from_utf8(bytes).map_err(|_| format!("{} has bytes that are not UTF-8", path.display()))?)
}

/// What others should not see: it is warned of a file that they can read.
pub(crate) fn read_secret(path: &Path) -> Result<Vec<u8>, Failure> {
    let bytes = read(path)?;
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        let mode = metadata(path)?.permissions().mode() & 0o777;
        if mode & 0o077 != 0 {
            let (path, mode) = (path.display(), format!("{mode:o}"));
            tracing::warn!(%path, mode, "others than the owner may read or change this secret");
        }
    }
    Ok(bytes)
}

/// All of it.
pub(crate) fn read(path: &Path) -> Result<Vec<u8>, Failure> {
    let metadata = metadata(path)?;
    // A pipe or a device might be waited for without end.
    if !metadata.is_file() {
        return Err(format!("{} is not a regular file", path.display()).into());
    }
    if metadata.len() > MAX_FILE {
        let (path, size) = (path.display(), metadata.len());
        return Err(format!("{path} has {size} bytes, and no more than {MAX_FILE} are read").into());
    }
    std::fs::read(path).map_err(|error| unreadable(path, &error))
}

fn metadata(path: &Path) -> Result<Metadata, Failure> {
    std::fs::metadata(path).map_err(|error| unreadable(path, &error))
}

fn unreadable(path: &Path, error: &std::io::Error) -> Failure {
    format!("{} cannot be read: {error}", path.display()).into()
}
