//! How does an operator put the file in force?
//! Given the wish, hands back once the new house answers what needs a restart, or every fault of the file.
//! Never reads a file itself.

use serde_json::json;
use tokio::sync::oneshot;

use crate::generation::{NotReloaded, ReloadRequest, Wishes};

use super::reply::{Refused, Reply};

/// `POST /admin/v1/reload`; with `?dry_run=true` nothing is changed.
pub(super) async fn reload(wishes: Option<&Wishes>, query: Option<&str>, actor: &str) -> Result<Reply, Refused> {
    let dry_run = match query.unwrap_or_default() {
        "" | "dry_run=false" => false,
        "dry_run=true" => true,
        _ => return Err(Refused::Malformed("The query may only be dry_run=true.".to_owned())),
    };
    let wishes = wishes.ok_or_else(|| Refused::Unknown("This gateway was started without a file.".to_owned()))?;
    let (answer, outcome) = oneshot::channel();
    let wish = ReloadRequest { actor: actor.to_owned(), dry_run, answer };
    wishes.send(wish).await.map_err(|_| Refused::Busy)?;
    match outcome.await.map_err(|_| Refused::Busy)? {
        Ok(done) => {
            let body = json!({
                "reloaded": !dry_run,
                "restart_needed": done.restart,
                "warnings": done.warnings,
                "changes": done.changes,
            });
            let done = if dry_run { "" } else { "the configuration was reloaded" };
            Ok(Reply { body, done: done.to_owned() })
        }
        Err(NotReloaded(faults)) => Err(Refused::Configuration(faults)),
    }
}
