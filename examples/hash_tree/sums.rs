//! The list of hashes, in the form of `sha256sum`.

use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::Path;

use crate::tree::Entry;
use crate::work::Failure;

/// Writes one line for each file that has a hash.
pub(crate) fn write(path: &Path, entries: &[Entry], hashes: &[Result<String, Failure>]) -> io::Result<()> {
    let mut out = BufWriter::new(File::create(path)?);
    for (entry, hash) in entries.iter().zip(hashes) {
        if let Ok(hash) = hash {
            write_line(&mut out, hash, entry.path.as_os_str().as_encoded_bytes())?;
        }
    }
    out.flush()
}

/// A name with a line break or a backslash is escaped, and then the line begins with a backslash.
fn write_line(out: &mut impl Write, hash: &str, name: &[u8]) -> io::Result<()> {
    if name.iter().any(|byte| matches!(byte, b'\n' | b'\r' | b'\\')) {
        out.write_all(b"\\")?;
    }
    write!(out, "{hash}  ")?;
    for byte in name {
        match byte {
            b'\n' => out.write_all(b"\\n")?,
            b'\r' => out.write_all(b"\\r")?,
            b'\\' => out.write_all(b"\\\\")?,
            byte => out.write_all(&[*byte])?,
        }
    }
    out.write_all(b"\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn odd_names_are_escaped_as_sha256sum_does() {
        let line = |name: &[u8]| {
            let mut out = Vec::new();
            write_line(&mut out, "00ff", name).unwrap();
            out
        };
        assert_eq!(line(b"a b"), b"00ff  a b\n");
        assert_eq!(line(b"\xFF"), b"00ff  \xFF\n");
        assert_eq!(line(b"a\nb\\c\r"), b"\\00ff  a\\nb\\\\c\\r\n");
    }
}
