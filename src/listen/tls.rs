//! With which certificate is TLS spoken?
//! Given files, hands back what is served now, and takes what is in them as it changes.
//! Never drops a good certificate for a bad one.

mod admitted;

mod files;

#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::time::Duration;

use parking_lot::{Mutex, RwLock};
use rustls::ServerConfig;

use crate::clock::{Now, Tick};

use admitted::{Admission, Admitted};
use files::{Bytes, Resumption};
pub use files::{Faulty, Files, Validity};

/// A resumed connection shows no certificate again. Where clients need one, none goes on for longer than this.
const CLIENTS_GO_ON: Duration = Duration::from_secs(3600);

/// A certificate in use.
pub struct Tls {
    files: Files,
    current: RwLock<Arc<ServerConfig>>,
    /// Where clients need certificates: who is connected.
    admitted: Arc<Admitted>,
    state: Mutex<State>,
}

impl std::fmt::Debug for Tls {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Tls").field("files", &self.files).finish_non_exhaustive()
    }
}

struct State {
    /// What is served.
    good: Bytes,
    /// What is in the files, where it is something else, and cannot be served.
    bad: Option<Bytes>,
    validity: Validity,
    resumption: Resumption,
    /// Since when clients may go on.
    since: Tick,
    faulty: bool,
}

/// What a look at the files found.
#[derive(Debug)]
pub enum Look {
    /// The same as before.
    Same,
    /// Another certificate, which is served from now on.
    New(Validity),
    /// Something that cannot be served. The last good certificate stays.
    Bad(Faulty),
}

/// For the metrics.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Figures {
    /// Of the certificate that is served.
    pub validity: Validity,
    /// Whether the files hold something that cannot be served.
    pub faulty: bool,
}

impl Tls {
    /// Reads the files for the first time. Blocks for as long as the disk takes.
    ///
    /// # Errors
    /// [`Faulty`].
    pub fn open(files: Files, now: Now) -> Result<Self, Faulty> {
        let good = Bytes::read(&files)?;
        let resumption = Resumption::new()?;
        let (made, validity) = good.configuration(&files, &resumption)?;
        let state = State { good, bad: None, validity, resumption, since: now.tick, faulty: false };
        Ok(Self { files, current: RwLock::new(Arc::new(made)), admitted: Arc::default(), state: Mutex::new(state) })
    }

    /// What the next connection is served with.
    pub(super) fn current(&self) -> Arc<ServerConfig> {
        Arc::clone(&self.current.read())
    }

    /// Where clients need certificates, by which issuers the next connection is let in; to be asked before [`Self::current`].
    pub(super) fn admission(&self) -> Option<Admission> {
        self.files.client_ca.as_ref().map(|_| self.admitted.admission())
    }

    /// Reads the files again; what is in them counts, not their times. Blocks for as long as the disk takes.
    pub fn look(&self, now: Now) -> Look {
        let read = Bytes::read(&self.files);
        let mut state = self.state.lock();
        let read = match read {
            Ok(read) => read,
            Err(fault) => {
                (state.faulty, state.bad) = (true, None);
                return Look::Bad(fault);
            }
        };
        if read == state.good {
            (state.faulty, state.bad) = (false, None);
            return self.keep_up(&mut state, now);
        }
        if state.bad.as_ref() == Some(&read) {
            return Look::Same;
        }
        match self.take(&mut state, &read, now) {
            Ok(()) => {
                (state.good, state.faulty, state.bad) = (read, false, None);
                Look::New(state.validity)
            }
            Err(fault) => {
                (state.faulty, state.bad) = (true, Some(read));
                Look::Bad(fault)
            }
        }
    }

    fn take(&self, state: &mut State, read: &Bytes, now: Now) -> Result<(), Faulty> {
        let resumption = match read.trusts_the_same(&state.good) {
            true => state.resumption.clone(),
            // Who was let in by an issuer that is trusted no more does not go on.
            false => Resumption::new()?,
        };
        let (made, validity) = read.configuration(&self.files, &resumption)?;
        if !read.trusts_the_same(&state.good) {
            state.since = now.tick;
        }
        (state.validity, state.resumption) = (validity, resumption);
        *self.current.write() = Arc::new(made);
        if !read.trusts_all_of(&state.good) {
            let connections = self.admitted.finish_all();
            tracing::info!(
                connections,
                "an issuer of client certificates was taken out; who is connected is asked to finish"
            );
        }
        Ok(())
    }

    /// Where clients need certificates, they show them again after a while.
    fn keep_up(&self, state: &mut State, now: Now) -> Look {
        if self.files.client_ca.is_some() && now.tick.since(state.since) >= CLIENTS_GO_ON {
            let made = Resumption::new().and_then(|new| Ok((state.good.configuration(&self.files, &new)?.0, new)));
            match made {
                Ok((made, new)) => {
                    (state.resumption, state.since) = (new, now.tick);
                    *self.current.write() = Arc::new(made);
                }
                Err(fault) => return Look::Bad(fault),
            }
        }
        Look::Same
    }

    /// For the metrics.
    pub fn figures(&self) -> Figures {
        let state = self.state.lock();
        Figures { validity: state.validity, faulty: state.faulty }
    }
}
