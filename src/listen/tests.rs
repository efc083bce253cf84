//! Does a connection have its time and no more?
//! Given pipes and time moved by hand, claims when a connection that stands still is ended, and when not.
//! Never uses a socket.

use http_body_util::{BodyExt, Full};
use hyper::client::conn::http2;
use hyper_util::rt::TokioExecutor;
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};
use tokio::task::JoinHandle;

use super::*;

const IDLE: Duration = Duration::from_secs(75);
const LIMITS: Limits =
    Limits { connections: 10, per_peer: 0, head_bytes: 16 << 10, head_time: Duration::from_secs(10), idle_time: IDLE };

/// Answers a megabyte, after a while.
#[derive(Clone)]
struct Large {
    after: Duration,
    clock: Clock,
}

impl Door for Large {
    type Body = Full<Bytes>;
    type Owed = ();

    async fn answer(&self, _: Request<Incoming>, _: SocketAddr) -> Response<Full<Bytes>> {
        self.clock.sleep_until(self.clock.tick().plus(self.after)).await;
        Response::new(Full::from(vec![b'x'; 1 << 20]))
    }

    fn head_too_large(&self, _: SocketAddr) -> Bytes {
        Bytes::new()
    }

    fn refuse_head(&self, _: SocketAddr) -> Response<Full<Bytes>> {
        Response::default()
    }
}

/// A connection that is served, and the caller's end of it.
struct Scene {
    clock: Clock,
    served: JoinHandle<()>,
    theirs: DuplexStream,
}

fn scene(after: Duration, is_http2: bool) -> Scene {
    let clock = Clock::moved_by_hand(0);
    let (ours, theirs) = tokio::io::duplex(4 << 10);
    let listener = Listener::new(Large { after, clock }, LIMITS, clock, Arc::default());
    tokio::spawn(Arc::clone(&listener.paces).sweep(clock, LIMITS.head_time, LIMITS.idle_time));
    let served = tokio::spawn(async move {
        match is_http2 {
            true => listener.http2(ours, ON_THIS_MACHINE, None).await,
            false => listener.connection(ours, ON_THIS_MACHINE, None).await,
        }
    });
    Scene { clock, served, theirs }
}

type Sender = http2::SendRequest<Full<Bytes>>;

/// A client that takes no more than a frame before it asks for more, and answers pings.
async fn client(theirs: DuplexStream) -> (Sender, JoinHandle<hyper::Result<()>>) {
    let mut settings = http2::Builder::new(TokioExecutor::new());
    settings.initial_stream_window_size(16 << 10).initial_connection_window_size(1 << 20);
    let (sender, connection) = settings.handshake(TokioIo::new(theirs)).await.unwrap();
    (sender, tokio::spawn(connection))
}

fn request() -> Request<Full<Bytes>> {
    Request::builder().uri("https://a/").body(Full::default()).unwrap()
}

#[track_caller]
fn is_about(took: Duration, wanted: Duration) {
    assert!(took >= wanted && took < wanted + Duration::from_secs(2), "{took:?}");
}

#[tokio::test(start_paused = true)]
async fn over_http_2_who_takes_nothing_of_an_answer_is_cut_though_it_answers_pings() {
    let Scene { clock, served, theirs } = scene(Duration::ZERO, true);
    let (mut sender, _connection) = client(theirs).await;
    let answer = sender.send_request(request()).await.unwrap();
    let began = clock.tick();
    served.await.unwrap();
    is_about(clock.tick().since(began), IDLE);
    assert!(answer.into_body().collect().await.is_err(), "the rest never comes");
}

#[tokio::test(start_paused = true)]
async fn over_http_2_who_takes_an_answer_slowly_is_served() {
    let Scene { clock, served, theirs } = scene(Duration::ZERO, true);
    let (mut sender, _connection) = client(theirs).await;
    let mut body = sender.send_request(request()).await.unwrap().into_body();
    for _ in 0..10 {
        assert!(body.frame().await.unwrap().unwrap().is_data());
        clock.sleep_until(clock.tick().plus(Duration::from_secs(60))).await;
    }
    assert!(!served.is_finished());
    let mut rest = 0;
    while let Some(frame) = body.frame().await {
        rest += frame.unwrap().into_data().unwrap().len();
    }
    assert!(rest > 512 << 10, "{rest}");
}

#[tokio::test(start_paused = true)]
async fn over_http_2_an_answer_that_takes_long_is_waited_for() {
    let Scene { clock, served, theirs } = scene(IDLE * 3, true);
    let (mut sender, _connection) = client(theirs).await;
    let began = clock.tick();
    let answer = sender.send_request(request()).await.unwrap();
    is_about(clock.tick().since(began), IDLE * 3);
    assert_eq!(answer.into_body().collect().await.unwrap().to_bytes().len(), 1 << 20);
    assert!(!served.is_finished());
}

#[tokio::test(start_paused = true)]
async fn over_http_2_who_asks_for_nothing_is_told_to_go() {
    let Scene { clock, served, theirs } = scene(Duration::ZERO, true);
    let (_sender, connection) = client(theirs).await;
    let began = clock.tick();
    served.await.unwrap();
    is_about(clock.tick().since(began), IDLE);
    connection.await.unwrap().unwrap();
}

#[tokio::test(start_paused = true)]
async fn over_http_2_a_beginning_that_never_ends_is_cut() {
    let Scene { clock, served, mut theirs } = scene(Duration::ZERO, true);
    theirs.write_all(b"PRI * HTTP/2.0\r\n").await.unwrap();
    let began = clock.tick();
    served.await.unwrap();
    is_about(clock.tick().since(began), IDLE);
}

#[tokio::test(start_paused = true)]
async fn over_http_1_who_takes_nothing_of_an_answer_is_cut() {
    let Scene { clock, served, mut theirs } = scene(Duration::ZERO, false);
    theirs.write_all(b"GET / HTTP/1.1\r\nhost: a\r\n\r\n").await.unwrap();
    theirs.read_exact(&mut [0; 1024]).await.unwrap();
    let began = clock.tick();
    served.await.unwrap();
    is_about(clock.tick().since(began), IDLE);
}
