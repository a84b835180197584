//! The command line.

use std::ffi::OsString;
use std::num::NonZeroUsize;
use std::path::PathBuf;

pub(crate) const USAGE: &str = "\
Hashes every file below a directory (SHA-256), one task a file, while others poll the tasks.

    cargo run --release --example hash_tree -- [DIR] [OPTIONS]

DIR is the current directory if it is not given. Symbolic links are not followed.

    --threads N    how many threads hash; one a core by default
    --pollers N    how many threads poll tasks at random, without pause; 2 by default
    --sums FILE    writes the hashes to FILE, in the form that `sha256sum --check` reads
    --help         says this

Exits with 0 if every file was hashed or is unreadable and has been counted as such, with 1 if
anything else happened, and with 2 if its arguments are wrong.";

#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Options {
    pub(crate) dir: PathBuf,
    pub(crate) threads: Option<NonZeroUsize>,
    pub(crate) pollers: NonZeroUsize,
    pub(crate) sums: Option<PathBuf>,
}

impl Options {
    /// Reads the arguments after the program's name. `None` is a request for help.
    pub(crate) fn parse(arguments: impl IntoIterator<Item = OsString>) -> Result<Option<Self>, String> {
        let mut options = Self { dir: PathBuf::new(), threads: None, pollers: NonZeroUsize::MIN, sums: None };
        options.pollers = options.pollers.saturating_add(1);
        let mut dir = None;
        let mut arguments = arguments.into_iter();
        while let Some(argument) = arguments.next() {
            let mut value = || arguments.next().ok_or(format!("{} needs a value", argument.display()));
            match argument.to_str() {
                Some("--help" | "-h") => return Ok(None),
                Some("--threads") => options.threads = Some(number(&value()?)?),
                Some("--pollers") => options.pollers = number(&value()?)?,
                Some("--sums") => options.sums = Some(value()?.into()),
                Some(option) if option.starts_with('-') => {
                    return Err(format!("there is no option {option}"));
                }
                _ if dir.is_none() => dir = Some(PathBuf::from(argument)),
                _ => return Err(format!("one directory at a time: {} is too many", argument.display())),
            }
        }
        options.dir = dir.unwrap_or_else(|| PathBuf::from("."));
        Ok(Some(options))
    }
}

fn number(text: &OsString) -> Result<NonZeroUsize, String> {
    let number = text.to_str().and_then(|text| text.parse().ok());
    number.ok_or_else(|| format!("{} is not a number of threads, which is 1 or more", text.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(arguments: &[&str]) -> Result<Option<Options>, String> {
        Options::parse(arguments.iter().map(OsString::from))
    }

    #[test]
    fn defaults_and_options() {
        let options = parse(&[]).unwrap().unwrap();
        assert_eq!((options.dir, options.pollers.get(), options.threads), (PathBuf::from("."), 2, None));
        let options = parse(&["--pollers", "3", "/usr", "--threads", "4", "--sums", "x"]).unwrap().unwrap();
        assert_eq!((options.pollers.get(), options.threads.unwrap().get()), (3, 4));
        assert_eq!((options.dir, options.sums), (PathBuf::from("/usr"), Some(PathBuf::from("x"))));
        assert_eq!(parse(&["/usr", "--help"]), Ok(None));
    }

    #[test]
    fn what_makes_no_sense_is_refused_by_name() {
        for (arguments, named) in [
            (&["--pollers", "0"][..], "0"),
            (&["--threads", "many"], "many"),
            (&["--threads"], "--threads"),
            (&["--fast"], "--fast"),
            (&["a", "b"], "b"),
        ] {
            let refusal = parse(arguments).unwrap_err();
            assert!(refusal.contains(named), "{refusal}");
        }
    }
}
