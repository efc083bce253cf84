//! What can be administered, and by whom?
//! Given a request to the admin listener, hands back what was done, and leaves an audit line either way.
//! Never acts without an [`Operator`], and never takes more at once, or for longer, than its limits.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::request::Parts;
use http::{Method, Request, Response};
use http_body_util::{BodyExt, Full, LengthLimitError, Limited};
use hyper::body::Incoming;
use serde_json::json;
use tower::util::BoxCloneSyncService;
use tower::{BoxError, ServiceBuilder, ServiceExt, service_fn};

use crate::gateway::Dials;
use crate::generation::{InForce, Wishes};
use crate::listen::{BadHead, Handler, Peer};
use crate::token::operator::Operator;

use super::guard;
use super::reply::{Refused, Reply, only, response};
use super::{cache, explain, pause, purge, reload, spend, tokens};

/// Requests answered at once; one more is told to come back.
const AT_ONCE: usize = 16;

/// For a request's body.
const BODY_TIME: Duration = Duration::from_secs(5);

/// For one request, all in all.
const PATIENCE: Duration = Duration::from_secs(10);

/// Bytes of a request's body.
const BODY: usize = 64 << 10;

type Asked = (Request<Incoming>, SocketAddr);

/// The admin listener's door.
#[derive(Clone)]
pub struct Admin {
    limited: BoxCloneSyncService<Asked, Response<Full<Bytes>>, BoxError>,
}

impl Admin {
    /// Administers the house in force; `wishes` is where reloads are asked for, if there is a file to read again.
    pub fn new<C: Dials>(in_force: Arc<InForce<C>>, wishes: Option<Wishes>) -> Self {
        let desk = Arc::new(Desk { in_force, wishes });
        let work = service_fn(move |asked| {
            let desk = Arc::clone(&desk);
            async move { Ok::<_, Infallible>(desk.serve(asked).await) }
        });
        let limited = ServiceBuilder::new().load_shed().concurrency_limit(AT_ONCE).service(work);
        Self { limited: BoxCloneSyncService::new(limited) }
    }
}

impl Handler for Admin {
    type Body = Full<Bytes>;
    type Owed = ();

    async fn answer(&self, request: Request<Incoming>, peer: SocketAddr) -> Response<Full<Bytes>> {
        // In a task of its own: whoever hangs up in the middle is still in the log for what was done.
        let answered = tokio::spawn(self.limited.clone().oneshot((request, peer))).await;
        // The only errors there are come from the limits.
        answered.unwrap_or_else(|error| Err(error.into())).unwrap_or_else(|error| {
            tracing::warn!(target: "audit", peer = %Peer(peer), refused = %error, "audit: administration refused");
            response(Err(Refused::Busy))
        })
    }

    fn refuse_head(&self, fault: BadHead, _peer: SocketAddr) -> Response<Full<Bytes>> {
        fault.response().map(Full::new)
    }
}

struct Desk<C> {
    in_force: Arc<InForce<C>>,
    wishes: Option<Wishes>,
}

impl<C: Dials> Desk<C> {
    async fn serve(&self, (request, peer): Asked) -> Response<Full<Bytes>> {
        let (parts, body) = request.into_parts();
        let mut operator = None;
        let clock = self.in_force.now().gateway.clock();
        // The time limit is within the audit line, so that what went on is there also where nobody waited for its end.
        let answered = clock.until(clock.tick().plus(PATIENCE), self.answer(&parts, body, &mut operator)).await;
        let result = answered.unwrap_or(Err(Refused::Late));
        let actor = operator.as_ref().map_or("", Operator::name);
        let jti = operator.as_ref().map_or("", Operator::jti);
        let (method, path) = (parts.method.as_str(), shortened(parts.uri.path()));
        match &result {
            Ok(reply) => {
                tracing::info!(target: "audit", actor, jti, peer = %Peer(peer), method, path, done = reply.done, "audit: administration");
            }
            Err(refused) => {
                let refused = refused.as_str();
                tracing::warn!(target: "audit", actor, jti, peer = %Peer(peer), method, path, refused, "audit: administration refused");
            }
        }
        response(result)
    }

    async fn answer(&self, parts: &Parts, body: Incoming, by: &mut Option<Operator>) -> Result<Reply, Refused> {
        let house = self.in_force.held();
        guard::check(&house.allowed_hosts, &parts.uri, &parts.headers)?;
        let (gateway, clock) = (&house.gateway, house.gateway.clock());
        let operator = by.insert(gateway.tokens().identify_operator(&parts.headers, clock.now())?);
        let read = clock.until(clock.tick().plus(BODY_TIME), whole(body)).await;
        let body = read.map_err(|_| Refused::Malformed("The body did not come within 5 s.".to_owned()))??;
        match parts.uri.path() {
            "/admin/v1/" => {
                only(&parts.method, &Method::GET, "GET")?;
                let version = env!("CARGO_PKG_VERSION");
                Ok(Reply::of(json!({"operator": operator.name(), "version": version})))
            }
            "/admin/v1/cache/stats" => {
                only(&parts.method, &Method::GET, "GET")?;
                Ok(cache::stats(gateway))
            }
            "/admin/v1/cache/list" => {
                only(&parts.method, &Method::GET, "GET")?;
                cache::list(gateway, parts.uri.query()).await
            }
            "/admin/v1/spend" => {
                only(&parts.method, &Method::GET, "GET")?;
                Ok(spend::spend(gateway))
            }
            "/admin/v1/cache/purge" => {
                only(&parts.method, &Method::POST, "POST")?;
                purge::purge(gateway, &body).await
            }
            "/admin/v1/reload" => {
                only(&parts.method, &Method::POST, "POST")?;
                reload::reload(self.wishes.as_ref(), parts.uri.query(), operator.name()).await
            }
            "/admin/v1/pause" => {
                only(&parts.method, &Method::POST, "POST")?;
                pause::pause(gateway, &body, operator.name())
            }
            "/admin/v1/resume" => {
                only(&parts.method, &Method::POST, "POST")?;
                Ok(pause::resume(gateway, operator.name()))
            }
            "/admin/v1/explain" => explain::explain(gateway, &parts.method, parts.uri.query(), &body).await,
            path if tokens::is_for(path) => {
                tokens::answer(&house.authority, &parts.method, &parts.uri, &body, operator.name()).await
            }
            _ => Err(Refused::Path),
        }
    }
}

async fn whole(body: Incoming) -> Result<Bytes, Refused> {
    let read = Limited::new(body, BODY).collect().await;
    read.map(http_body_util::Collected::to_bytes).map_err(|error| match error.is::<LengthLimitError>() {
        true => Refused::TooLarge,
        false => Refused::Malformed("The body broke off.".to_owned()),
    })
}

fn shortened(path: &str) -> &str {
    path.get(..path.floor_char_boundary(128)).unwrap_or_default()
}
