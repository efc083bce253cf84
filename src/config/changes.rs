//! What is said otherwise than before?
//! Given two configurations, hands back every setting that differs, as it was and as it is.
//! Never shows a secret or its digest: only how many there are, and how many of them are others.

use std::collections::BTreeMap;

use super::{Caller, Config};

/// One setting that differs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Changed {
    /// Its dotted key; a table of a list is named by its name, as in `callers[billing].scopes`.
    pub key: String,
    /// What it was; `None`: it was not there.
    pub old: Option<String>,
    /// What it is; `None`: it is not there any more.
    pub new: Option<String>,
}

/// Members that name a table of a list.
const NAMES: [&str; 4] = ["name", "address", "issuer", "url"];

impl Config {
    /// What the other one says otherwise, in the order of keys.
    pub fn changes_to(&self, next: &Self) -> Vec<Changed> {
        let (old, new) = (settings(self), settings(next));
        let keys: std::collections::BTreeSet<&String> = old.keys().chain(new.keys()).collect();
        let mut changed = Vec::new();
        for key in keys {
            let (old, new) = (old.get(key), new.get(key));
            if old != new {
                changed.push(Changed { key: key.clone(), old: old.cloned(), new: new.cloned() });
            }
        }
        whole_tables(&mut changed);
        for caller in &next.callers {
            let before = self.callers.iter().find(|before| before.name == caller.name);
            changed.extend(before.and_then(|before| secrets(before, caller)));
        }
        changed.sort_by(|a, b| a.key.cmp(&b.key));
        changed
    }
}

/// Every setting by its key; secrets are left out.
fn settings(config: &Config) -> BTreeMap<String, String> {
    let table: toml::Table = config.render().parse().unwrap_or_default();
    let mut flat = BTreeMap::new();
    flatten("", &toml::Value::Table(table), &mut flat);
    flat.retain(|key, _| !(key.starts_with("callers[") && key.ends_with(".secrets")));
    flat
}

fn flatten(path: &str, value: &toml::Value, flat: &mut BTreeMap<String, String>) {
    match value {
        toml::Value::Table(table) => {
            for (key, value) in table {
                let below = if path.is_empty() { key.clone() } else { format!("{path}.{key}") };
                flatten(&below, value, flat);
            }
        }
        toml::Value::Array(all) if is_of_tables(path, all) => {
            for (nth, one) in all.iter().enumerate() {
                let name = NAMES.iter().find_map(|name| one.get(*name)?.as_str());
                flatten(&name.map_or_else(|| format!("{path}[{nth}]"), |name| format!("{path}[{name}]")), one, flat);
            }
        }
        other => drop(flat.insert(path.to_owned(), other.to_string())),
    }
}

/// A list of tables of its own, not of values that are written as tables.
fn is_of_tables(path: &str, all: &[toml::Value]) -> bool {
    !path.contains('.') && !all.is_empty() && all.iter().all(toml::Value::is_table)
}

/// A table that comes or goes is one change, not one for each of its settings.
fn whole_tables(changed: &mut Vec<Changed>) {
    let table_of = |key: &str| key.find("].").and_then(|end| key.get(..=end)).map(str::to_owned);
    let is_name = |changed: &Changed, table: &str| {
        NAMES.iter().any(|name| changed.key == format!("{table}.{name}"))
            && (changed.old.is_none() || changed.new.is_none())
    };
    let mut whole = Vec::new();
    for table in changed.iter().filter_map(|one| table_of(&one.key)) {
        if !whole.contains(&table) && changed.iter().any(|one| is_name(one, &table)) {
            whole.push(table);
        }
    }
    for table in whole {
        let Some(first) = changed.iter().find(|one| is_name(one, &table)) else { continue };
        let there = |side: &Option<String>| side.as_ref().map(|_| "a table".to_owned());
        let one = Changed { key: table.clone(), old: there(&first.old), new: there(&first.new) };
        changed.retain(|one| table_of(&one.key).as_ref() != Some(&table));
        changed.push(one);
    }
}

fn secrets(old: &Caller, new: &Caller) -> Option<Changed> {
    let others =
        |these: &Caller, those: &Caller| these.secrets.iter().filter(|one| !those.secrets.contains(one)).count();
    let (gone, fresh) = (others(old, new), others(new, old));
    if gone + fresh == 0 {
        return None;
    }
    let told = |many: usize, others: usize, word: &str| Some(format!("{many} (hidden), {others} of them {word}"));
    Some(Changed {
        key: format!("callers[{}].secrets", new.name),
        old: told(old.secrets.len(), gone, "gone"),
        new: told(new.secrets.len(), fresh, "new"),
    })
}

#[cfg(test)]
mod tests {
    use crate::config::{Given, load};

    use super::*;

    fn config(more: &str) -> Config {
        let text = format!("upstream.url = \"http://127.0.0.1:1\"\nupstream.api_key_env = \"KEY\"\n{more}");
        load(Given { text: Some(text), ..Given::default() }).unwrap_or_else(|faults| panic!("{faults}"))
    }

    fn lines(old: &str, new: &str) -> Vec<String> {
        let told = |side: Option<String>| side.unwrap_or_else(|| "-".to_owned());
        let changed = config(old).changes_to(&config(new)).into_iter();
        changed.map(|one| format!("{} {} {}", one.key, told(one.old), told(one.new))).collect()
    }

    #[test]
    fn what_differs_is_named_as_it_was_and_as_it_is() {
        assert!(lines("", "").is_empty());
        assert_eq!(
            lines("[server]\nrequest_timeout = \"3s\"", "[routes.clients]\nttl = \"7s\""),
            ["routes.clients.ttl \"1m\" \"7s\"", "server.request_timeout \"3s\" \"20s\""]
        );
    }

    #[test]
    fn a_caller_that_comes_or_goes_is_one_change_and_no_digest_is_shown() {
        let caller = |name: &str, digit: &str, scope: &str| {
            format!(
                "[[callers]]\nname = \"{name}\"\nscopes = [\"{scope}\"]\nclients = [\"*\"]\nproviders = [\"*\"]\nsecrets = [\"sha256:{}\"]\n",
                digit.repeat(64)
            )
        };
        let (billing, support) = (caller("billing", "a", "write"), caller("support", "b", "write"));
        assert_eq!(lines(&(billing.clone() + &support), &billing), ["callers[support] a table -"]);
        assert_eq!(lines(&support, &(billing.clone() + &support)), ["callers[billing] - a table"]);
        assert_eq!(
            lines(&billing, &caller("billing", "c", "clients:read")),
            [
                "callers[billing].scopes [\"write\"] [\"clients:read\"]",
                "callers[billing].secrets 1 (hidden), 1 of them gone 1 (hidden), 1 of them new"
            ]
        );
    }
}
