//! Which variants are held?
//! Given a key and the request as it goes out, hands back the newest reply that fits, or the tags of those that do not.
//! Never lets an answer in that was asked for before its resource was changed.

use std::sync::Arc;

use http::HeaderMap;
use moka::ops::compute::Op;

use crate::cache::{Key, Lookup, Slot, Store, Stored, UNCACHEABLE};
use crate::clock::{Now, Tick};

use super::reply::Reply;

/// The replies held for one target.
#[derive(Debug, Clone, Default)]
pub struct Variants {
    /// Newest first.
    replies: Vec<Arc<Reply>>,
    /// When the resource was last changed through us: what was asked for before then is not let in.
    changed: Option<Tick>,
    /// Until when it is known that the partner gives something that may not be stored.
    unstored_until: Option<Tick>,
}

impl Variants {
    /// How many there are.
    pub(crate) fn len(&self) -> usize {
        self.replies.len()
    }

    /// How often they were shown from memory.
    pub(crate) fn hits(&self) -> u32 {
        self.replies.iter().fold(0, |all, reply| all.wrapping_add(reply.hits()))
    }

    /// The newest.
    pub(crate) fn newest(&self) -> Option<&Arc<Reply>> {
        self.replies.first()
    }

    /// The same with their lifetimes ended.
    pub(crate) fn ended(&self, now: Tick) -> Self {
        let end = |reply: &Arc<Reply>| {
            Arc::new(reply.with(&reply.head(), reply.life().ended(now), reply.selection().clone()))
        };
        Self { replies: self.replies.iter().map(end).collect(), ..self.clone() }
    }

    pub(crate) fn bytes(&self) -> usize {
        self.replies.iter().map(|reply| reply.bytes() + size_of::<Arc<Reply>>()).sum()
    }
}

impl Store {
    /// What is held for the request that would go out with this head?
    pub fn select(&self, key: &Key, sent: &HeaderMap, now: Now) -> Lookup<Reply> {
        selected(self.slots.get(key).as_ref(), sent, now)
    }

    /// Keeps a reply to the request `sent`, asked for at `asked`, beside the other variants; `false` if its resource was
    /// changed since. What else fitted that request gives way: the newest answer speaks for it.
    pub fn keep_reply(&self, key: &Key, sent: &HeaderMap, reply: &Arc<Reply>, asked: Tick) -> bool {
        let most = self.max_variants.saturating_sub(1);
        self.rewrite(key, asked, |replies| {
            replies.retain(|other| !other.selection().fits(sent));
            replies.truncate(most);
            replies.insert(0, Arc::clone(reply));
            true
        })
    }

    /// Puts `new`, asked for at `asked`, in the place of `old`, if that is still held.
    pub fn replace_reply(&self, key: &Key, old: &Arc<Reply>, new: &Arc<Reply>, asked: Tick) -> bool {
        self.rewrite(key, asked, |replies| {
            let found = replies.iter_mut().find(|reply| Arc::ptr_eq(reply, old));
            found.map(|reply| *reply = Arc::clone(new)).is_some()
        })
    }

    /// Rewrites what is held of a key, one at a time, unless the resource was changed after `asked`.
    fn rewrite(&self, key: &Key, asked: Tick, with: impl FnOnce(&mut Vec<Arc<Reply>>) -> bool) -> bool {
        let mut done = false;
        let rewrite = || {
            self.slots.entry_by_ref(key).and_compute_with(|held| {
                let mut variants = match held.map(moka::Entry::into_value) {
                    Some(Slot::Variants(variants)) => (*variants).clone(),
                    _ => Variants::default(),
                };
                let outdated = variants.changed.is_some_and(|changed| asked <= changed);
                done = !outdated && with(&mut variants.replies);
                variants.unstored_until = None;
                if done { Op::Put(Slot::Variants(Arc::new(variants))) } else { Op::Nop }
            })
        };
        let _ = self.purges.unless_purged(key, asked, rewrite);
        done
    }

    /// Remembers that the partner does not want this stored, where nothing of it is held.
    pub fn remember_unstored(&self, key: &Key, now: Now) {
        let remember = || {
            self.slots.entry_by_ref(key).and_compute_with(|held| {
                let mut variants = match held.map(moka::Entry::into_value) {
                    Some(Slot::Variants(variants)) if !variants.replies.is_empty() => return Op::Nop,
                    Some(Slot::Variants(variants)) => (*variants).clone(),
                    _ => Variants::default(),
                };
                variants.unstored_until = Some(now.tick.plus(UNCACHEABLE));
                Op::Put(Slot::Variants(Arc::new(variants)))
            })
        };
        let _ = self.purges.unless_purged(key, now.tick, remember);
    }

    /// The resource was changed: nothing held of it is used again, and nothing asked for before is let in (RFC 9111 §4.4).
    pub fn invalidate(&self, key: &Key, now: Tick) {
        // By the same lock that `keep_reply` takes, or an answer could slip in between its look and its put.
        let _ = self.slots.entry_by_ref(key).and_compute_with(|_| {
            Op::Put(Slot::Variants(Arc::new(Variants { changed: Some(now), ..Variants::default() })))
        });
    }
}

/// What of a slot fits the request that would go out with this head.
pub(super) fn selected(slot: Option<&Slot>, sent: &HeaderMap, now: Now) -> Lookup<Reply> {
    let Some(Slot::Variants(variants)) = slot else { return Lookup::Absent };
    match variants.replies.iter().find(|reply| reply.selection().fits(sent)) {
        Some(reply) => Lookup::Stored(Arc::clone(reply)),
        None if variants.unstored_until.is_some_and(|until| now.tick < until) => Lookup::Uncacheable,
        None if variants.replies.is_empty() => Lookup::Absent,
        None => Lookup::OtherVariants(variants.replies.clone()),
    }
}
