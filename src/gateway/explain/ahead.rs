//! What stands before one more call to the partner?
//! Given whether its caller may start one, hands back how it would begin, or why not.
//! Never spends anything.

use crate::budget::{Asker, Prospect};
use crate::clock::Tick;

use super::super::flights::FULL;
use super::super::refusal::Refusal;
use super::super::{Dials, Gateway};
use super::May;

impl<C: Dials> Gateway<C> {
    /// In the order in which a flight is paid for, finds a place, and gets its permit.
    pub(in crate::gateway) fn may_call(
        &self,
        may: May,
        full: bool,
        asker: Asker,
        now: Tick,
    ) -> Result<Prospect, Refusal> {
        may.map_err(|back| Refusal::limited(back, now))?;
        if full {
            return Err(FULL);
        }
        let end = now.plus(self.fetches.calls.budget().max_wait().min(self.fetches.settings.flight_timeout));
        let ahead = self.fetches.calls.budget().foresee(asker.who, asker.scope, now);
        match ahead {
            Prospect::Closed { until, reason } => return Err(self.fetches.calls.closed(until, now, reason).into()),
            Prospect::Waits { until: Some(at) } if at > end => {
                return Err(Refusal::Busy {
                    retry: self.fetches.calls.budget().opens(asker.who, asker.scope, end).since(end),
                });
            }
            Prospect::Waits { .. } | Prospect::Call { .. } => {}
        }
        match self.fetches.calls.upstream().credential().show() {
            Some(_) => Ok(ahead),
            // The first call gets one.
            None if self.fetches.calls.upstream().exchanges() => Ok(ahead),
            None => Err(self.fetches.calls.key_fault().into()),
        }
    }
}
