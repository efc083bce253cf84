//! What does the Account API answer to a path?
//! Given a path, hands back a status and a body of a known size in the documented shape.
//! Never counts, waits or asks for a key; the partners that use it do.

use bytes::Bytes;
use http::header::{CACHE_CONTROL, CONTENT_TYPE};
use http::{HeaderValue, Response, StatusCode};
use http_body_util::Full;

/// Bytes of one client's document.
const CLIENT_BYTES: usize = 755;
/// Bytes of the list of clients.
const LIST_BYTES: usize = 90_000;
const PREFIX: &str = "/reseller/account/v1/";
const PROJECT: &str = r#"{"id":"024c2b6d-cbb8-4056-9d3f-8055fa86659c","name":"main"}"#;
const RESOURCES: &str = r#"{"dns_zones":[],"floating_ips":[],"load_balancers":[],"object_storage":{"bytes_used":41187770,"container_count":1,"object_count":3,"sample_date":"2017-10-06T15:54:55.852000+00:00"},"server_snapshots":[],"servers":[],"volume_snapshots":[],"volumes":[],"vpn_site_connections":[]}"#;

/// The answers, made once.
pub(crate) struct Documents {
    before_id: String,
    after_id: String,
    list: Bytes,
}

impl Documents {
    /// Lays out every document so that its size is exact.
    pub(crate) fn new() -> Self {
        let bare = r#"{"client":"#.len() + row(ID, 0).len() + "}".len();
        let row_text = row("\u{0}", CLIENT_BYTES.saturating_sub(bare));
        let (before, after) = row_text.split_once('\u{0}').unwrap_or((&row_text, ""));
        Self { before_id: format!(r#"{{"client":{before}"#), after_id: format!("{after}}}"), list: list().into() }
    }

    /// The whole answer to `path`, which may carry a query.
    pub(crate) fn answer(&self, path: &str) -> Response<Full<Bytes>> {
        let path = path.split('?').next().unwrap_or_default();
        let Some(rest) = path.strip_prefix(PREFIX) else { return missing() };
        let segments: Vec<&str> = rest.trim_end_matches('/').split('/').collect();
        match *segments.as_slice() {
            ["clients"] => json(self.list.clone()),
            ["clients", id] => json(self.client(id)),
            ["clients", _, "providers"] => json(providers(&format!("[{PROJECT}]")).into()),
            ["clients", _, "projects"] => json(format!(r#"{{"projects":[{PROJECT}]}}"#).into()),
            ["clients", _, "resources"] => json(providers(&format!("[{}]", project())).into()),
            ["clients", _, "providers", id, "resources"] => {
                json(format!(r#"{{"provider":{{"id":"{id}","name":"NA","projects":[{}]}}}}"#, project()).into())
            }
            ["clients", _, "projects", _, "resources"] => json(format!(r#"{{"project":{}}}"#, project()).into()),
            ["other", ..] => {
                let mut answer = json(self.client(ID));
                answer.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
                answer
            }
            _ => missing(),
        }
    }

    fn client(&self, id: &str) -> Bytes {
        [self.before_id.as_str(), id, self.after_id.as_str()].concat().into()
    }
}

const ID: &str = "c92f5f1c-a838-4d9b-9eec-af738d2381ec";

fn row(id: &str, padding: usize) -> String {
    let company = "x".repeat(padding);
    format!(
        r#"{{"activated":true,"billing_status":"VALID","date_created":"2017-09-20T20:34:51.944000+00:00","date_deleted":null,"date_first_activation":null,"default_project_id":"","deleted":false,"email":"","id":"{id}","projects":[],"reseller_id":"37c5c8f1-03e0-4538-969f-6384e8fde6e6","signup_ip_address":"","validated":true,"client_information":{{"first_name":"Bill","last_name":"Gates","company":"{company}","address_1":"1835 73rd Ave","address_2":"","city":"Medina","state":"Washington","country":"United States","zip_code":"98039","phone":"514 3636","phone_extension":"","language":"en"}}}}"#
    )
}

fn list() -> String {
    let full = CLIENT_BYTES - r#"{"client":}"#.len();
    let padding = full.saturating_sub(row(ID, 0).len());
    let mut text = String::from(r#"{"clients":["#);
    let mut number = 0_u64;
    while text.len() + 2 * full + 2 < LIST_BYTES {
        text.push_str(&row(&format!("{number:08x}-a838-4d9b-9eec-af738d2381ec"), padding));
        text.push(',');
        number += 1;
    }
    let last = LIST_BYTES.saturating_sub(text.len() + row(ID, 0).len() + "]}".len());
    text.push_str(&row(ID, last));
    text.push_str("]}");
    text
}

fn project() -> String {
    format!(r#"{{"id":"024c2b6d-cbb8-4056-9d3f-8055fa86659c","name":"main","resources":{RESOURCES}}}"#)
}

fn providers(projects: &str) -> String {
    format!(r#"{{"providers":[{{"id":"3b584b95-eeec-4d8b-bf6e-e3ef6f439948","name":"NA","projects":{projects}}}]}}"#)
}

fn json(body: Bytes) -> Response<Full<Bytes>> {
    let mut answer = Response::new(Full::new(body));
    answer.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    answer
}

fn missing() -> Response<Full<Bytes>> {
    let mut answer = json(Bytes::from_static(b"{}"));
    *answer.status_mut() = StatusCode::NOT_FOUND;
    answer
}
