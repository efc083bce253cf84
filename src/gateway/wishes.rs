//! What does a request get on the seven, of what is held?
//! Given that and its directives, hands back the [`Course`] and the answer (RFC 9111 §5.2.1): what costs no call is done for all.
//! Never lets a caller spend the budget by wishing: only the scope `cache:refresh` forces a call, any other wish is clamped.

use std::sync::Arc;
use std::time::Duration;

use http::request::Parts;
use http::{HeaderMap, Response};

use crate::access::Grant;
use crate::cache::policy::Life;
use crate::cache::standard::Detail;
use crate::cache::{Entry, Held, Key};
use crate::clock::{Now, Tick};
use crate::http::asks::{Asks, Kinds};
use crate::http::cache_control::{MOST_SECONDS, Wishes};
use crate::trail::Trail;

use super::refusal::Refusal;
use super::respond::{Body, Came};
use super::{Dials, Gateway};

/// How something held comes where the partner fails.
pub(super) const STALE_IF_ERROR: Came = Came::Stale(Detail::StaleIfError.word());

/// What is done with what is held.
#[derive(Debug, Clone)]
pub(super) enum Course {
    /// It is shown.
    Show(Arc<Entry>, Came),
    /// It is shown, and a new one is fetched behind.
    Refresh(Arc<Entry>, Came),
    /// The partner is asked about it first; it is shown if that fails and `on_error` says so.
    Confirm {
        /// It.
        entry: Arc<Entry>,
        /// Whether it may be shown when the partner fails.
        on_error: bool,
    },
    /// Everybody asks the partner for themselves.
    FetchAlone,
    /// Everybody waits for one fetch.
    FetchOnce,
    /// Nothing, since the partner may not be asked.
    Nothing,
}

/// The directives of a request; without `Cache-Control` it has none on the seven, whatever `Pragma` says.
pub(super) fn wishes_of(headers: &HeaderMap, asks: Asks) -> Wishes {
    if asks.has(Kinds::DIRECTIVES) { Wishes::of(headers) } else { Wishes::default() }
}

/// What is done with what is held for a request with these directives; `forces` is the right to make the partner be asked.
pub(super) fn course(held: Held, wishes: &Wishes, forces: bool, now: Tick) -> Course {
    if let Held::Fresh(entry) | Held::Due(entry) | Held::Stale(entry) = &held
        && wants_fresher(&entry.life(), wishes, now)
    {
        let shown = Arc::clone(entry);
        return match held {
            _ if forces && !wishes.only_if_cached => Course::Confirm { entry: shown, on_error: false },
            Held::Due(_) | Held::Stale(_) => Course::Refresh(shown, Came::Clamped),
            _ => Course::Show(shown, Came::Clamped),
        };
    }
    match held {
        Held::Fresh(entry) => Course::Show(entry, Came::Hit),
        Held::Due(entry) => Course::Refresh(entry, Came::Hit),
        Held::Stale(entry) => Course::Refresh(entry, Came::Stale(Detail::StaleWhileRevalidate.word())),
        // Within the windows that the route and the partner allow, the caller's patience spares a call.
        Held::Expired { entry, on_error: true } if takes_stale(&entry.life(), wishes, now) => {
            Course::Show(entry, Came::Stale(Detail::MaxStale.word()))
        }
        _ if wishes.only_if_cached => Course::Nothing,
        // The partner failed over it just now.
        Held::Expired { entry, on_error: true } if entry.is_resting(now) => Course::Show(entry, STALE_IF_ERROR),
        Held::Expired { entry, on_error } => Course::Confirm { entry, on_error },
        Held::Uncacheable => Course::FetchAlone,
        Held::Absent => Course::FetchOnce,
    }
}

impl<C: Dials> Gateway<C> {
    /// What is done with what is held for this request. `no-store` changes nothing here: no word of the request is in what is
    /// stored.
    pub(super) fn course_of(&self, held: Held, grant: &Grant, headers: &HeaderMap, asks: Asks, now: Tick) -> Course {
        match held {
            Held::Fresh(entry) if !asks.has(Kinds::DIRECTIVES) => Course::Show(entry, Came::Hit),
            held => course(held, &wishes_of(headers, asks), self.rules.may_refresh(grant.caller()), now),
        }
    }

    /// Does it.
    pub(super) async fn take_course(
        self: &Arc<Self>,
        grant: &Grant,
        key: Key,
        course: Course,
        (parts, asks): (&mut Parts, Asks),
        now: Now,
        trail: &mut Trail,
    ) -> Result<Response<Body>, Refusal> {
        match course {
            Course::Show(entry, came) => self.show_asked(grant, entry, came, (parts, asks), trail).await,
            Course::Refresh(entry, came) => {
                self.refresh_behind(grant, key, &entry, parts, now, trail);
                self.show_asked(grant, entry, came, (parts, asks), trail).await
            }
            Course::Confirm { entry, on_error } => self.confirm(grant, key, entry, on_error, parts, trail).await,
            Course::FetchAlone => self.fetch_alone(grant, key, parts, trail).await,
            Course::FetchOnce => self.fetch_once(grant, key, None, parts, trail).await,
            Course::Nothing => Err(Refusal::OnlyIfCached),
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

#[cfg(test)]
mod tests {
    use http::StatusCode;
    use http::header::CACHE_CONTROL;

    use super::*;

    #[test]
    fn what_is_over_is_given_to_whoever_takes_it_and_the_partner_is_asked_for_all_others() {
        const MINUTE: Duration = Duration::from_secs(60);
        let now = Tick::from_nanos(0);
        let life = Life {
            since: now,
            initial_age: Duration::from_secs(5000),
            lifetime: MINUTE,
            stale_while_revalidate: MINUTE,
            stale_if_error: Duration::from_secs(86_400),
            ask_first: false,
            early: Duration::ZERO,
        };
        let rows = [
            ("max-stale", "max-stale"),
            ("max-stale=6000", "max-stale"),
            ("max-stale=1000", "asked"),
            ("max-stale=6000, max-age=100", "asked"),
            ("max-stale=6000, min-fresh=1", "asked"),
            ("max-stale, no-cache", "asked"),
            ("only-if-cached, max-stale", "max-stale"),
            ("only-if-cached", "nothing"),
        ];
        for (words, expected) in rows {
            let wishes = Wishes::of(&HeaderMap::from_iter([(CACHE_CONTROL, words.parse().unwrap())]));
            let entry = Arc::new(Entry::new(StatusCode::OK, &HeaderMap::new(), b"{}", Ok(life)));
            for forces in [false, true] {
                let held = Held::Expired { entry: Arc::clone(&entry), on_error: true };
                let found = match course(held, &wishes, forces, now) {
                    Course::Show(_, Came::Stale(detail)) => detail,
                    Course::Confirm { on_error: true, .. } => "asked",
                    Course::Nothing => "nothing",
                    other => panic!("{words}: {other:?}"),
                };
                assert_eq!(found, expected, "{words}");
            }
        }
    }
}
