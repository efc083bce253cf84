//! What do the micro benchmarks measure in?
//! Given nothing, hands back the rooms as the program joins them, and requests that one caller would send.
//! Never opens a socket: the partner is an address that nobody asks.

use std::sync::Arc;

use http::{HeaderMap, HeaderValue, Uri};
use reseller_gateway::access::Grant;
use reseller_gateway::boot::{self, House};
use reseller_gateway::cache::Key;
use reseller_gateway::clock::Clock;
use reseller_gateway::config::{self, Given};
use reseller_gateway::dial;
use reseller_gateway::route::Target;
use reseller_gateway::secret::Secret;
use reseller_gateway::token::TokenSpec;
use reseller_gateway::token::bounds::Bounds;
use reseller_gateway::upstream::credential::Source;

const SETTINGS: &str = r#"
[upstream]
url = "http://127.0.0.1:9"
api_key_env = "UNUSED"
[state]
dir = ""
[telemetry]
access_log = "off"
[[callers]]
name = "bench"
scopes = ["clients:read", "projects:read", "providers:read", "resources:read", "pii:read"]
clients = ["*"]
providers = ["*"]
"#;

/// The rooms, joined.
pub(crate) fn house() -> Arc<House> {
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let _ = jsonwebtoken::crypto::aws_lc::DEFAULT_PROVIDER.install_default();
    let given = Given { file: None, text: Some(SETTINGS.to_owned()), environment: Vec::new(), flags: Vec::new() };
    let config = config::load(given).unwrap();
    let dialer = dial::dialer(None, config.upstream.connect_timeout, None).unwrap();
    let key = Source::Fixed(Secret::new("key".to_owned()));
    boot::join(&config, boot::ring(&config.tokens).unwrap(), vec![key], dialer, Clock::real()).unwrap()
}

/// What the caller wishes for.
pub(crate) fn wish() -> TokenSpec {
    TokenSpec {
        caller: "bench".to_owned(),
        scopes: Vec::new(),
        bounds: Bounds::default(),
        ttl: std::time::Duration::from_secs(3600),
    }
}

/// A request's headers with a token of their own.
pub(crate) fn headers(house: &House) -> HeaderMap {
    let token = house.tokens().issue(&wish(), house.clock().now()).unwrap().token;
    let mut headers = HeaderMap::new();
    headers.insert("host", HeaderValue::from_static("127.0.0.1:8080"));
    headers.insert("accept", HeaderValue::from_static("application/json"));
    headers.insert("authorization", HeaderValue::try_from(format!("Bearer {token}")).unwrap());
    headers
}

/// The target of the `nth` client.
#[allow(dead_code, reason = "not every benchmark asks for one")]
pub(crate) fn target(nth: usize) -> Uri {
    format!("/reseller/account/v1/clients/00000000-0000-4000-8000-{nth:012}/").parse().unwrap()
}

/// The right to what `uri` names.
#[allow(dead_code, reason = "not every benchmark asks for one")]
pub(crate) fn grant(house: &House, headers: &HeaderMap, uri: &Uri) -> Grant {
    let caller = house.tokens().identify(headers, house.clock().now()).unwrap();
    let wanted = house.routes().find(&http::Method::GET, &Target::parse(uri).unwrap()).unwrap();
    let route = house.routes().at(wanted.route()).unwrap();
    house.rules().decide(caller, wanted, route).unwrap().granted().unwrap()
}

/// The key of what `uri` names.
#[allow(dead_code, reason = "not every benchmark asks for one")]
pub(crate) fn key(house: &House, headers: &HeaderMap, uri: &Uri) -> Key {
    let grant = grant(house, headers, uri);
    Key::of(&grant, house.routes().at(grant.wanted().route()).unwrap(), headers).unwrap()
}
