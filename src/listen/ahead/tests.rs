//! Do answers leave in the order of their requests, whoever gives them and however the bytes come?
//! Given a door that knows some heads, claims it for every mix of requests and every way to cut them, on pipes of any size.
//! Never uses a socket.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use http::{Request, Response};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use proptest::prelude::*;
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};

use super::super::{Limits, Listener, ON_THIS_MACHINE};
use super::*;
use crate::clock::Clock;

const LIMITS: Limits = Limits {
    connections: 10,
    per_peer: 0,
    head_bytes: 16 << 10,
    head_time: Duration::from_secs(10),
    idle_time: Duration::from_secs(75),
    silent_time: Duration::from_secs(75),
};

/// Knows heads whose path begins with `/known`, as they stand here: another byte, and it knows nothing.
#[derive(Clone)]
struct Desk {
    clock: Clock,
    at_once: Arc<AtomicU64>,
    over: Arc<AtomicU64>,
}

/// An answer that is not over.
struct Open(Arc<AtomicU64>);

impl Drop for Open {
    fn drop(&mut self) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

fn get(path: &str) -> String {
    format!("GET {path} HTTP/1.1\r\nhost: a\r\n\r\n")
}

/// What the answer to a path has in its body, at once or not.
fn body_of(path: &str) -> String {
    let times = if path.contains("large") { 1000 } else { 1 };
    path.repeat(times)
}

impl Handler for Desk {
    type Body = Full<Bytes>;
    type Owed = Open;

    fn at_once(&self, head: &[u8], _: SocketAddr, wire: &mut Wire) -> Option<AtOnce<Open>> {
        let text = std::str::from_utf8(head).ok()?;
        let path = text.strip_prefix("GET ")?.split(' ').next()?;
        if text != get(path) || !path.starts_with("/known") {
            return None;
        }
        self.at_once.fetch_add(1, Ordering::Relaxed);
        let body = body_of(path);
        wire.extend_from_slice(format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n", body.len()).as_bytes());
        Some(AtOnce { body: body.into(), owed: Open(Arc::clone(&self.over)) })
    }

    async fn answer(&self, request: Request<Incoming>, _: SocketAddr) -> Response<Full<Bytes>> {
        let path = request.uri().path().to_owned();
        if path.contains("slow") {
            self.clock.sleep_until(self.clock.tick().plus(Duration::from_millis(50))).await;
        }
        // Not all of them read their body, or wait for it.
        if path.contains("reads") {
            let _ = request.into_body().collect().await;
        }
        Response::new(Full::from(body_of(&path)))
    }

    fn refuse_head(&self, _: BadHead, _: SocketAddr) -> Response<Full<Bytes>> {
        Response::default()
    }
}

struct Scene<T = DuplexStream> {
    desk: Desk,
    theirs: T,
    read: Vec<u8>,
}

fn scene(capacity: usize) -> Scene {
    let clock = Clock::moved_by_hand(0);
    let desk = Desk { clock, at_once: Arc::default(), over: Arc::default() };
    let (ours, theirs) = tokio::io::duplex(capacity);
    let listener = Listener::new(desk.clone(), LIMITS, clock, Arc::default());
    listener.spawn(ours, ON_THIS_MACHINE);
    Scene { desk, theirs, read: Vec::new() }
}

impl Scene {
    async fn send(&mut self, text: &str) {
        self.theirs.write_all(text.as_bytes()).await.unwrap();
    }
}

impl<T: AsyncRead + Unpin> Scene<T> {
    /// The next answer's status and body; `None` at the end of the connection.
    async fn answer(&mut self) -> Option<(u16, String)> {
        loop {
            let whole = String::from_utf8(self.read.clone()).unwrap();
            if let Some((head, rest)) = whole.split_once("\r\n\r\n") {
                let status = head.split(' ').nth(1)?.parse().ok()?;
                let length = head.lines().find_map(|line| line.strip_prefix("content-length: "))?.parse::<usize>();
                if let Some(body) = rest.get(..length.unwrap()) {
                    self.read = rest.as_bytes()[body.len()..].to_vec();
                    return Some((status, body.to_owned()));
                }
            }
            if self.theirs.read_buf(&mut self.read).await.ok()? == 0 {
                return None;
            }
        }
    }

    fn at_once(&self) -> u64 {
        self.desk.at_once.load(Ordering::Relaxed)
    }

