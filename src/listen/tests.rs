//! Does a connection have its time and no more?
//! Given pipes and time moved by hand, claims when a connection that stands still is ended, and when not.
//! Never uses a socket.

use http_body_util::{BodyExt, Full};
use hyper::client::conn::http2;
use hyper_util::rt::TokioExecutor;
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};
use tokio::task::JoinHandle;

use super::*;

mod frames;

const IDLE: Duration = Duration::from_secs(75);
const HEAD: Duration = Duration::from_secs(10);
const LIMITS: Limits = Limits {
    connections: 10,
    per_peer: 0,
    head_bytes: 16 << 10,
    head_time: HEAD,
    idle_time: IDLE,
    silent_time: Duration::from_secs(40),
};

/// Answers a megabyte, after a while, but two bytes to `/small`.
#[derive(Clone)]
struct Large {
    after: Duration,
    clock: Clock,
}

impl Handler for Large {
    type Body = Full<Bytes>;
    type Owed = ();

    async fn answer(&self, request: Request<Incoming>, _: SocketAddr) -> Response<Full<Bytes>> {
        if request.uri().path() == "/small" {
            return Response::new(Full::from("ok"));
        }
        self.clock.sleep_until(self.clock.tick().plus(self.after)).await;
        Response::new(Full::from(vec![b'x'; 1 << 20]))
    }

    fn refuse_head(&self, fault: BadHead, _: SocketAddr) -> Response<Full<Bytes>> {
        fault.response().map(Full::new)
    }
}

/// A connection that is served, and the caller's end of it.
struct Scene {
    clock: Clock,
    served: JoinHandle<()>,
    theirs: DuplexStream,
    pace: Arc<ConnectionState>,
    crowd: Arc<ConnectionLimiter>,
}

fn scene(after: Duration, is_http2: bool) -> Scene {
    let clock = Clock::moved_by_hand(0);
    let (ours, theirs) = tokio::io::duplex(4 << 10);
    let crowd = Arc::<ConnectionLimiter>::default();
    let listener = Listener::new(Large { after, clock }, LIMITS, clock, Arc::clone(&crowd));
    tokio::spawn(Arc::clone(&listener.watchdogs).sweep(clock, LIMITS));
    let pace = listener.watchdogs.enter(clock.tick());
    let its = Arc::clone(&pace);
    let served = tokio::spawn(async move {
        match is_http2 {
            true => listener.http2(ours, ON_THIS_MACHINE, its).await,
            false => listener.connection(ours, ON_THIS_MACHINE, &its).await,
        }
    });
    Scene { clock, served, theirs, pace, crowd }
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
    let Scene { clock, served, theirs, .. } = scene(Duration::ZERO, true);
    let (mut sender, _connection) = client(theirs).await;
    let answer = sender.send_request(request()).await.unwrap();
    let began = clock.tick();
    served.await.unwrap();
    is_about(clock.tick().since(began), IDLE);
    assert!(answer.into_body().collect().await.is_err(), "the rest never comes");
}

#[tokio::test(start_paused = true)]
async fn over_http_2_who_takes_an_answer_slowly_is_served() {
    let Scene { clock, served, theirs, .. } = scene(Duration::ZERO, true);
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
    let Scene { clock, served, theirs, .. } = scene(IDLE * 3, true);
    let (mut sender, _connection) = client(theirs).await;
    let began = clock.tick();
    let answer = sender.send_request(request()).await.unwrap();
    is_about(clock.tick().since(began), IDLE * 3);
    assert_eq!(answer.into_body().collect().await.unwrap().to_bytes().len(), 1 << 20);
    assert!(!served.is_finished());
}

#[tokio::test(start_paused = true)]
async fn over_http_2_who_asks_for_nothing_is_told_to_go() {
    let Scene { clock, served, theirs, .. } = scene(Duration::ZERO, true);
    let (_sender, connection) = client(theirs).await;
    let began = clock.tick();
    served.await.unwrap();
    is_about(clock.tick().since(began), LIMITS.silent_time);
    connection.await.unwrap().unwrap();
}

