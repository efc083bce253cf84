//! How many files may this process have open?
//! Given how many connections it is to hold, raises its limit as far as it may, and says where that is too little.
//! Never asks for rights that it lacks: the soft limit goes up to the hard one.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Beside the connections of callers: those to the partner, of health and administration, the ledger, the log.
const OTHERS: u64 = 512;

/// Raises the limit; `connections` is what `server.max_connections` says.
pub fn raise_limit_of_files(connections: usize) {
    let limit = getrlimit(Resource::Nofile);
    if limit.current != limit.maximum {
        let raised = setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, maximum: limit.maximum });
        if let Err(error) = raised {
            tracing::debug!(%error, "the limit of open files stays as it is");
        }
    }
    let wanted = u64::try_from(connections).unwrap_or(u64::MAX).saturating_add(OTHERS);
    if let Some(files) = getrlimit(Resource::Nofile).current.filter(|files| *files < wanted) {
        tracing::warn!(
            files,
            wanted,
            "server.max_connections is more than the limit of open files allows; raise it (ulimit -Hn, LimitNOFILE=), or connections will wait"
        );
    }
}
