//! Are frames counted as they are, however their bytes come?
//! Given frames cut at any place, claims that the same headers are read, and how many of which end a connection.
//! Never uses a socket.

use proptest::prelude::*;

use super::*;

const PING: u8 = 6;
const SETTINGS: u8 = 4;
const PRIORITY: u8 = 2;

fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
    let mut frame = vec![length[1], length[2], length[3], kind, flags];
    frame.extend(stream.to_be_bytes());
    frame.extend_from_slice(payload);
    frame
}

fn read(pieces: &[&[u8]]) -> Vec<Frame> {
    let (mut frames, mut found) = (Frames::of_client(), Vec::new());
    for piece in pieces {
        frames.follow(piece, |frame| found.push(frame));
    }
    found
}

#[test]
fn padding_is_nothing_and_the_reserved_bit_is_no_part_of_a_stream() {
    let empty = [
        frame(DATA, 0, 1, b""),
        frame(DATA, 1, 1, b""),
        frame(DATA, PADDED, 1, b"\0"),
        frame(DATA, PADDED, 1, b"\x03\0\0\0"),
        // More padding than there is frame: h2 ends the connection for it, and here it is nothing either.
        frame(DATA, PADDED, 1, b"\xff\0"),
        frame(DATA, PADDED, 1, b""),
    ];
    let full = [frame(DATA, 0, 1, b"x"), frame(DATA, PADDED, 1, b"\x02x\0\0"), frame(DATA, PADDED, 1, b"\0x")];
    let is_empty = |frames: &[Vec<u8>]| {
        let bytes = [&[0; PREFACE as usize][..], &frames.concat()].concat();
        read(&[&bytes]).iter().map(|frame| frame.is_empty).collect::<Vec<_>>()
    };
    assert_eq!(is_empty(&empty), [true; 6]);
    assert_eq!(is_empty(&full), [false; 3]);
    let bytes = [&[0; PREFACE as usize][..], &frame(HEADERS, 4, 0x8000_0003, b"x")].concat();
    assert_eq!(read(&[&bytes]), [Frame { kind: HEADERS, stream: 3, is_empty: false }]);
}

proptest! {
    #[test]
    fn the_same_frames_are_read_however_the_bytes_are_cut(
        frames in prop::collection::vec(
            (0u8..12, any::<u8>(), 0u32..0x7fff_ffff, prop::collection::vec(any::<u8>(), 0..40)), 0..12,
        ),
        cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..20),
    ) {
        let mut bytes = vec![b'P'; PREFACE as usize];
        for (kind, flags, stream, payload) in &frames {
            bytes.extend(frame(*kind, *flags, *stream, payload));
        }
        let whole = read(&[&bytes]);
        let expected: Vec<_> = frames.iter().map(|(kind, _, stream, _)| (*kind, *stream)).collect();
        prop_assert_eq!(whole.iter().map(|frame| (frame.kind, frame.stream)).collect::<Vec<_>>(), expected);
        let mut cuts: Vec<usize> = cuts.iter().map(|cut| cut.index(bytes.len() + 1)).collect();
        cuts.sort_unstable();
        let (mut pieces, mut from) = (Vec::new(), 0);
        for cut in cuts.into_iter().chain([bytes.len()]) {
            pieces.push(&bytes[from..cut]);
            from = cut;
        }
        prop_assert_eq!(read(&pieces), whole.clone());
        let single: Vec<&[u8]> = bytes.chunks(1).collect();
        prop_assert_eq!(read(&single), whole);
    }

    /// Whatever comes, nothing is computed out of range.
    #[test]
    fn bytes_that_are_no_frames_are_followed_too(pieces in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..64), 0..20)) {
        let pieces: Vec<&[u8]> = pieces.iter().map(Vec::as_slice).collect();
        let one = pieces.concat();
        prop_assert_eq!(read(&pieces), read(&[&one]));
    }
}

fn seen(kind: u8, is_empty: bool) -> Frame {
    Frame { kind, stream: 5, is_empty }
}

fn at(seconds: u64) -> Tick {
    Tick::from_nanos(seconds * 1_000_000_000)
}

#[test]
fn a_thousand_frames_that_ask_for_nothing_are_borne_and_one_more_is_not() {
    const RST_STREAM: u8 = 3;
    const UNKNOWN: u8 = 0xbe;
    let kinds =
        [(PING, false), (PRIORITY, false), (SETTINGS, true), (DATA, true), (RST_STREAM, false), (UNKNOWN, true)];
    for (kind, is_empty) in kinds {
        let mut calm = Calm::default();
        assert!((0..MAX_IDLE_FRAMES).all(|_| !calm.is_broken_by(seen(kind, is_empty), || at(3))), "{kind}");
        assert!(calm.is_broken_by(seen(kind, is_empty), || at(13)), "{kind}");
    }
    for (kind, is_empty) in [(WINDOW_UPDATE, false), (DATA, false), (CONTINUATION, true), (HEADERS, false)] {
        let mut calm = Calm::default();
        assert!((0..100_000).all(|_| !calm.is_broken_by(seen(kind, is_empty), || at(3))), "{kind}");
    }
}

#[test]
fn a_request_and_time_begin_the_count_anew() {
    let mut calm = Calm::default();
    for _ in 0..10 {
        assert!((0..MAX_IDLE_FRAMES).all(|_| !calm.is_broken_by(seen(PING, false), || at(3))));
        assert!(!calm.is_broken_by(seen(HEADERS, false), || at(3)));
    }
    assert_eq!(calm.last, 5);
    // A hundred a second for ever.
    let mut calm = Calm::default();
    assert!((0..10_000u64).all(|nth| !calm.is_broken_by(seen(PING, false), || Tick::from_nanos(nth * 10_010_000))));
}
