//! The state machine on hand-made streams, cut anywhere.

use super::*;
use proptest::prelude::*;

const W: u32 = 8;
const H: u32 = 4;

fn message(body: &[u8]) -> Vec<u8> {
    [
        &Prefix {
            body_bytes: body.len() as u64,
        }
        .encode()[..],
        body,
    ]
    .concat()
}

fn hdr_with(n: u64, extra: &str) -> Vec<u8> {
    let text = format!("HDR,\t\r\n{extra}Frames in Acquisition (Number):\t{n}\r\nEnd\t");
    message(text.as_bytes())
}

fn hdr(n: u64) -> Vec<u8> {
    hdr_with(n, "")
}

fn mq1_of(number: u64, kind: &str, width: u32, counter: u32) -> Vec<u8> {
    let text =
        format!("MQ1,{number:06},00128,01,{width:04},{H:04},{kind},   1x1,01,time,0.001,{counter},0,0,");
    let mut body = text.into_bytes();
    body.resize(128, 0);
    let bytes = if kind == "U16" { 2 } else { 1 };
    body.resize(128 + (width * H * bytes) as usize, number as u8);
    message(&body)
}

fn mq1(number: u64) -> Vec<u8> {
    mq1_of(number, "U08", W, 0)
}

/// Runs an assembler over a stream and writes down what happens.
struct Bench {
    assembler: Assembler,
    pending: Vec<u8>,
    frames: Vec<(u64, u64)>,
    now: Instant,
    error: Option<ProtocolError>,
}

impl Bench {
    fn new() -> Self {
        let now = Instant::now();
        let mut assembler = Assembler::new(4096, None, now);
        assembler.connected(false, now);
        assert_eq!(assembler.next_event(), Some(Event::Connected));
        Self {
            assembler,
            pending: Vec::new(),
            frames: Vec::new(),
            now,
            error: None,
        }
    }

    fn feed(&mut self, bytes: &[u8]) -> &mut Self {
        self.pending.extend_from_slice(bytes);
        self.assembler.received(bytes.len(), self.now);
        while self.error.is_none() {
            match self.assembler.step(&self.pending) {
                Ok(Step::Need(n)) => {
                    assert!(n > self.pending.len(), "needs {n}, has {}", self.pending.len());
                    break;
                }
                Ok(Step::Skip(n)) => drop(self.pending.drain(..n)),
                Ok(Step::Frame {
                    message_bytes,
                    acquisition,
                    index,
                    payload_offset,
                }) => {
                    assert_eq!(self.pending[payload_offset], (index + 1) as u8);
                    self.frames.push((acquisition, index));
                    self.pending.drain(..message_bytes);
                }
                Err(error) => {
                    self.assembler.failed(&error);
                    self.error = Some(error);
                }
            }
        }
        self
    }

    fn wait(&mut self, time: Duration) -> &mut Self {
        self.now += time;
        self.assembler.tick(self.now);
        self
    }

    fn events(&mut self) -> Vec<Event> {
        std::iter::from_fn(|| self.assembler.next_event()).collect()
    }

    fn endings(&mut self) -> Vec<Ended> {
        let events = self.events().into_iter();
        events
            .filter_map(|event| {
                if let Event::Ended(ended) = event {
                    Some(ended)
                } else {
                    None
                }
            })
            .collect()
    }

    fn indices(&self) -> Vec<u64> {
        self.frames.iter().map(|(_, index)| *index).collect()
    }
}

fn complete(number: u64, n_items: u64, gaps: &[(u64, u64)]) -> Ended {
    let (status, reason) = (Status::Complete, String::new());
    Ended {
        number,
        status,
        n_items,
        gaps: gaps
            .iter()
            .map(|&(start, stop)| Gap::new(start, stop, "lost by the detector"))
            .collect(),
        reason,
        cause: None,
    }
}

#[test]
fn an_acquisition_is_armed_runs_and_completes() {
    let mut bench = Bench::new();
    bench.feed(&hdr(2));
    assert!(
        matches!(&bench.events()[..], [Event::Armed { number: 1, header }] if header.n_frames == Some(2))
    );
    bench.feed(&mq1(1));
    let events = bench.events();
    assert!(
        matches!(&events[..], [Event::FirstFrame { number: 1, format, .. }] if format.item_shape() == (4, 8))
    );
    bench.feed(&mq1(2));
    assert_eq!(bench.events(), [Event::Ended(complete(1, 2, &[]))]);
    assert_eq!(bench.frames, [(1, 0), (1, 1)]);
}

#[test]
fn acquisitions_follow_one_another_with_terminators_between_messages() {
    let mut bench = Bench::new();
    let stream = [
        hdr(1),
        b"\0".to_vec(),
        mq1(1),
        b"\r\n".to_vec(),
        hdr(2),
        mq1(1),
        mq1(2),
    ]
    .concat();
    bench.feed(&stream);
    assert_eq!(bench.endings(), [complete(1, 1, &[]), complete(2, 2, &[])]);
    assert_eq!(bench.frames, [(1, 0), (2, 0), (2, 1)]);
}