#[tokio::test(start_paused = true)]
async fn over_http_2_a_beginning_that_never_ends_is_cut() {
    let Scene { clock, served, mut theirs, .. } = scene(Duration::ZERO, true);
    theirs.write_all(b"PRI * HTTP/2.0\r\n").await.unwrap();
    let began = clock.tick();
    served.await.unwrap();
    is_about(clock.tick().since(began), LIMITS.silent_time);
}

#[tokio::test(start_paused = true)]
async fn over_http_1_who_takes_nothing_of_an_answer_is_cut() {
    let Scene { clock, served, mut theirs, .. } = scene(Duration::ZERO, false);
    theirs.write_all(b"GET / HTTP/1.1\r\nhost: a\r\n\r\n").await.unwrap();
    theirs.read_exact(&mut [0; 1024]).await.unwrap();
    let began = clock.tick();
    served.await.unwrap();
    is_about(clock.tick().since(began), IDLE);
}

#[tokio::test(start_paused = true)]
async fn over_http_1_who_says_nothing_at_first_has_less_time_than_who_asked_before() {
    let Scene { clock, served, theirs: _theirs, .. } = scene(Duration::ZERO, false);
    let began = clock.tick();
    served.await.unwrap();
    is_about(clock.tick().since(began), LIMITS.silent_time);
    let Scene { clock, served, mut theirs, .. } = scene(Duration::ZERO, false);
    theirs.write_all(b"GET /small HTTP/1.1\r\nhost: a\r\n\r\n").await.unwrap();
    heard(&mut theirs, b"ok").await;
    let began = clock.tick();
    served.await.unwrap();
    is_about(clock.tick().since(began), IDLE);
}

/// Reads up to these bytes; hands back all that was read.
async fn heard(theirs: &mut DuplexStream, last: &[u8]) -> Vec<u8> {
    let mut heard = Vec::new();
    while !heard.ends_with(last) {
        heard.push(theirs.read_u8().await.unwrap());
    }
    heard
}

#[tokio::test(start_paused = true)]
async fn who_gives_way_goes_at_once_if_it_is_idle_and_else_when_it_is_answered() {
    for begun in ["", "GE", "GET /small HTTP/1.1\r\nhost: "] {
        let Scene { served, mut theirs, pace, .. } = scene(Duration::ZERO, false);
        theirs.write_all(begun.as_bytes()).await.unwrap();
        tokio::task::yield_now().await;
        pace.give_way();
        served.await.unwrap();
        assert_eq!(theirs.read(&mut [0; 8]).await.unwrap(), 0, "{begun:?}");
    }
    let Scene { served, mut theirs, pace, clock, .. } = scene(HEAD, false);
    theirs.write_all(b"GET / HTTP/1.1\r\nhost: a\r\n\r\n").await.unwrap();
    clock.sleep_until(clock.tick().plus(Duration::from_secs(1))).await;
    pace.give_way();
    let mut answer = Vec::new();
    theirs.read_to_end(&mut answer).await.unwrap();
    assert!(answer.starts_with(b"HTTP/1.1 200 OK\r\n") && answer.len() > 1 << 20, "{}", answer.len());
    served.await.unwrap();
    // Over HTTP/2 the same, with GOAWAY.
    let Scene { served, theirs, pace, clock, .. } = scene(HEAD, true);
    let (mut sender, connection) = client(theirs).await;
    let asked = tokio::spawn(sender.send_request(request()));
    clock.sleep_until(clock.tick().plus(Duration::from_secs(1))).await;
    pace.give_way();
    let answer = asked.await.unwrap().unwrap();
    assert_eq!(answer.into_body().collect().await.unwrap().to_bytes().len(), 1 << 20);
    served.await.unwrap();
    connection.await.unwrap().unwrap();
    let Scene { served, theirs, pace, .. } = scene(HEAD, true);
    let (_sender, _connection) = client(theirs).await;
    pace.give_way();
    served.await.unwrap();
}

/// What a connection answers to these bytes, and that it ends with it.
async fn answers(sent: &[u8]) -> String {
    let Scene { served, mut theirs, .. } = scene(Duration::ZERO, false);
    let (mut reading, mut writing) = tokio::io::split(&mut theirs);
    let mut heard = Vec::new();
    let (sent, read) = tokio::join!(writing.write_all(sent), reading.read_to_end(&mut heard));
    sent.and(read.map(drop)).unwrap();
    drop(theirs);
    served.await.unwrap();
    String::from_utf8(heard).unwrap()
}

