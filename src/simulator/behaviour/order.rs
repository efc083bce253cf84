//! What does an order change?
//! Given a behaviour and a JSON object, hands back the changed behaviour, or which member is wrong and what is wanted.
//! Never accepts what would not be done, and changes nothing where a part is wrong.

use std::time::Duration;

use serde::Deserialize;
use serde_json::{Map, Value};

use super::{Behaviour, Fault};
use crate::account_api::Endpoint;
use crate::simulator::counts::OTHER;

const MOST_FAULTS: usize = 64;
const LONGEST: Duration = Duration::from_secs(3600);

impl Behaviour {
    /// This with the members of a JSON object in place of its own; `null` stands for what `initial` has there.
    ///
    /// # Errors
    /// Which member is wrong, what is known or what is wanted.
    pub(in crate::simulator) fn changed(&self, initial: &Self, object: &[u8]) -> Result<Self, String> {
        let change: Map<String, Value> =
            serde_json::from_slice(object).map_err(|error| format!("A JSON object is wanted: {error}."))?;
        let (Ok(Value::Object(mut whole)), Ok(initial)) = (serde_json::to_value(self), serde_json::to_value(initial))
        else {
            return Err("This behaviour cannot be written down.".to_owned());
        };
        for (name, value) in change {
            let value = match value {
                Value::Null => initial.get(&name).cloned().unwrap_or_default(),
                value => value,
            };
            // Each alone first, so that an error names its member.
            let alone = Map::from_iter([(name.clone(), value.clone())]);
            Self::deserialize(Value::Object(alone)).map_err(|error| format!("{name}: {error}."))?;
            whole.insert(name, value);
        }
        let changed = Self::deserialize(Value::Object(whole)).map_err(|error| format!("{error}."))?;
        changed.check().map(|()| changed)
    }

    fn check(&self) -> Result<(), String> {
        let waits = self.faults.iter().flat_map(|fault| [fault.latency, fault.drip]).flatten().chain([self.latency]);
        if waits.max() > Some(LONGEST) {
            return Err("latency, drip: at most 1h.".to_owned());
        }
        if self.faults.len() > MOST_FAULTS {
            return Err(format!("faults: at most {MOST_FAULTS}."));
        }
        self.faults
            .iter()
            .enumerate()
            .try_for_each(|(at, fault)| fault.check().map_err(|reason| format!("faults[{at}].{reason}")))
    }
}

impl Fault {
    fn check(&self) -> Result<(), String> {
        let names: Vec<&str> = Endpoint::ALL.map(Endpoint::name).into_iter().chain([OTHER]).collect();
        if self.route.as_deref().is_some_and(|route| !names.contains(&route)) {
            return Err(format!("route: one of {} is wanted.", names.join(", ")));
        }
        if self.share.is_some_and(|share| !(0.0..=1.0).contains(&share)) {
            return Err("share: a number from 0 to 1 is wanted.".to_owned());
        }
        if self.status.is_some_and(|status| !(200..600).contains(&status)) {
            return Err("status: a number from 200 to 599 is wanted.".to_owned());
        }
        if self.head.is_some() && (self.latency.is_some() || self.drip.is_some() || self.body.is_some()) {
            return Err("head: not together with latency, drip or body.".to_owned());
        }
        Ok(())
    }
}