#[test]
fn frames_without_an_acquisition_are_stale() {
    let mut bench = Bench::new();
    bench.feed(&[mq1(7), mq1(8), hdr(1), mq1(1), mq1(2)].concat());
    assert_eq!(bench.frames, [(1, 0)]);
    assert_eq!(bench.assembler.counters().n_stale, 3);
}

#[test]
fn a_lost_frame_leaves_a_hole_and_the_end_waits_a_moment_for_it() {
    let mut bench = Bench::new();
    bench.feed(&[hdr(4), mq1(1), mq1(2), mq1(4)].concat());
    assert_eq!(bench.endings(), []);
    assert_eq!(bench.assembler.counters().n_lost, 1);
    bench.wait(LATE_FRAMES);
    assert_eq!(bench.endings(), [complete(1, 4, &[(2, 3)])]);
    assert_eq!(bench.indices(), [0, 1, 3]);
}

#[test]
fn a_late_frame_fills_the_hole() {
    let mut bench = Bench::new();
    bench.feed(&[hdr(4), mq1(1), mq1(2), mq1(4), mq1(3)].concat());
    assert_eq!(bench.endings(), [complete(1, 4, &[])]);
    assert_eq!(bench.indices(), [0, 1, 3, 2]);
    let counters = bench.assembler.counters();
    assert_eq!((counters.n_out_of_order, counters.n_lost), (1, 0));
}

#[test]
fn a_frame_that_comes_again_is_dropped() {
    let mut bench = Bench::new();
    bench.feed(&[hdr(3), mq1(1), mq1(1), mq1(2), mq1(1), mq1(3)].concat());
    assert_eq!(bench.indices(), [0, 1, 2]);
    assert_eq!(bench.assembler.counters().n_duplicate, 2);
}

#[test]
fn a_header_sent_twice_is_one_acquisition_but_another_one_is_not() {
    let mut bench = Bench::new();
    bench.feed(&[hdr(2), hdr_with(2, "Time and Date Stamp (x):\tlater\r\n")].concat());
    assert_eq!(bench.events().len(), 1);
    bench.feed(&hdr(3));
    let events = bench.events();
    assert!(
        matches!(&events[..], [Event::Ended(e), Event::Armed { number: 2, .. }] if e.status == Status::Aborted)
    );
    assert_eq!(bench.assembler.counters().n_ignored, 1);
}

#[test]
fn a_header_in_a_run_ends_it_as_aborted_and_begins_the_next() {
    let mut bench = Bench::new();
    bench.feed(&[hdr(9), mq1(1), mq1(2), mq1(3), hdr(9), mq1(1)].concat());
    let endings = bench.endings();
    assert_eq!((endings[0].status, endings[0].n_items), (Status::Aborted, 3));
    assert!(
        endings[0].reason.contains("3 of 9 frames"),
        "{}",
        endings[0].reason
    );
    assert_eq!(bench.frames, [(1, 0), (1, 1), (1, 2), (2, 0)]);
}

#[test]
fn our_own_abort_discards_the_rest() {
    let mut bench = Bench::new();
    bench.feed(&[hdr(9), mq1(1)].concat());
    bench.assembler.abort();
    bench.feed(&[mq1(2), mq1(3), hdr(1), mq1(1)].concat());
    let endings = bench.endings();
    assert_eq!((endings[0].status, endings[0].n_items), (Status::Aborted, 1));
    assert_eq!(endings[1], complete(2, 1, &[]));
    assert_eq!(
        (
            bench.assembler.counters().n_discarded,
            bench.assembler.counters().n_stale
        ),
        (2, 0)
    );
}

#[test]
fn an_abandoned_acquisition_is_received_to_its_end_and_discarded() {
    let mut bench = Bench::new();
    bench.feed(&[hdr(3), mq1(1)].concat());
    bench.assembler.abandon(1);
    bench.feed(&[mq1(2), mq1(3), hdr(1), mq1(1)].concat());
    assert_eq!(bench.endings(), [complete(1, 3, &[]), complete(2, 1, &[])]);
    assert_eq!(bench.frames, [(1, 0), (2, 0)]);
    assert_eq!(bench.assembler.counters().n_discarded, 2);
}

#[test]
fn an_acquisition_abandoned_before_its_first_frame_does_not_swallow_the_next() {
    let mut bench = Bench::new();
    bench.feed(&hdr(1));
    bench.assembler.abandon(1);
    bench.feed(&[hdr(1), mq1(1)].concat());
    assert_eq!(bench.frames, [(2, 0)]);
}

#[test]
fn silence_in_a_run_ends_it_but_not_before_the_first_frame() {
    let mut bench = Bench::new();
    bench.feed(&hdr(9)).wait(Duration::from_secs(3600));
    assert_eq!(bench.endings(), []);
    bench
        .feed(&mq1(1))
        .wait(default_stall(None) - Duration::from_millis(1));
    assert_eq!(bench.endings(), []);
    bench.wait(Duration::from_millis(1));
    let endings = bench.endings();
    assert_eq!(
        (endings[0].status, endings[0].cause),
        (Status::Failed, Some(Cause::Stalled))
    );
    bench.feed(&[mq1(2), hdr(1), mq1(1)].concat());
    assert_eq!(bench.frames, [(1, 0), (2, 0)]);
}