/// hyper says a bare status of its own where it cannot read a head: nobody learned what was wrong.
#[tokio::test(start_paused = true)]
async fn what_hyper_refuses_by_itself_is_refused_in_our_words() {
    let many =
        format!("GET /small HTTP/1.1\r\nhost: a\r\n\r\nGET / HTTP/1.1\r\nhost: a\r\n{}\r\n", "a: b\r\n".repeat(120));
    let before = "GET /small HTTP/1.1\r\nhost: a\r\n\r\n";
    let rows = [
        ("GET /a<b HTTP/1.1\r\nhost: a\r\n\r\n", 0, 400),
        ("GET / HTTP/1.1\r\nhost: a\r\nx: b\r\n folded\r\n\r\n", 0, 400),
        ("GET / HTTP/1.1\r\nhost: a\r\nno colon\r\n\r\n", 0, 400),
        ("GET / HTTP/9.9\r\nhost: a\r\n\r\n", 0, 400),
        ("POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 1\r\ncontent-length: 2\r\n\r\n", 0, 400),
        ("POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: xchunked\r\n\r\n", 0, 400),
        ("\u{16}\u{3}\u{1}\u{2}\0", 0, 400),
        (&format!("{before}nonsense\r\n\r\n"), 1, 400),
        (&format!("{before}{before}nonsense\r\n\r\n"), 2, 400),
        (&many, 1, 431),
    ];
    for (sent, before, status) in rows {
        let heard = answers(sent.as_bytes()).await;
        let statuses: Vec<&str> = heard.split("HTTP/1.1 ").skip(1).map(|answer| &answer[..3]).collect();
        let expected: Vec<String> =
            (0..before).map(|_| 200).chain([status]).map(|status: u16| status.to_string()).collect();
        assert_eq!(statuses, expected, "{sent:?} {heard:?}");
        let (head, body) = heard.rsplit_once("\r\n\r\n").unwrap();
        assert!(
            head.contains("connection: close") && head.contains("content-type: application/problem+json"),
            "{heard}"
        );
        let problem: serde_json::Value = serde_json::from_str(body).unwrap();
        assert_eq!(problem["status"], status);
    }
}

#[tokio::test(start_paused = true)]
async fn a_request_without_one_well_named_host_is_refused() {
    for hosts in ["", "host: a\r\nhost: b\r\n", "host: a b\r\n", "host: a\r\nHost: a\r\n"] {
        for method in ["GET", "POST"] {
            let sent = format!("{method} /small HTTP/1.1\r\n{hosts}content-length: 0\r\n\r\n");
            let heard = answers(sent.as_bytes()).await;
            assert!(heard.starts_with("HTTP/1.1 400 ") && heard.contains("problem:malformed"), "{sent:?} {heard}");
        }
    }
    let heard = answers(b"GET /small HTTP/1.0\r\n\r\n").await;
    assert!(heard.starts_with("HTTP/1.0 200 OK") && heard.ends_with("ok"), "{heard}");
}

/// The rest of a refused body was counted as the next head, and answered with a 431 that nobody had asked for.
#[tokio::test(start_paused = true)]
async fn what_is_left_of_a_refused_body_is_no_head() {
    let heard = answers(
        format!("POST /small HTTP/1.1\r\nhost: a b\r\ncontent-length: 200000\r\n\r\n{}", "x".repeat(200_000))
            .as_bytes(),
    )
    .await;
    assert_eq!(heard.matches("HTTP/1.1 ").count(), 1, "{heard}");
    // And a head behind a body has the limit that all have.
    let large = "x".repeat(17 << 10);
    let sent = format!(
        "POST /small HTTP/1.1\r\nhost: a\r\ncontent-length: 1\r\n\r\nxGET /small HTTP/1.1\r\nhost: a\r\na: {large}\r\n\r\n"
    );
    let heard = answers(sent.as_bytes()).await;
    assert!(heard.contains("HTTP/1.1 431 ") && heard.matches("HTTP/1.1 ").count() <= 2, "{heard}");
}