    fn over(&self) -> u64 {
        self.desk.over.load(Ordering::Relaxed)
    }
}

/// Until nobody has anything to do.
async fn settle() {
    tokio::time::sleep(Duration::from_millis(200)).await;
}

#[tokio::test(start_paused = true)]
async fn a_known_head_is_answered_at_once_before_and_after_hypers_own() {
    let mut scene = scene(64 << 10);
    for (path, at_once) in
        [("/known/1", 1), ("/other", 1), ("/known/2", 2), ("/known/large", 3), ("/slow", 3), ("/known/3", 4)]
    {
        scene.send(&get(path)).await;
        assert_eq!(scene.answer().await.unwrap(), (200, body_of(path)));
        assert_eq!(scene.at_once(), at_once, "{path}");
        settle().await;
        assert_eq!(scene.over(), at_once, "{path}");
    }
}

/// A client whose heads the door never knew paid for the question with each of them.
#[tokio::test(start_paused = true)]
async fn after_many_unknown_heads_the_door_is_asked_for_one_in_eight_and_after_an_answer_for_each() {
    let mut scene = scene(64 << 10);
    for _ in 0..=UNKNOWN_IN_A_ROW {
        scene.send(&get("/other")).await;
        assert_eq!(scene.answer().await.unwrap().1, "/other");
        settle().await;
    }
    let mut seen = Vec::new();
    for _ in 0..10 {
        scene.send(&get("/known/1")).await;
        assert_eq!(scene.answer().await.unwrap().1, "/known/1");
        settle().await;
        seen.push(scene.at_once());
    }
    assert_eq!(seen, [0, 0, 0, 0, 0, 0, 0, 1, 2, 3]);
}

#[tokio::test(start_paused = true)]
async fn heads_in_pieces_or_together_go_to_hyper_and_the_pieces_cost_nothing_later() {
    let mut scene = scene(64 << 10);
    let head = get("/known/1");
    let (first, second) = head.split_at(20);
    scene.send(first).await;
    settle().await;
    scene.send(second).await;
    assert_eq!(scene.answer().await.unwrap().1, "/known/1");
    assert_eq!(scene.at_once(), 0);
    settle().await;
    scene.send(&get("/known/2")).await;
    assert_eq!(scene.answer().await.unwrap().1, "/known/2");
    assert_eq!(scene.at_once(), 1);
    scene.send(&(get("/known/3") + &get("/known/4"))).await;
    for path in ["/known/3", "/known/4"] {
        assert_eq!(scene.answer().await.unwrap().1, path);
    }
    settle().await;
    // hyper may have had more than one head at a time: from here on nobody is sure.
    scene.send(&get("/known/5")).await;
    assert_eq!(scene.answer().await.unwrap().1, "/known/5");
    assert_eq!(scene.at_once(), 1);
}

#[tokio::test(start_paused = true)]
async fn what_comes_while_hyper_answers_waits_its_turn() {
    let mut scene = scene(64 << 10);
    scene.send(&get("/slow")).await;
    tokio::time::sleep(Duration::from_millis(10)).await;
    scene.send(&get("/known/1")).await;
    assert_eq!(scene.answer().await.unwrap().1, "/slow");
    assert_eq!(scene.answer().await.unwrap().1, "/known/1");
    assert_eq!(scene.at_once(), 0);
}

/// A body that looks like a head must not get an answer: whoever shares the connection would take it for its own.
#[tokio::test(start_paused = true)]
async fn a_body_that_looks_like_a_known_head_is_a_body() {
    let hidden = get("/known/hidden");
    for path in ["/reads", "/leaves"] {
        for fields in [format!("content-length: {}", hidden.len()), "transfer-encoding: chunked".to_owned()] {
            for together in [true, false] {
                let mut scene = scene(64 << 10);
                let body = match fields.contains("chunked") {
                    true => format!("{:x}\r\n{hidden}\r\n0\r\n\r\n", hidden.len()),
                    false => hidden.clone(),
                };
                scene.send(&format!("POST {path} HTTP/1.1\r\nhost: a\r\n{fields}\r\n\r\n")).await;
                if !together {
                    settle().await;
                }
                // Who leaves a body unread may have closed by then.
                let _ = scene.theirs.write_all(body.as_bytes()).await;
                assert_eq!(scene.answer().await.unwrap().1, path);
                settle().await;
                // It may be the end of the connection; what is no answer to a request must not come.
                let _ = scene.theirs.write_all(get("/known/1").as_bytes()).await;
                if let Some((_, answered)) = scene.answer().await {
                    assert_eq!(answered, "/known/1", "{path} {fields} {together}");
                }
                assert_eq!(scene.at_once(), 0, "{path} {fields} {together}");
            }
        }
    }
}

/// Some readers end a line, or a head, without a carriage return.
#[tokio::test(start_paused = true)]
async fn what_some_read_as_two_heads_and_others_as_one_is_left_to_hyper_for_good() {
    let ends = [
        ("GET /a HTTP/1.1\nhost: a\n\n".to_owned(), 1),
        ("GET /a HTTP/1.1\r\nhost: a\n\r\n".to_owned(), 1),
        (format!("\r\n{}", get("/a")), 1),
        (format!("GET /a HTTP/1.1\nhost: a\n\n{}", get("/b")), 2),
    ];
    for (sent, answers) in ends {
        let mut scene = scene(64 << 10);
        scene.send(&sent).await;
        for _ in 0..answers {
            assert_eq!(scene.answer().await.unwrap().0, 200, "{sent:?}");
        }
        settle().await;
        scene.send(&get("/known/1")).await;
        assert_eq!(scene.answer().await.unwrap().1, "/known/1", "{sent:?}");
        assert_eq!(scene.at_once(), 0, "{sent:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn an_answer_is_owed_until_its_last_byte_is_taken_and_nothing_is_read_meanwhile() {
    let mut scene = scene(100);
    scene.send(&get("/known/large")).await;
    settle().await;
    assert_eq!((scene.at_once(), scene.over()), (1, 0));
    scene.send(&get("/known/2")).await;
    settle().await;
    assert_eq!((scene.at_once(), scene.over()), (1, 0));
    assert_eq!(scene.answer().await.unwrap().1, body_of("/known/large"));
    assert_eq!(scene.answer().await.unwrap().1, "/known/2");
    settle().await;
    assert_eq!((scene.at_once(), scene.over()), (2, 2));
}

#[tokio::test(start_paused = true)]
async fn a_caller_that_leaves_in_the_middle_ends_what_was_owed() {
    let mut scene = scene(100);
    scene.send(&get("/known/large")).await;
    settle().await;
    let over = Arc::clone(&scene.desk.over);
    drop(scene);
    settle().await;
    assert_eq!(over.load(Ordering::Relaxed), 1);
}

#[tokio::test(start_paused = true)]
async fn a_connection_that_is_to_end_leaves_every_head_to_hyper() {
    let clock = Clock::moved_by_hand(0);
    let desk = Desk { clock, at_once: Arc::default(), over: Arc::default() };
    let (ours, theirs) = tokio::io::duplex(64 << 10);
    let listener = Listener::new(desk.clone(), LIMITS, clock, Arc::default());
    let paces = Arc::clone(&listener.watchdogs);
    let served = tokio::spawn(async move {
        let pace = listener.watchdogs.enter(clock.tick());
        listener.connection(ours, ON_THIS_MACHINE, &pace).await;
    });
    let mut scene = Scene { desk, theirs, read: Vec::new() };
    scene.send(&get("/known/1")).await;
    assert_eq!(scene.answer().await.unwrap().1, "/known/1");
    paces.finish_all();
    served.await.unwrap();
    let _ = scene.theirs.write_all(get("/known/2").as_bytes()).await;
    assert_eq!(scene.answer().await, None);
    assert_eq!(scene.at_once(), 1);
}

/// One request of a mix: how it is sent, and the path that its answer names.
fn request() -> impl Strategy<Value = (String, String)> {
    (0..7_u8, 0..100_u32).prop_map(|(kind, number)| {
        let path = match kind {
            0 | 1 => format!("/known/{number}"),
            2 => format!("/known/large/{number}"),
            3 => format!("/other/{number}"),
            4 => format!("/slow/{number}"),
            _ => format!("/reads/{number}"),
        };
        let sent = match kind {
            5 => format!("POST {path} HTTP/1.1\r\nhost: a\r\ncontent-length: 6\r\n\r\n\r\n\r\nab"),
            6 => format!("POST {path} HTTP/1.1\r\nhost: a\r\ncontent-length: 39\r\n\r\n{}", get("/known/hidden")),
            _ => get(&path),
        };
        (sent, path)
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    /// Pauses fall anywhere: within heads, within bodies, between requests, or nowhere.
    #[test]
    fn answers_come_whole_and_in_order(
        requests in prop::collection::vec(request(), 1..8),
        cuts in prop::collection::vec((any::<prop::sample::Index>(), 0..60_u64), 0..8),
        at_ends in any::<bool>(),
        capacity in prop::sample::select(vec![7_usize, 100, 64 << 10]),
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build().unwrap();
        runtime.block_on(async {
            let Scene { desk, theirs, read } = scene(capacity);
            let (reading, mut writing) = tokio::io::split(theirs);
            let all: String = requests.iter().map(|(sent, _)| sent.as_str()).collect();
            let mut pauses: Vec<(usize, u64)> =
                cuts.iter().map(|(at, pause)| (at.index(all.len()), *pause)).collect();
            if at_ends {
                let mut end = 0;
                pauses.extend(requests.iter().map(|(sent, _)| {
                    end += sent.len();
                    (end, 100)
                }));
            }
            pauses.sort_unstable();
            let sender = tokio::spawn(async move {
                let mut from = 0;
                for (at, pause) in pauses {
                    writing.write_all(&all.as_bytes()[from..at]).await.unwrap();
                    tokio::time::sleep(Duration::from_millis(pause)).await;
                    from = at;
                }
                writing.write_all(&all.as_bytes()[from..]).await.unwrap();
                writing
            });
            let mut scene = Scene { desk, theirs: reading, read };
            for (_, path) in &requests {
                assert_eq!(scene.answer().await, Some((200, body_of(path))));
            }
            sender.await.unwrap();
            settle().await;
            assert_eq!(scene.over(), scene.at_once());
        });
    }
}
