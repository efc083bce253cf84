//! How does an operator put the file in force?
//! Given the wish, hands back once the new house answers what needs a restart, or every fault of the file.
//! Never reads a file itself.

use serde_json::json;
use tokio::sync::oneshot;

use crate::estate::{NotReloaded, Wish, Wishes};

use super::reply::{Refused, Reply};

/// `POST /admin/v1/reload`.
pub(super) async fn reload(wishes: Option<&Wishes>, actor: &str) -> Result<Reply, Refused> {
    let wishes = wishes.ok_or_else(|| Refused::Unknown("This gateway was started without a file.".to_owned()))?;
    let (answer, outcome) = oneshot::channel();
    let wish = Wish { actor: actor.to_owned(), answer };
    wishes.send(wish).await.map_err(|_| Refused::Busy)?;
    match outcome.await.map_err(|_| Refused::Busy)? {
        Ok(done) => {
            let body = json!({"reloaded": true, "restart_needed": done.restart, "warnings": done.warnings});
            Ok(Reply { body, done: "the configuration was reloaded".to_owned() })
        }
        Err(NotReloaded(faults)) => Err(Refused::Configuration(faults)),
    }
}
