//! How fast can hyper and moka be when nothing else is done?
//! Given a partner, answers a path from memory with its type, length and ETag, and asks the partner on a miss or below `other/`.
//! Never checks a token, judges freshness, joins flights or counts: it is the ceiling, not a gateway.

use std::net::SocketAddr;

use ahash::RandomState;
use bytes::Bytes;
use clap::Parser;
use http::header::{CONTENT_TYPE, ETAG};
use http::{HeaderValue, Method, Request, Response, StatusCode, Uri};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use moka::sync::Cache;
use tokio::task::LocalSet;

mod serving;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

#[derive(Parser)]
struct Arguments {
    /// Where to listen.
    #[arg(long)]
    listen: SocketAddr,
    /// Whom to ask.
    #[arg(long)]
    partner: SocketAddr,
    /// What to send as `X-Reseller-Api-Key`.
    #[arg(long)]
    key: HeaderValue,
}

const MAX_BYTES: u64 = 1 << 30;
const UNCACHED: &str = "/reseller/account/v1/other/";

#[derive(Clone)]
struct Stored {
    body: Bytes,
    content_type: HeaderValue,
    etag: HeaderValue,
}

struct House {
    store: Cache<Box<str>, Stored, RandomState>,
    client: Client<HttpConnector, Full<Bytes>>,
    partner: SocketAddr,
    key: HeaderValue,
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> anyhow::Result<()> {
    let Arguments { listen, partner, key } = Arguments::parse();
    let mut connector = HttpConnector::new();
    connector.set_nodelay(true);
    let store = Cache::<Box<str>, Stored>::builder()
        .max_capacity(MAX_BYTES)
        .weigher(|path, stored| u32::try_from(path.len() + stored.body.len() + stored.etag.len()).unwrap_or(u32::MAX))
        .build_with_hasher(RandomState::new());
    let house = House { store, client: Client::builder(TokioExecutor::new()).build(connector), partner, key };
    let listener = serving::listen(listen)?;
    let server = serving::serve(listener, async move |request| house.answer(&request).await);
    LocalSet::new().run_until(server).await;
    Ok(())
}

impl House {
    async fn answer(&self, request: &Request<Incoming>) -> Response<Full<Bytes>> {
        let path = request.uri().path();
        if let Some(stored) = self.store.get(path) {
            return shown(stored);
        }
        let Ok(stored) = self.fetch(path).await else {
            let mut answer = Response::new(Full::default());
            *answer.status_mut() = StatusCode::BAD_GATEWAY;
            return answer;
        };
        if !path.starts_with(UNCACHED) {
            self.store.insert(path.into(), stored.clone());
        }
        shown(stored)
    }

    async fn fetch(&self, path: &str) -> anyhow::Result<Stored> {
        let target = Uri::builder().scheme("http").authority(self.partner.to_string()).path_and_query(path).build()?;
        let mut request = Request::new(Full::default());
        *request.method_mut() = Method::GET;
        *request.uri_mut() = target;
        request.headers_mut().insert("x-reseller-api-key", self.key.clone());
        let answer = self.client.request(request).await?;
        anyhow::ensure!(answer.status() == StatusCode::OK, "the partner answered {}", answer.status());
        let content_type =
            answer.headers().get(CONTENT_TYPE).cloned().unwrap_or(HeaderValue::from_static("application/json"));
        // Copied: what hyper hands out are slices that would keep its whole read buffer alive.
        let content_type = HeaderValue::from_bytes(content_type.as_bytes())?;
        let body = Bytes::copy_from_slice(&answer.into_body().collect().await?.to_bytes());
        let digest = RandomState::with_seeds(1, 2, 3, 4).hash_one(&body);
        let etag = HeaderValue::try_from(format!("\"{digest:016x}\""))?;
        Ok(Stored { body, content_type, etag })
    }
}

fn shown(stored: Stored) -> Response<Full<Bytes>> {
    let mut answer = Response::new(Full::new(stored.body));
    answer.headers_mut().insert(CONTENT_TYPE, stored.content_type);
    answer.headers_mut().insert(ETAG, stored.etag);
    answer
}
