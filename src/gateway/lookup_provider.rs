//! How is a question answered that a decision hangs on?
//! Given the question, reads the list that answers it by the gateway's own path, and hands back the grant.
//! Never shows that list, and never decides by one that is older than its route lets anybody see it without an error.

use std::borrow::Cow;
use std::sync::Arc;

use http::HeaderMap;
use http::request::Parts;

use crate::access::{Grant, Question};
use crate::cache::{Entry, Key, Lookup, Stored};
use crate::clock::Now;
use crate::http::cache_control::RequestCacheControl;
use crate::trail::Trail;
use crate::view::{self, NotUnderstood};

use super::Dials;
use super::execute::Reached;
use super::fetch::DocumentQuery;
use super::fetches::Fetches;
use super::plan::{Plan, plan};
use super::project::{LARGE, text_of};
use super::refusal::Refusal;

impl<C: Dials> Fetches<C> {
    /// Finds out on which provider the project is, and decides. A list that the partner does not have names no project.
    pub(super) async fn settle(
        self: &Arc<Self>,
        question: Question,
        parts: &Parts,
        now: Now,
        trail: &mut Trail,
    ) -> Result<Grant, Refusal> {
        let list = self.fetch_list(question.list(), parts, now, trail).await?;
        let providers = match list.body().len() {
            0..LARGE => providers_in(question.project(), &list),
            _ => {
                let project = question.project().to_owned();
                tokio::task::spawn_blocking(move || providers_in(&project, &list)).await.unwrap_or(Err(NotUnderstood))
            }
        };
        Ok(question.settle(&providers.map_err(|NotUnderstood| Refusal::NotUnderstood)?)?)
    }

    /// The document of this grant for our own eyes, as it would be served to its caller at this moment.
    async fn fetch_list(
        self: &Arc<Self>,
        grant: &Grant,
        parts: &Parts,
        now: Now,
        trail: &mut Trail,
    ) -> Result<Arc<Entry>, Refusal> {
        let route = self.routes.at(grant.wanted().route()).ok_or(Refusal::NoSuchRoute)?;
        let key = Key::of(grant, route, &parts.headers);
        let plan = plan_for_list(key.as_ref().map(|key| self.store.look(key, now)), &parts.headers, now);
        let asked = self.clock.tick();
        match self.execute(&DocumentQuery { grant, key, parts }, plan, now, trail).await? {
            Reached::Stored(entry, _) => Ok(entry),
            Reached::Brought { brought, .. } => {
                // So that what is shown after this wait is as old as it is by then.
                trail.upstream = Some(self.clock.tick().since(asked));
                Ok(brought.entry)
            }
        }
    }
}

/// The plan for a list that a decision hangs on; nothing is found where its route stores nothing.
pub(super) fn plan_for_list(found: Option<Lookup<Entry>>, headers: &HeaderMap, now: Now) -> Plan<Entry> {
    let wishes = RequestCacheControl {
        only_if_cached: RequestCacheControl::of(headers).only_if_cached,
        ..RequestCacheControl::default()
    };
    plan(found.unwrap_or(Lookup::Uncacheable), &wishes, false, now.tick).without_fallback()
}

/// On which providers the list has this project.
pub(super) fn providers_in(project: &str, list: &Entry) -> Result<Vec<Option<String>>, NotUnderstood> {
    if !list.status().is_success() {
        return Ok(Vec::new());
    }
    let body = text_of(list);
    let providers = view::providers_of(project, &body)?;
    Ok(providers.into_iter().map(|provider| provider.map(Cow::into_owned)).collect())
}
