//! What do frames of HTTP/2 do to their connection that no client would send?
//! Given frames as bytes on a pipe, claims which of them end it.
//! Never uses a socket.

use super::*;

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0";

fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u8::try_from(payload.len()).unwrap();
    [&[0, 0, length, kind, flags], &stream.to_be_bytes()[..], payload].concat()
}

/// A request, ended or with a body to come: POST or GET, https, /, a (RFC 7541 appendix A).
fn headers(stream: u32, is_whole: bool) -> Vec<u8> {
    let method = if is_whole { 0x82 } else { 0x83 };
    frame(1, if is_whole { 5 } else { 4 }, stream, &[method, 0x87, 0x84, 0x01, 0x01, b'a'])
}

/// Such frames kept a worker busy for as long as they came.
#[tokio::test(start_paused = true)]
async fn over_http_2_a_flood_of_frames_that_ask_for_nothing_ends_the_connection() {
    // The last are h2's own to bear, which bears less.
    let floods: [(&str, Vec<u8>, bool); 6] = [
        ("PING", frame(6, 0, 0, &[0; 8]), true),
        ("PING, acknowledged", frame(6, 1, 0, &[0; 8]), true),
        ("SETTINGS", frame(4, 0, 0, &[]), true),
        ("PRIORITY", frame(2, 0, 7, &[0, 0, 0, 0, 1]), true),
        ("DATA", frame(0, 0, 1, &[]), false),
        ("padding", frame(0, 8, 1, &[3, 0, 0, 0]), false),
    ];
    for (name, flood, is_ours) in floods {
        for many in [900, 1500] {
            let Scene { served, theirs, crowd, .. } = scene(HEAD, true);
            let (mut reading, mut writing) = tokio::io::split(theirs);
            let listening = tokio::spawn(async move {
                let mut heard = Vec::new();
                let _ = reading.read_to_end(&mut heard).await;
                heard
            });
            let sent = writing.write_all(&[PREFACE, &headers(1, false), &flood.repeat(many)].concat()).await;
            let is_flood = many > 1000;
            if is_flood {
                served.await.unwrap();
            }
            let _ = writing.shutdown().await;
            let heard = listening.await.unwrap();
            // GOAWAY after the last stream, with ENHANCE_YOUR_CALM.
            let goaway = [0, 0, 8, 7, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 11];
            if is_ours {
                assert!(sent.is_ok(), "{many} {name}: {sent:?}");
                assert_eq!(heard.ends_with(&goaway), is_flood, "{many} {name}");
                assert_eq!(crowd.figures().floods, u64::from(is_flood), "{many} {name}");
            } else if is_flood {
                assert!(heard.windows(4).any(|window| window == [0, 0, 0, 11]), "{many} {name}");
            }
        }
    }
}

/// The kind and the stream of the next frame.
async fn next_frame(theirs: &mut DuplexStream) -> (u8, u32) {
    let mut header = [0; 9];
    theirs.read_exact(&mut header).await.unwrap();
    let length = u32::from_be_bytes([0, header[0], header[1], header[2]]);
    theirs.read_exact(&mut vec![0; length as usize]).await.unwrap();
    (header[3], u32::from_be_bytes([header[5], header[6], header[7], header[8]]))
}

/// What was under way of refused uploads, when h2 had forgotten their streams, ended the connection for all others.
#[tokio::test(start_paused = true)]
async fn over_http_2_the_rest_of_bodies_that_nobody_reads_ends_no_connection() {
    const RST_STREAM: u8 = 3;
    let Scene { mut theirs, .. } = scene(Duration::ZERO, true);
    let small = |stream: u32, method: u8, flags: u8| {
        frame(1, flags, stream, &[&[method, 0x87, 0x01, 0x01, b'a', 0x04, 0x06][..], b"/small"].concat())
    };
    let uploads: Vec<u32> = (0..100).map(|nth| 2 * nth + 1).collect();
    let heads: Vec<u8> = uploads.iter().flat_map(|&stream| small(stream, 0x83, 4)).collect();
    theirs.write_all(&[PREFACE, &heads].concat()).await.unwrap();
    let mut reset = 0;
    while reset < uploads.len() {
        reset += usize::from(next_frame(&mut theirs).await.0 == RST_STREAM);
    }
    for &stream in &uploads {
        theirs.write_all(&frame(0, 0, stream, &[b'x'; 40])).await.unwrap();
        tokio::task::yield_now().await;
    }
    theirs.write_all(&small(201, 0x82, 5)).await.unwrap();
    loop {
        match next_frame(&mut theirs).await {
            (1, 201) => break,
            (kind, _) => assert_ne!(kind, 7, "GOAWAY"),
        }
    }
}

#[tokio::test(start_paused = true)]
async fn over_http_2_a_flood_that_does_not_listen_is_ended_too() {
    let Scene { clock, served, mut theirs, crowd, .. } = scene(HEAD, true);
    let began = clock.tick();
    // More than the pipe holds of answers: they stand still until the end.
    let sent = theirs.write_all(&[PREFACE, &frame(6, 0, 0, &[0; 8]).repeat(100_000)].concat()).await;
    served.await.unwrap();
    assert!(sent.is_err() || crowd.figures().floods == 1, "{sent:?}");
    assert!(clock.tick().since(began) < LIMITS.silent_time + HEAD, "{:?}", clock.tick().since(began));
}

/// They went on as two, which partners read in two ways or refuse.
#[test]
fn over_http_2_lengths_that_say_the_same_are_one() {
    let rows = [
        (&["5"][..], Some("5")),
        (&["5", "5"], Some("5")),
        (&["5, 5"], Some("5")),
        (&["5,5", " 5"], Some("5")),
        (&["5", "6"], None),
        (&["5, 6"], None),
        (&["5", "x"], None),
        (&["-5", "-5"], None),
        (&[""], Some("")),
    ];
    for (lengths, one) in rows {
        let mut headers = http::HeaderMap::new();
        for length in lengths {
            headers.append("content-length", length.parse().unwrap());
        }
        let made = super::super::http2::one_length(&mut headers);
        let left: Vec<&str> = headers.get_all("content-length").iter().map(|length| length.to_str().unwrap()).collect();
        match one {
            Some(one) => assert_eq!((made, left), (Ok(()), vec![one]), "{lengths:?}"),
            None => assert_eq!(made, Err(BadHead::Malformed), "{lengths:?}"),
        }
    }
}
