//! Is every fault told, at its place, in words that help?
//! Given a text, claims line, column, key and reason of what is wrong with it.
//! Never names more of a value than its place.

use super::*;

/// What a text is, where its fault stands, and what is said of it.
type Row = (&'static str, usize, usize, &'static str, &'static str);

/// Texts that are put below three good lines of `[upstream]`, so that they begin at line 4.
#[rustfmt::skip]
const TABLE: &[Row] = &[
    ("ttll = 1", 4, 1, "upstream.ttll", "unknown key `ttll`; known here"),
    ("timeoutt = \"1s\"", 4, 1, "upstream.timeoutt", "unknown key `timeoutt`; did you mean `timeout`?"),
    ("[severs]", 4, 2, "severs", "did you mean `server`?"),
    ("[routes.clients]\nttll = \"1s\"", 5, 1, "routes.clients.ttll", "unknown key `ttll`; did you mean `ttl`?"),
    ("[routes.clientz]", 4, 9, "routes.clientz", "did you mean `client`?"),
    ("api_key = \"swordfish\"", 4, 1, "upstream.api_key", "use api_key_file or api_key_env"),
    ("api_key_env = \"KEY\"", 4, 15, "upstream.api_key_env", "api_key_file is set too"),
    ("budget.rate = \"10/d\"", 4, 15, "upstream.budget.rate", "a rate is written as"),
    ("budget.rate = 10", 4, 15, "upstream.budget.rate", "a rate is a text"),
    ("budget.burst = 0", 4, 16, "upstream.budget.burst", "a whole number from 1 to"),
    ("budget.burst = 99999999999999999999", 4, 16, "upstream.budget.burst", "a whole number from 1 to"),
    ("budget = 1", 4, 10, "upstream.budget", "a table is wanted"),
    ("retry.attempts = \"2\"", 4, 18, "upstream.retry.attempts", "a whole number from 0 to 10"),
    ("timeout = \"0s\"", 4, 11, "upstream.timeout", "at least \"1ms\""),
    ("timeout = \"5\"", 4, 11, "upstream.timeout", "a time is written as"),
    ("timeout = \"-5s\"", 4, 11, "upstream.timeout", "a time is written as"),
    ("timeout = \"401d\"", 4, 11, "upstream.timeout", "at most 400 days"),
    ("timeout = 10", 4, 11, "upstream.timeout", "a time is written as"),
    ("timeout = 1979-05-27", 4, 11, "upstream.timeout", "a time is written as"),
    ("max_response = \"32 apples\"", 4, 16, "upstream.max_response", "a size is written as"),
    ("max_pause = \"31d\"", 4, 13, "upstream.max_pause", "a time from \"1s\" to \"30d\""),
    ("max_pause = \"0s\"", 4, 13, "upstream.max_pause", "a time from \"1s\" to \"30d\""),
    ("max_response = 1", 4, 16, "upstream.max_response", "from 1.0 KiB to"),
    ("kind = \"hubb\"", 4, 8, "upstream.kind", "one of \"partner\", \"hub\""),
    ("kind = \"hub\"", 3, 16, "upstream.api_key_file", "the hub holds the partner's key"),
    ("token_file = \"t\"", 4, 14, "upstream.token_file", "set kind = \"hub\""),
    ("[upstream.exchange]\nsubject_token_file = \"t\"", 4, 1, "upstream.exchange", "set kind = \"hub\""),
    ("proxy = \"proxy:3128\"", 4, 9, "upstream.proxy", "an address is written as"),
    ("proxy = \"https://proxy\"", 4, 9, "upstream.proxy", "TLS to the partner is inside"),
    ("proxy = \"http://me:swordfish@proxy\"", 4, 9, "upstream.proxy", "without a user or password"),
    ("proxy_auth_file = \"p\"", 4, 19, "upstream.proxy_auth_file", "set upstream.proxy"),
    ("max_connection_age = \"never\"", 4, 22, "upstream.max_connection_age", "a time is written as"),
    ("breaker.cool_down = \"1m\"", 4, 21, "upstream.breaker.cool_down", "longer than cool_down_max"),
    ("[cache]\nmax_object = \"-1KiB\"", 5, 14, "cache.max_object", "a size is written as"),
    ("[server]\nname = \"a b\"", 5, 8, "server.name", "a name has 1 to 64"),
    ("[server]\npublic_url = \"https://a/b\"", 5, 14, "server.public_url", "without a path"),
    ("[server]\npublic_url = \"ftp://a\"", 5, 14, "server.public_url", "or with http://"),
    ("[server]\npublic_url = \"gateway\"", 5, 14, "server.public_url", "an address is written as"),
    ("[server]\nworkers = true", 5, 11, "server.workers", "a whole number"),
    ("[[listeners]]\naddress = \"here\"", 5, 11, "listeners[0].address", "an address is written as"),
    ("[[listeners]]\naddress = \"unix:\"", 5, 11, "listeners[0].address", "unix:/path"),
    ("[health]\nlisten = \"unix:/run/g\"", 5, 10, "health.listen", "an address is written as"),
    ("[[listeners]]\naddress = \"unix:/a\"\n[[listeners]]\naddress = \"unix:/a\"", 7, 11, "listeners[1].address", "listeners[0].address is the same address"),
    ("[[listeners]]\naddress = \"unix:/a\"\n[admin]\nlisten = \"unix:/a\"", 7, 10, "admin.listen", "listeners[0].address is the same address"),
    ("[[listeners]]\naddress = \"0.0.0.0:80\"", 5, 11, "listeners[0].address", "clear text off loopback"),
    ("[[listeners]]\n[[listeners]]", 5, 1, "listeners[1].address", "listeners[0].address is the same address"),
    ("[[listeners]]\n[listeners.tls]\ncert_file = \"c\"", 5, 1, "listeners[0].tls.key_file", "TLS wants key_file"),
    ("[[listeners]]\n[listeners.tls]\nkey_file = \"k\"", 5, 1, "listeners[0].tls.cert_file", "TLS wants cert_file"),
    ("[[listeners]]\naddress = \"unix:/a\"\n[listeners.tls]\ncert_file = \"c\"\nkey_file = \"k\"", 6, 1, "listeners[0].tls", "TLS is for addresses"),
    ("[admin.tls]\ncert_file = \"c\"", 4, 1, "admin.tls.key_file", "TLS wants key_file"),
    ("[[listeners]]\naddress = \"systemd:\"", 5, 11, "listeners[0].address", "\"systemd:NAME\""),
    ("[[listeners]]\naddress = \"systemd:web\"\nambient = \"app\"\n[[callers]]\nname = \"app\"\nclients = []\nproviders = []", 6, 11, "listeners[0].ambient", "a loopback address or a Unix socket"),
    ("[admin]\nlisten = \"systemd:web\"", 5, 10, "admin.listen", "an address is written as"),
    ("[server]\nmax_connections_per_peer = -1", 5, 28, "server.max_connections_per_peer", "a whole number from 0"),
    ("[[listeners]]\nambient = \"me\"", 5, 11, "listeners[0].ambient", "no [[callers]] table has this name"),
    ("[[listeners]]\nambient = \"ap\"\n[[callers]]\nname = \"app\"\nclients = []\nproviders = []", 5, 11, "listeners[0].ambient", "did you mean `app`?"),
    ("[[listeners]]\naddress = \"0.0.0.0:80\"\nallow_clear_text = true\nambient = \"app\"\n[[callers]]\nname = \"app\"\nclients = []\nproviders = []", 7, 11, "listeners[0].ambient", "a loopback address or a Unix socket"),
    ("[[listeners]]\nunix_mode = \"999\"", 5, 13, "listeners[0].unix_mode", "\"0600\""),
    ("[listeners]", 4, 1, "listeners", "each written [[listeners]]"),
    ("[admin]\nlisten = \"0.0.0.0:9535\"", 5, 10, "admin.listen", "clear text off loopback"),
    ("[admin]\nlisten = \"unix:\"", 5, 10, "admin.listen", "unix:/path"),
    ("[admin]\nlisten = \"127.0.0.1:8080\"", 5, 10, "admin.listen", "listeners[0].address is the same address"),
    ("[tokens]\nkey_max_age = \"10m\"", 5, 15, "tokens.key_max_age", "not longer than tokens.key_notice"),
    ("[tokens]\naudience = \"gateway-admin\"", 5, 12, "tokens.audience", "the audience of admin tokens"),
    ("[health]\nlisten = \"127.0.0.1:8080\"", 5, 10, "health.listen", "listeners[0].address is the same address"),
    ("[routes.client]\nforward_authorization = true", 5, 25, "routes.client.forward_authorization", "nothing of a caller's"),
    ("[routes.other]\nforward_headers = [\"Cookie\"]", 5, 20, "routes.other.forward_headers[0]", "never forwarded"),
    ("[routes.other]\nforward_headers = [\"x_reseller_api_key\"]", 5, 20, "routes.other.forward_headers[0]", "never forwarded"),
    ("[routes.other]\nforward_headers = [\"X-Api-Key\"]", 5, 20, "routes.other.forward_headers[0]", "never forwarded"),
    ("[routes.client]\nshape = \"object\"", 5, 9, "routes.client.shape", "one of \"document\", \"any\""),
    ("[routes.other]\nforward_headers = [\"a b\"]", 5, 20, "routes.other.forward_headers[0]", "a header's name"),
    ("[routes.client]\nscope = \"Clients:read\"", 5, 9, "routes.client.scope", "a scope is written as"),
    ("[routes.client]\nscope = \"a:b:c\"", 5, 9, "routes.client.scope", "a scope is written as"),
    ("[routes.client]\nprojection = \"none-needed\"", 5, 14, "routes.client.projection", "has a view"),
    ("[routes.clients]\nignore_query = [\"provider_id\"]", 5, 17, "routes.clients.ignore_query[0]", "stands in `query`"),
    ("[routes.clients]\nquery = \"provider_id\"", 5, 9, "routes.clients.query", "a list of texts"),
    ("[routes.clients]\nquery = [1]", 5, 10, "routes.clients.query[0]", "a text is wanted"),
    ("[[extra_routes]]\nname = \"x\"\npath = \"/reseller/admin/x\"", 6, 8, "extra_routes[0].path", "can never be routed"),
    ("[[extra_routes]]\nname = \"x\"\npath = \"x\"", 6, 8, "extra_routes[0].path", "starts with `/`"),
    ("[[extra_routes]]\nname = \"x\"", 4, 1, "extra_routes[0].path", "a route has a path"),
    ("[[extra_routes]]\nname = \"v\"\npath = \"/v2/{a}/x\"\nscope = \"a:read\"\n[[extra_routes]]\nname = \"l\"\npath = \"/v2/lit/x\"\nscope = \"b:read\"", 10, 8, "extra_routes[1].path", "in other letter case this leads to extra_routes[0]"),
    ("[[extra_routes]]\nname = \"l\"\npath = \"/v2/lit\"\n[[extra_routes]]\nname = \"r\"\npath = \"/v2/{*r}\"\nprojection = \"none-needed\"", 6, 8, "extra_routes[0].path", "in other letter case this leads to extra_routes[1]"),
    ("[[extra_routes]]\nname = \"clients\"\npath = \"/x\"", 5, 8, "extra_routes[0].name", "the same name"),
    ("[[extra_routes]]\nname = \"X\"\npath = \"/x\"", 5, 8, "extra_routes[0].name", "a route's name has"),
    ("[views]\nallow = [\"clients.x\"]", 5, 10, "views.allow[0]", "no document has `clients`"),
    ("[views]\nallow = [\"clients[].email\"]", 5, 10, "views.allow[0]", "the schema has this field"),
    ("[views]\nallow = [\"total\"]", 5, 10, "views.allow[0]", "named as in"),
    ("[tokens]\ndefault_ttl = \"31d\"", 5, 15, "tokens.default_ttl", "longer than tokens.max_ttl"),
    ("[state]\ndir = \"\"\n[tokens]\nmax_ttl = \"2h\"", 7, 11, "tokens.max_ttl", "at most 1h where state.dir is \"\""),
    ("[state]\ndir = \"\"\n[tokens]\nkeys_dir = \"k\"", 7, 12, "tokens.keys_dir", "without state.dir"),
    ("[[trust]]\nissuer = \"i\"", 4, 1, "trust[0].jwks_url", "set jwks_url or jwks_file"),
    ("[[trust]]\nissuer = \"http://127.0.0.1:8080\"\njwks_file = \"k\"", 5, 10, "trust[0].issuer", "exchanged anyway"),
    ("[[trust]]\nissuer = \"i\"\njwks_url = \"http://i\"", 6, 12, "trust[0].jwks_url", "starts with https://"),
    ("[telemetry]\ntrace_sample = 1.5", 5, 16, "telemetry.trace_sample", "a number from 0 to 1"),
    ("[telemetry]\ntrace_sample = nan", 5, 16, "telemetry.trace_sample", "a number from 0 to 1"),
    ("[telemetry]\nlog = \"info=x=y\"", 5, 7, "telemetry.log", "a log filter"),
    ("[telemetry]\notlp_endpoint = \"there\"", 5, 17, "telemetry.otlp_endpoint", "starts with http"),
    ("[telemetry]\notlp_endpoint = \"http://u:p@there\"", 5, 17, "telemetry.otlp_endpoint", "without credentials"),
    ("[telemetry]\notlp_endpoint = \"http://there/?k=v\"", 5, 17, "telemetry.otlp_endpoint", "without a query"),
    ("timeout = ", 4, 11, "", "expected"),
    ("timeout = \"1s\"\ntimeout = \"2s\"", 5, 1, "", "duplicate key"),
    ("  é = 1", 4, 3, "", "expected"),
];

/// Callers that are put below a good name and bounds, so that they begin at line 8.
#[rustfmt::skip]
const CALLERS: &[Row] = &[
    ("scopes = [\"clints:read\"]", 8, 11, "callers[0].scopes[0]", "did you mean `clients:read`?"),
    ("scopes = [\"write\", \"nothing\"]", 8, 20, "callers[0].scopes[1]", "no route names the scope `nothing`"),
    ("scopes = [\"write\", \"write\"]", 8, 20, "callers[0].scopes[1]", "twice"),
    ("scopes = [\"A\"]", 8, 11, "callers[0].scopes[0]", "a scope is written as"),
    ("token_ttl = \"31d\"", 8, 13, "callers[0].token_ttl", "longer than tokens.max_ttl"),
    ("priority = \"high\"", 8, 12, "callers[0].priority", "one of \"interactive\", \"batch\""),
    ("secrets = [\"swordfish\"]", 8, 12, "callers[0].secrets[0]", "as its digest"),
    ("secrets = [\n  \"swordfish\"]", 9, 3, "callers[0].secrets[0]", "as its digest"),
    ("secretz = [\"swordfish\"]", 8, 1, "callers[0].secretz", "did you mean `secrets`?"),
    ("passphrase = \"swordfish\"", 8, 1, "callers[0].passphrase", "unknown key"),
    ("subjects = [{ issuer = \"i\", sub = \"s\" }]", 8, 13, "callers[0].subjects[0]", "no [[trust]] has this issuer"),
    ("subjects = [{ issuer = \"i\" }]", 8, 13, "callers[0].subjects[0].sub", "is missing"),
    ("[callers.limits]\nrequests = \"1/s\"\nburst = 0", 10, 9, "callers[0].limits.burst", "a whole number from 1 to"),
    ("[callers.limits]\nburst = 5", 9, 9, "callers[0].limits.burst", "set requests"),
    ("[callers.limits]\nupstream = \"2\"", 9, 12, "callers[0].limits.upstream", "a rate is written as"),
    ("[callers.limits]\nconcurent = 2", 9, 1, "callers[0].limits.concurent", "did you mean `concurrent`?"),
    ("[[callers]]\nname = \"b\"\nclients = [\"*\"]\nproviders = [\"*\"]", 9, 8, "callers[1].name", "callers[0] has the same name"),
    ("[[callers]]\nname = \"c\"\nproviders = [\"*\"]", 8, 1, "callers[1].clients", "which clients it may see"),
    ("[[callers]]\nname = \"c\"\nclients = [\"*\"]", 8, 1, "callers[1].providers", "which providers it may see"),
    ("[[callers]]\nclients = [\"*\"]\nproviders = [\"*\"]", 8, 1, "callers[1].name", "a caller has a name"),
    ("[[callers]]\nname = \"c c\"\nclients = [\"*\"]\nproviders = [\"*\"]", 9, 8, "callers[1].name", "a name has 1 to 64"),
    ("[[callers]]\nname = \"c\"\nclients = [\"a/b\"]\nproviders = [\"*\"]", 10, 12, "callers[1].clients[0]", "an identifier has"),
    ("[[callers]]\nname = \"c\"\nclients = [\"*\", \"a\"]\nproviders = [\"*\"]", 10, 11, "callers[1].clients", "stands alone"),
];

/// Texts that are put below a sidecar's token, so that they begin at line 5.
#[rustfmt::skip]
const SIDECARS: &[Row] = &[
    ("api_key_env = \"KEY\"", 5, 15, "upstream.api_key_env", "it is shown a token"),
    ("api_key_file_next = \"k\"", 5, 21, "upstream.api_key_file_next", "it is shown a token"),
    ("[upstream.exchange]\nsubject_token_file = \"t\"", 4, 14, "upstream.token_file", "the token comes from one place"),
    ("[routes.clients]\noverride = true", 6, 12, "routes.clients.override", "the hub's lifetimes hold"),
    ("[routes.other]\nforward_authorization = true", 6, 25, "routes.other.forward_authorization", "this gateway's own token"),
];

/// What is told otherwise than the row claims.
fn told_otherwise(before: &str, (text, line, column, key, reason): Row) -> Option<String> {
    let Err(faults) = load(given(&format!("{before}{text}\n"))) else { return Some(format!("no fault: {text}")) };
    let all: Vec<&Fault> = faults.iter().collect();
    let place = Origin::File { name: "gateway.toml".to_owned(), line, column };
    let well = matches!(all[..], [fault] if fault.origin == place && fault.key == key && fault.reason.contains(reason));
    let hidden = !faults.render(true).contains("swordfish");
    (!well || !hidden).then(|| format!("wanted {line}:{column}: {key}: {reason}\n{faults}"))
}

#[test]
fn each_fault_is_told_once_at_its_place() {
    let caller = format!("{LEAST}[[callers]]\nname = \"b\"\nclients = [\"*\"]\nproviders = [\"*\"]\n");
    let rows = TABLE.iter().map(|row| (LEAST, *row)).chain(CALLERS.iter().map(|row| (caller.as_str(), *row)));
    let rows = rows.chain(SIDECARS.iter().map(|row| (TOKEN, *row)));
    let otherwise: Vec<String> = rows.filter_map(|(before, row)| told_otherwise(before, row)).collect();
    assert!(otherwise.is_empty(), "{}", otherwise.join("\n\n"));
}

#[test]
fn all_faults_are_told_at_once_in_the_order_of_the_file() {
    let text = format!("{LEAST}timeout = 1\nretry.attempts = 11\n[server]\nwokers = 1\nname = \"\n");
    let faults = load(given(&text)).unwrap_err();
    let lines: Vec<_> = faults
        .iter()
        .map(|fault| match fault.origin {
            Origin::File { line, .. } => line,
            _ => 0,
        })
        .collect();
    assert_eq!(lines, [4, 5, 7, 8], "{faults}");
}

#[test]
fn a_fault_shows_its_line_with_a_caret() {
    let shown = text_faults(&format!("{LEAST}[upstream.budget]\nrate = \"ten\"\n"));
    let lines: Vec<&str> = shown.lines().map(str::trim_end).collect();
    assert!(lines[0].starts_with("gateway.toml:5:8: upstream.budget.rate: a rate is written as"), "{shown}");
    assert_eq!(lines[1..], ["  |", "5 | rate = \"ten\"", "  |        ^^^^^"], "{shown}");
    assert!(!shown.contains('\u{1b}'));
    assert!(load(given("x = 1")).unwrap_err().render(true).contains('\u{1b}'));
}

#[test]
fn what_must_be_there_is_missed() {
    let shown = text_faults("");
    assert!(shown.contains("gateway.toml:1:1: upstream.url: the partner's address is missing"), "{shown}");
    assert!(shown.contains("upstream.api_key_file: where the partner's key lies is missing"), "{shown}");
    let hub = |more: &str| text_faults(&format!("[upstream]\nurl = \"https://hub.example\"\nkind = \"hub\"\n{more}"));
    assert!(hub("").contains("upstream.token_file: what the hub is shown is missing"), "{}", hub(""));
    let shown = hub("[upstream.exchange]\nscope = [\"A\"]");
    assert!(shown.contains("upstream.exchange.subject_token_file: the token that is exchanged is missing"), "{shown}");
    assert!(shown.contains("upstream.exchange.scope[0]: a scope is written as"), "{shown}");
}

#[test]
fn a_partner_is_not_asked_in_clear_text_off_loopback() {
    let ask = |url: &str, more: &str| load(given(&format!("[upstream]\nurl = \"{url}\"\napi_key_env = \"K\"\n{more}")));
    assert!(ask("http://partner.example", "").unwrap_err().to_string().contains("in clear text"));
    for url in ["http://127.0.0.9", "http://localhost", "http://[::1]:1", "https://partner.example"] {
        assert!(ask(url, "").is_ok(), "{url}");
    }
    assert!(ask("http://partner.example", "allow_clear_text = true").is_ok());
    let behind = "proxy = \"http://127.0.0.1:3128\"";
    assert!(ask("http://127.0.0.9", behind).unwrap_err().to_string().contains("the proxy included"));
    assert!(ask("http://127.0.0.9", &format!("{behind}\nallow_clear_text = true")).is_ok());
    assert!(ask("https://partner.example", behind).is_ok());
    for url in
        ["https://", "https://a/b", "https://a?b", "https://a#b", "https://a:", "https://a:0", "https://a:99999", "a"]
    {
        assert!(ask(url, "").is_err(), "{url}");
    }
    let shown = ask("https://user:swordfish@a", "").unwrap_err().to_string();
    assert!(shown.contains("without a user") && !shown.contains("swordfish"), "{shown}");
}

#[test]
fn a_key_in_place_of_its_variables_name_is_not_shown() {
    let shown = text_faults("[upstream]\nurl = \"https://a\"\napi_key_env = \"sword-fish\"");
    assert!(shown.contains("not the key itself") && !shown.contains("sword-fish"), "{shown}");
}
