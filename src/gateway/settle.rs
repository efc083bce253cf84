//! How is a question answered that a decision hangs on?
//! Given the question, reads the list that answers it by the gateway's own path, and hands back the grant.
//! Never shows that list, and never decides by one that is older than its route lets anybody see it without an error.

use std::borrow::Cow;
use std::sync::Arc;

use http::request::Parts;

use crate::access::{Grant, Question};
use crate::cache::freshness::Stage;
use crate::cache::{Entry, Key, Lookup, Stored};
use crate::clock::Now;
use crate::http::cache_control::Wishes;
use crate::trail::Trail;
use crate::view::{self, NotUnderstood};

use super::Dials;
use super::fetches::Fetches;
use super::narrow::{LARGE, text_of};
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
        let list = self.held(question.list(), parts, now, trail).await?;
        let providers = match list.body().len() {
            0..LARGE => said(question.project(), &list),
            _ => {
                let project = question.project().to_owned();
                tokio::task::spawn_blocking(move || said(&project, &list)).await.unwrap_or(Err(NotUnderstood))
            }
        };
        Ok(question.settle(&providers.map_err(|NotUnderstood| Refusal::NotUnderstood)?)?)
    }

    /// The document of this grant for our own eyes, as it would be served to its caller at this moment.
    async fn held(
        self: &Arc<Self>,
        grant: &Grant,
        parts: &Parts,
        now: Now,
        trail: &mut Trail,
    ) -> Result<Arc<Entry>, Refusal> {
        let route = self.routes.at(grant.wanted().route()).ok_or(Refusal::NoSuchRoute)?;
        let key = Key::of(grant, route, &parts.headers);
        let (key, held) = match key.map(|key| (self.store.look(&key, now), key)) {
            Some((Lookup::Stored(entry), key)) => match entry.life().stage(now.tick) {
                Stage::Fresh => return Ok(entry),
                Stage::Due | Stage::Stale => {
                    self.refresh_behind(grant, key, &entry, parts, now, trail);
                    return Ok(entry);
                }
                Stage::OnError | Stage::Over => (Some((key, true)), Some(entry)),
            },
            Some((Lookup::Uncacheable, key)) => (Some((key, false)), None),
            Some((Lookup::OtherVariants(_) | Lookup::Absent, key)) => (Some((key, true)), None),
            None => (None, None),
        };
        if Wishes::of(&parts.headers).only_if_cached {
            return Err(Refusal::OnlyIfCached);
        }
        let asked = self.clock.tick();
        let landed = match key {
            Some((key, true)) => self.land_joined(grant, key, held, parts, trail).await,
            Some((key, false)) => self.land_alone(grant, Some(key), parts, trail).await,
            None => self.land_alone(grant, None, parts, trail).await,
        };
        // So that what is shown after this wait is as old as it is by then.
        trail.upstream = Some(self.clock.tick().since(asked));
        landed
    }
}

/// On which providers the list has this project.
pub(super) fn said(project: &str, list: &Entry) -> Result<Vec<Option<String>>, NotUnderstood> {
    if !list.status().is_success() {
        return Ok(Vec::new());
    }
    let body = text_of(list);
    let providers = view::providers_of(project, &body)?;
    Ok(providers.into_iter().map(|provider| provider.map(Cow::into_owned)).collect())
}