#[test]
fn a_broken_connection_truncates_the_run() {
    let mut bench = Bench::new();
    bench.feed(&[hdr(5), mq1(1), mq1(2)].concat());
    bench.assembler.disconnected("end of stream".into());
    let endings = bench.endings();
    assert_eq!((endings[0].status, endings[0].n_items), (Status::Truncated, 2));
    assert!(endings[0].reason.contains("2 of 5 frames"));
}

#[test]
fn a_continuous_acquisition_ends_with_the_next_header() {
    let mut bench = Bench::new();
    bench.feed(&[hdr(0), mq1(1), mq1(2), mq1(3), hdr(1)].concat());
    let endings = bench.endings();
    assert_eq!((endings[0].status, endings[0].n_items), (Status::Aborted, 3));
}

#[track_caller]
fn assert_fails(stream: &[Vec<u8>], offset_of: usize, words: &str) {
    let mut bench = Bench::new();
    bench.feed(&stream.concat());
    let error = bench.error.clone().expect("an error");
    let offset: usize = stream[..offset_of].iter().map(Vec::len).sum();
    assert_eq!(error.offset, offset as u64, "{error}");
    assert!(error.to_string().contains(words), "{error}");
    assert_eq!(bench.assembler.counters().n_corrupt, 1);
    let endings = bench.endings();
    assert!(endings.is_empty() || endings[0].cause == Some(Cause::Protocol));
}

#[test]
fn what_the_protocol_does_not_allow_is_an_error_with_its_place() {
    assert_fails(&[hdr(2), mq1(1), b"garbage garbage".to_vec()], 2, "garbage");
    assert_fails(
        &[hdr(2), mq1(1), b"MPX,9999999999,MQ1".to_vec()],
        2,
        "exceeds the limit",
    );
    assert_fails(&[b"MPX,0000100000,HDR".to_vec()], 0, "exceeds the limit");
    assert_fails(&[b"MPX,0000009000,MQ1".to_vec()], 0, "slot_mb");
    assert_fails(&[hdr(2), message(b"XYZ,1")], 1, "unknown type");
    assert_fails(&[hdr(2), message(b"M")], 1, "unknown type");
    assert_fails(&[message(b"HDR,\t\r\nEnd\t")], 0, "lacks");
    assert_fails(&[hdr(2), mq1(1), mq1_of(2, "U16", W, 0)], 2, "frame 2 differs");
    assert_fails(&[hdr(2), mq1(1), mq1_of(2, "U16", W / 2, 0)], 2, "U16 4x4");
    assert_fails(&[hdr(2), mq1(1), mq1_of(2, "U08", W, 1)], 2, "counter 1");
    assert_fails(&[hdr(2), mq1(3)], 1, "frame number 3 is outside");
    assert_fails(&[hdr(2), mq1(0)], 1, "frame number 0 is outside");
    assert_fails(&[hdr(2), message(b"MQ1,000001,00128,01")], 1, "data offset 128");
}

#[test]
fn profile_frames_are_ignored() {
    let mut bench = Bench::new();
    bench.feed(&[hdr(1), message(b"PR1,000001,stuff"), mq1(1)].concat());
    assert_eq!(bench.frames, [(1, 0)]);
    assert_eq!(bench.assembler.counters().n_ignored, 1);
}

fn messages() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        3 => (0_u64..6).prop_map(hdr),
        12 => (1_u64..8).prop_map(mq1),
        1 => Just(mq1_of(1, "U16", W, 0)),
        1 => Just(b"\0\r\n".to_vec()),
        1 => Just(message(b"PR1,x")),
        1 => prop::collection::vec(any::<u8>(), 1..20),
    ]
}

proptest! {
    #[test]
    fn the_result_does_not_depend_on_how_the_stream_is_cut(
        stream in prop::collection::vec(messages(), 0..12), cuts in prop::collection::vec(1_usize..200, 1..6),
    ) {
        let stream = stream.concat();
        let mut whole = Bench::new();
        whole.feed(&stream);
        let mut pieces = Bench::new();
        let mut rest = &stream[..];
        for n in cuts.iter().cycle() {
            if rest.is_empty() { break; }
            let (piece, tail) = rest.split_at((*n).min(rest.len()));
            pieces.feed(piece);
            rest = tail;
        }
        prop_assert_eq!(&whole.frames, &pieces.frames);
        // How many of the wrong bytes an error can show does depend on it.
        let without_words = |endings: Vec<Ended>| -> Vec<Ended> {
            endings.into_iter().map(|ended| Ended { reason: String::new(), ..ended }).collect()
        };
        prop_assert_eq!(without_words(whole.endings()), without_words(pieces.endings()));
        prop_assert_eq!(whole.error.as_ref().map(|e| e.offset), pieces.error.as_ref().map(|e| e.offset));
    }

    #[test]
    fn arbitrary_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        Bench::new().feed(&bytes);
    }
}
