//! Settings from the environment: `INFLIGHT_` and the name in capitals. They are read as the flags are, and
//! whatever begins like one and is none is refused: it may be a misspelt one that somebody relies on.

use std::ffi::OsString;
use std::path::PathBuf;

use clap::Parser;
use clap::error::ErrorKind;

use crate::Failure;
use crate::cli::Flags;

const PREFIX: &str = "INFLIGHT_";

/// The variable with tokens, which are no setting: they are never shown.
pub(crate) const TOKENS: &str = "INFLIGHT_TOKENS";

/// What the environment says.
#[derive(Debug, Default)]
pub(crate) struct Variables {
    pub(crate) config: Option<PathBuf>,
    pub(crate) settings: toml::Table,
}

/// One variable, as if it were the only flag.
#[derive(Debug, Parser)]
#[command(no_binary_name = true, disable_help_flag = true)]
struct Variable {
    #[command(flatten)]
    flags: Flags,
}

/// Reads all variables.
pub(crate) fn read() -> Result<Variables, Failure> {
    let mut all = Variables::default();
    for (name, value) in std::env::vars_os() {
        let shown = name.to_string_lossy().into_owned();
        if shown.to_ascii_uppercase().starts_with(PREFIX) && shown != TOKENS {
            let flags = read_one(&shown, value)?;
            all.settings.extend(flags.to_table().map_err(|error| format!("{shown}: {error}"))?);
            all.config = flags.config.or(all.config);
        }
    }
    Ok(all)
}

fn read_one(name: &str, value: OsString) -> Result<Flags, Failure> {
    let unknown = || format!("{name} is set, but there is no such setting");
    let setting = name.strip_prefix(PREFIX).ok_or_else(unknown)?;
    let is_name = |char: char| char.is_ascii_uppercase() || char == '_';
    if setting.is_empty() || !setting.chars().all(is_name) {
        return Err(unknown().into());
    }
    let value = into_text(name, value)?;
    let flag = format!("--{}={value}", setting.to_ascii_lowercase().replace('_', "-"));
    match Variable::try_parse_from([flag]) {
        Ok(variable) => Ok(variable.flags),
        Err(error) if error.kind() == ErrorKind::UnknownArgument => Err(unknown().into()),
        Err(error) => {
            let text = error.to_string();
            let first = text.lines().next().unwrap_or_default().trim_start_matches("error: ");
            Err(format!("{name} is {value:?}: {first}").into())
        }
    }
}

/// The tokens of the environment.
pub(crate) fn tokens() -> Result<Option<String>, Failure> {
    std::env::var_os(TOKENS).map(|value| into_text(TOKENS, value)).transpose()
}

fn into_text(name: &str, value: OsString) -> Result<String, Failure> {
    value.into_string().map_err(|_| format!("{name} has bytes that are not UTF-8").into())
}
