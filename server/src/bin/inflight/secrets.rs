//! Tokens and the certificate: read at the start, and again when their files change or SIGHUP asks for it.

use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::Duration;

use inflight_server::{Tls, Tokens};
use tokio::signal::unix::Signal;

use crate::files::{read, read_secret};
use crate::settings::Settings;
use crate::{Failure, environment};

/// How often the files are looked at.
const PERIOD: Duration = Duration::from_secs(1);

/// What the service proves itself by, and what others prove themselves by.
pub(crate) struct Secrets {
    tokens: Option<Tokens>,
    tls: Option<Tls>,
    tokens_file: Option<PathBuf>,
    tls_files: Option<(PathBuf, PathBuf)>,
    /// What the files looked like before they were read.
    loaded: Look,
}

/// What files look like from outside. A file that cannot be looked at is `None`.
type Look = Vec<Option<Print>>;

/// Another one means that the file may have changed: device, inode, size, and when it was last changed.
type Print = (u64, u64, u64, i64, i64);

impl Secrets {
    pub(crate) fn load(settings: &Settings) -> Result<Self, Failure> {
        let mut secrets = Self {
            tokens: None,
            tls: None,
            tokens_file: settings.tokens_file.clone(),
            tls_files: settings.tls_cert.clone().zip(settings.tls_key.clone()),
            loaded: Look::new(),
        };
        secrets.loaded = secrets.look();
        secrets.tokens = secrets.read_tokens()?;
        secrets.tls = secrets.read_tls()?;
        Ok(secrets)
    }

    pub(crate) fn tokens(&self) -> Option<&Tokens> {
        self.tokens.as_ref()
    }

    pub(crate) fn tls(&self) -> Option<&Tls> {
        self.tls.as_ref()
    }

    /// Keeps them as the files are, until the process ends.
    pub(crate) fn follow(self, mut hangup: Signal) -> Result<(), Failure> {
        let (ask, asked) = channel();
        // The files may be on a disk that is slow, and must hold up no request.
        std::thread::Builder::new().name("secrets".into()).spawn(move || self.follow_files(&asked))?;
        tokio::spawn(async move { while hangup.recv().await.is_some() && ask.send(()).is_ok() {} });
        Ok(())
    }

    fn follow_files(mut self, asked: &Receiver<()>) {
        let mut before = self.loaded.clone();
        loop {
            let is_asked = match asked.recv_timeout(PERIOD) {
                Ok(()) => true,
                Err(RecvTimeoutError::Timeout) => false,
                Err(RecvTimeoutError::Disconnected) => return,
            };
            let now = self.look();
            // What is just being written is left alone until it looks the same twice.
            if is_asked || (now != self.loaded && now == before) {
                self.loaded.clone_from(&now);
                self.reload();
            }
            before = now;
        }
    }

    fn look(&self) -> Look {
        let tls = self.tls_files.iter().flat_map(|(chain, key)| [chain, key]);
        self.tokens_file.iter().chain(tls).map(|path| print(path)).collect()
    }

    /// Takes over what is new. What cannot be used leaves things as they are, and says so.
    fn reload(&self) {
        match (&self.tokens, self.read_tokens()) {
            (Some(tokens), Ok(Some(new))) => {
                tokens.replace(&new);
                tracing::info!(tokens = tokens.len(), "the tokens were read again");
            }
            (_, Ok(_)) => {}
            (_, Err(error)) => tracing::error!(%error, "the tokens stay as they were"),
        }
        match (&self.tls, self.read_tls()) {
            (Some(tls), Ok(Some(new))) => {
                tls.replace(&new);
                tracing::info!("the certificate was read again");
            }
            (_, Ok(_)) => {}
            (_, Err(error)) => tracing::error!(%error, "the certificate stays as it was"),
        }
    }

    fn read_tokens(&self) -> Result<Option<Tokens>, Failure> {
        let of_file = self.tokens_file.as_deref().map(read_tokens).transpose()?;
        let of_environment = environment::tokens()?;
        let of_environment =
            of_environment.map(|text| parse_tokens(environment::TOKENS, &text)).transpose()?;
        match (of_file, of_environment) {
            (Some(file), Some(environment)) => {
                let both = file.and(&environment);
                Ok(Some(both.map_err(|error| format!("tokens_file and {}: {error}", environment::TOKENS))?))
            }
            (file, environment) => Ok(file.or(environment)),
        }
    }

    fn read_tls(&self) -> Result<Option<Tls>, Failure> {
        let Some((chain, key)) = &self.tls_files else { return Ok(None) };
        let tls = Tls::from_pem(&read(chain)?, &read_secret(key)?);
        Ok(Some(tls.map_err(|error| format!("{} and {}: {error}", chain.display(), key.display()))?))
    }
}

fn print(path: &Path) -> Option<Print> {
    let metadata = std::fs::metadata(path).ok()?;
    // The change of the inode, not of the content: a file that is moved into place may be older.
    Some((metadata.dev(), metadata.ino(), metadata.size(), metadata.ctime(), metadata.ctime_nsec()))
}

fn read_tokens(path: &Path) -> Result<Tokens, Failure> {
    let place = path.display().to_string();
    let text = String::from_utf8(read_secret(path)?);
    let text = text.map_err(|_| format!("{place} has bytes that are not UTF-8"))?;
    parse_tokens(&place, &text)
}

fn parse_tokens(place: &str, text: &str) -> Result<Tokens, Failure> {
    let tokens = Tokens::parse(text).map_err(|error| format!("{place}: {error}"))?;
    if tokens.is_empty() {
        return Err(format!("there are no tokens in {place}, where tokens were announced").into());
    }
    Ok(tokens)
}
