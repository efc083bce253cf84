//! How does a narrowed right get its bytes?
//! Given a grant and an entry, hands back the view that is kept beside it, or makes it: once, and off the workers when large.
//! Never shows anything of an entry that is no document, or that cannot be narrowed.

use std::sync::Arc;

use bytes::Bytes;
use http::HeaderMap;

use crate::access::{Grant, Lens, Right, Sight};
use crate::account_api::Endpoint;
use crate::cache::tag::Tag;
use crate::cache::{Coding, Entry, Key, Rendered, Stored};
use crate::flight::{Joined, Rank};
use crate::route::Resource;
use crate::upstream::body::from_latin1;
use crate::view::{self, Allow, NotUnderstood, Projected};

use super::refusal::Refusal;
use super::rendering::Rendering;

/// From so many bytes on a worker would be kept from its other callers for too long.
pub(super) const LARGE: usize = 64 << 10;

/// What an entry has for a right.
enum Projectable<'e> {
    Rendered(&'e Rendered),
    ToMake(Endpoint),
}

impl Rendering {
    /// What this right sees of the entry, and the tag of that.
    pub(super) async fn narrowed(
        &self,
        grant: &Grant,
        lens: &Lens,
        entry: &Arc<Entry>,
        headers: &HeaderMap,
    ) -> Result<(Bytes, Tag), Refusal> {
        let right = grant.right();
        let endpoint = match self.projectable(grant, entry)? {
            Projectable::Rendered(shown) => return Ok((shown.bytes.clone(), shown.tag)),
            Projectable::ToMake(endpoint) => endpoint,
        };
        let made = match entry.body().len() {
            0..LARGE => self.make(endpoint, lens, &text_of(entry)),
            _ => Box::pin(self.make_apart(endpoint, lens, right, entry)).await,
        };
        let shown = made.map_err(|NotUnderstood| Refusal::NotUnderstood)?;
        let key = self.routes.at(grant.wanted().route()).and_then(|route| Key::of(grant, route, headers));
        if let Some(key) = key.filter(|_| entry.face(right, Coding::Identity).is_none()) {
            self.store.keep_face(key, entry, right, Coding::Identity, &shown);
        }
        Ok((shown.bytes, shown.tag))
    }

    /// What is kept beside the entry for this right, or of which documents a view has to be made.
    #[inline]
    fn projectable<'e>(&self, grant: &Grant, entry: &'e Entry) -> Result<Projectable<'e>, Refusal> {
        let Resource::Documented { endpoint, .. } = *grant.wanted().resource() else {
            return Err(Refusal::NotUnderstood);
        };
        if !entry.status().is_success() {
            return Err(Refusal::Status(entry.status()));
        }
        match entry.face(grant.right(), Coding::Identity) {
            Some(shown) => Ok(Projectable::Rendered(shown)),
            None if self.store.fits(entry) => Ok(Projectable::ToMake(endpoint)),
            None => Err(Refusal::TooLargeToNarrow),
        }
    }

    /// Whether this right gets to see the entry; what is made to find out is kept nowhere, and counted nowhere.
    pub(super) fn shows(&self, grant: &Grant, entry: &Entry) -> Result<(), Refusal> {
        let Sight::Narrow(lens) = grant.sight() else { return Ok(()) };
        match self.projectable(grant, entry)? {
            Projectable::Rendered(_) => Ok(()),
            Projectable::ToMake(endpoint) => {
                let made = made(endpoint, lens, &self.allow, &text_of(entry));
                made.map(drop).map_err(|NotUnderstood| Refusal::NotUnderstood)
            }
        }
    }

    fn make(&self, endpoint: Endpoint, lens: &Lens, body: &[u8]) -> Result<Rendered, NotUnderstood> {
        let (shown, unknown) = made(endpoint, lens, &self.allow, body)?;
        self.ledger.counts.unknown_fields(unknown);
        Ok(shown)
    }

    /// On a thread that may take its time; who comes meanwhile with the same right waits for the same view.
    async fn make_apart(
        &self,
        endpoint: Endpoint,
        lens: &Lens,
        right: Right,
        entry: &Arc<Entry>,
    ) -> Result<Rendered, NotUnderstood> {
        let pending = match self.views.join(&(endpoint, *entry.tag(), right), Rank::default()) {
            Joined::Wait(pending) => pending,
            Joined::Fetch(leader, pending) => {
                let (lens, allow, entry) = (lens.clone(), Arc::clone(&self.allow), Arc::clone(entry));
                let ledger = Arc::clone(&self.ledger);
                tokio::task::spawn_blocking(move || {
                    let made = made(endpoint, &lens, &allow, &text_of(&entry));
                    if let Ok((_, unknown)) = &made {
                        ledger.counts.unknown_fields(*unknown);
                    }
                    leader.land(made.map(|(shown, _)| shown));
                });
                pending
            }
            // So many are being made that one more thread would not help: this one is made here.
            Joined::Full => return made(endpoint, lens, &self.allow, &text_of(entry)).map(|(shown, _)| shown),
        };
        pending.landed().await.unwrap_or(Err(NotUnderstood))
    }
}

/// A document's text: its bytes, but for one that says that it is in Latin-1. A view of it is in UTF-8, as JSON is.
pub(super) fn text_of(entry: &Entry) -> Bytes {
    let content_type = entry.head().content_type.unwrap_or_default();
    from_latin1(content_type, entry.bytes_of_body()).map_or_else(|| entry.body(), Bytes::from)
}

fn made(endpoint: Endpoint, lens: &Lens, allow: &Allow, body: &[u8]) -> Result<(Rendered, u32), NotUnderstood> {
    let Projected { mut bytes, unknown } = view::project(endpoint, lens, allow, body)?;
    // What is weighed is what is held.
    bytes.shrink_to_fit();
    let tag = Tag::of(&bytes);
    Ok((Rendered { bytes: bytes.into(), tag }, unknown))
}
