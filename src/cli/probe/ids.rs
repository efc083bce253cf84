//! For which resources can a probe ask?
//! Given the documents that came so far, hands back the next target, filled with ids that they name.
//! Never guesses an id, and never prints one.

use serde_json::Value;

use crate::account_api::{Endpoint, PREFIX, identifier};

/// The ids that are known.
#[derive(Debug, Default)]
pub(super) struct SampleIds {
    client: Option<String>,
    provider: Option<String>,
    project: Option<String>,
}

impl SampleIds {
    /// What to ask for.
    ///
    /// # Errors
    /// Which id is missing, in words.
    pub(super) fn target(&self, endpoint: Endpoint) -> Result<String, &'static str> {
        let inner = match endpoint {
            Endpoint::ProviderResources => &self.provider,
            _ => &self.project,
        };
        let mut target = format!("{PREFIX}{}", endpoint.template());
        for (name, id, missing) in [
            ("{client_id}", &self.client, "the list of clients named no client"),
            ("{provider_id}", inner, "the client's lists named no provider"),
            ("{project_id}", inner, "the client's lists named no project"),
        ] {
            if target.contains(name) {
                target = target.replace(name, id.as_deref().ok_or(missing)?);
            }
        }
        Ok(target)
    }

    /// Takes ids from a document.
    pub(super) fn learn(&mut self, endpoint: Endpoint, document: &Value) {
        match endpoint {
            Endpoint::Clients => {
                let rows = rows(document, "clients");
                // One that can tell most: of a client without projects there is little to see.
                let lives = |row: &&Value| row.get("deleted") != Some(&Value::Bool(true));
                let uses =
                    |row: &&Value| row.get("projects").and_then(Value::as_array).is_some_and(|it| !it.is_empty());
                let best = rows.iter().find(|row| lives(row) && uses(row)).or_else(|| rows.iter().find(lives));
                self.client = best.or(rows.first()).and_then(|row| id(row, "id"));
            }
            Endpoint::ClientProviders => {
                let rows = rows(document, "providers");
                let best = rows.iter().find(|row| !self::rows(row, "projects").is_empty()).or(rows.first());
                self.provider = best.and_then(|row| id(row, "id"));
                self.project = best.and_then(|row| id(self::rows(row, "projects").first()?, "id"));
            }
            Endpoint::ClientProjects => {
                let first = rows(document, "projects").first();
                self.provider = self.provider.take().or_else(|| id(first?, "provider"));
                self.project = self.project.take().or_else(|| id(first?, "id"));
            }
            _ => {}
        }
    }
}

fn rows<'v>(value: &'v Value, name: &str) -> &'v [Value] {
    value.get(name).and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default()
}

fn id(row: &Value, name: &str) -> Option<String> {
    row.get(name).and_then(Value::as_str).and_then(identifier)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_client_that_uses_something_is_asked_about_and_its_ids_fill_the_paths() {
        let mut known = SampleIds::default();
        assert!(known.target(Endpoint::Clients).is_ok());
        assert!(known.target(Endpoint::Client).is_err());
        let clients = json!({"clients": [
            {"id": "gone", "deleted": true, "projects": ["x"]}, {"id": "idle", "projects": []}, {"id": "busy", "projects": ["x"]},
        ]});
        known.learn(Endpoint::Clients, &clients);
        assert!(known.target(Endpoint::Client).unwrap().ends_with("/clients/busy/"));
        known.learn(Endpoint::ClientProviders, &json!({"providers": []}));
        assert!(known.target(Endpoint::ProjectResources).is_err());
        known.learn(Endpoint::ClientProjects, &json!({"projects": [{"id": "pr", "provider": "pv"}]}));
        assert!(known.target(Endpoint::ProviderResources).unwrap().ends_with("/clients/busy/providers/pv/resources/"));
        assert!(known.target(Endpoint::ProjectResources).unwrap().ends_with("/clients/busy/projects/pr/resources/"));
    }

    #[test]
    fn an_id_that_would_lead_elsewhere_is_none() {
        let mut known = SampleIds::default();
        for id in ["../x", "a/b", "", "a?b"] {
            known.learn(Endpoint::Clients, &json!({"clients": [{"id": id}]}));
            assert!(known.target(Endpoint::Client).is_err(), "{id}");
        }
    }
}
