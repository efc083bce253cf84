//! What does a request that brings directives get on the seven?
//! Given what is held and the directives, hands back the answer (RFC 9111 §5.2.1): what costs no call is done for all.
//! Never lets a caller spend the budget by wishing: only the scope `cache:refresh` forces a call, any other wish is clamped.

use std::sync::Arc;
use std::time::Duration;

use http::Response;
use http::request::Parts;

use crate::access::Grant;
use crate::cache::policy::Life;
use crate::cache::standard::Detail;
use crate::cache::standard::directives::{MOST_SECONDS, Wishes};
use crate::cache::{Held, Key};
use crate::clock::{Now, Tick};
use crate::trail::Trail;

use super::refusal::Refusal;
use super::respond::{Body, Came};
use super::{Dials, Gateway};

impl<C: Dials> Gateway<C> {
    /// `no-store` changes nothing here: no word of the request is in what is stored.
    pub(super) async fn as_wished(
        self: &Arc<Self>,
        grant: &Grant,
        key: Key,
        held: Held,
        parts: &mut Parts,
        now: Now,
        trail: &mut Trail,
    ) -> Result<Response<Body>, Refusal> {
        let wishes = Wishes::of(&parts.headers);
        if let Held::Fresh(entry) | Held::Due(entry) | Held::Stale(entry) = &held
            && wants_fresher(&entry.life(), &wishes, now.tick)
        {
            if self.rules.may_refresh(grant.caller()) && !wishes.only_if_cached {
                return self.confirm(grant, key, Arc::clone(entry), false, parts, trail).await;
            }
            if let Held::Due(entry) | Held::Stale(entry) = &held {
                self.refresh_behind(grant, key, entry, parts, now, trail);
            }
            return self.show(grant, Arc::clone(entry), Came::Clamped, parts, trail).await;
        }
        match held {
            Held::Fresh(entry) => self.show(grant, entry, Came::Hit, parts, trail).await,
            Held::Due(entry) => {
                self.refresh_behind(grant, key, &entry, parts, now, trail);
                self.show(grant, entry, Came::Hit, parts, trail).await
            }
            Held::Stale(entry) => {
                self.refresh_behind(grant, key, &entry, parts, now, trail);
                self.show(grant, entry, Came::Stale(Detail::StaleWhileRevalidate.word()), parts, trail).await
            }
            // Within the windows that the route and the partner allow, the caller's patience spares a call.
            Held::Expired { entry, on_error: true } if takes_stale(&entry.life(), &wishes, now.tick) => {
                self.show(grant, entry, Came::Stale(Detail::MaxStale.word()), parts, trail).await
            }
            _ if wishes.only_if_cached => Err(Refusal::OnlyIfCached),
            Held::Expired { entry, on_error } => self.confirm(grant, key, entry, on_error, parts, trail).await,
            Held::Uncacheable => self.fetch_alone(grant, key, parts, trail).await,
            Held::Absent => self.fetch_once(grant, key, None, parts, trail).await,
        }
    }
}

/// §5.2.1.4, §5.2.1.1, §5.2.1.3: whether what would be given to anybody else is too old for this request.
fn wants_fresher(life: &Life, wishes: &Wishes, now: Tick) -> bool {
    let age = life.age(now);
    let impatient = wishes.max_stale.is_none() && age >= life.lifetime;
    wishes.no_cache
        || wishes.max_age.is_some_and(|most| impatient || age > Duration::from_secs(most))
        || wishes.min_fresh.is_some_and(|least| life.lifetime.saturating_sub(age) < Duration::from_secs(least))
}

/// §5.2.1.2; one that is asked for each time is never given unasked.
fn takes_stale(life: &Life, wishes: &Wishes, now: Tick) -> bool {
    let stale = life.age(now).saturating_sub(life.lifetime);
    let patient = wishes.max_stale.is_some_and(|most| most == MOST_SECONDS || stale <= Duration::from_secs(most));
    patient && !life.ask_first && !wants_fresher(life, wishes, now)
}
