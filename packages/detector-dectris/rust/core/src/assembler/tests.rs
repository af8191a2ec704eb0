use super::*;
use crate::test_messages::*;
use crate::{stream_v1, stream_v2};
use proptest::prelude::*;

struct Bench {
    assembler: Assembler,
    parser: stream_v1::Parser,
    now: Instant,
    frames: Vec<(u64, u64)>,
    events: Vec<Event>,
}

impl Bench {
    fn new() -> Self {
        Self::with(Channels::First, 4096)
    }

    fn with(channels: Channels, largest_record: usize) -> Self {
        let now = Instant::now();
        let mut assembler = Assembler::new(channels, largest_record, None, now);
        assembler.connected(false);
        Self {
            assembler,
            parser: stream_v1::Parser::default(),
            now,
            frames: Vec::new(),
            events: Vec::new(),
        }
    }

    /// Take a message of V1, or of V2 if it has one part of CBOR.
    fn feed(&mut self, parts: Vec<Vec<u8>>) -> &mut Self {
        self.assembler.set_time(self.now);
        let message = match &parts[..] {
            [only] if stream_v2::is_likely(only) => stream_v2::parse(only),
            _ => self.parser.parse(&slices(&parts)).message,
        };
        if let Some(frame) = self.assembler.take(message) {
            self.frames.push((frame.acquisition, frame.index));
        }
        self.collect()
    }

    fn images(&mut self, series: u64, indices: impl IntoIterator<Item = u64>) -> &mut Self {
        for index in indices {
            self.feed(v1_image(series, index));
        }
        self
    }

    fn wait(&mut self, time: Duration) -> &mut Self {
        self.now += time;
        self.assembler.tick(self.now);
        self.collect()
    }

    fn collect(&mut self) -> &mut Self {
        while let Some(event) = self.assembler.next_event() {
            self.events.push(event);
        }
        self
    }

    fn endings(&mut self) -> Vec<Ended> {
        self.collect();
        let ended = |event| match event {
            Event::Ended(ended) => Some(ended),
            _ => None,
        };
        std::mem::take(&mut self.events)
            .into_iter()
            .filter_map(ended)
            .collect()
    }

    fn ended(&mut self) -> Ended {
        let mut endings = self.endings();
        assert_eq!(endings.len(), 1, "{endings:?}");
        endings.remove(0)
    }
}

fn spans(ended: &Ended) -> Vec<(u64, u64)> {
    ended.gaps.iter().map(|gap| (gap.start, gap.stop)).collect()
}

fn header(series: u64, n: u64) -> Vec<Vec<u8>> {
    v1_header(series, n, 1, "ints")
}

const STALL: Duration = Duration::from_secs(10);

#[test]
fn an_acquisition_is_complete_with_its_last_frame_without_waiting_for_the_end() {
    let mut bench = Bench::new();
    bench.feed(header(3, 2)).images(3, 0..2);
    let ended = bench.ended();
    assert_eq!(
        (ended.status, ended.n_items, &*ended.reason),
        (Status::Complete, 2, "")
    );
    assert_eq!(bench.frames, [(1, 0), (1, 1)]);
    assert_eq!(bench.feed(v1_end(3)).endings(), []);
}

#[test]
fn the_end_message_decides_where_the_number_of_images_is_unknown() {
    let mut bench = Bench::new();
    let only = br#"{"header_detail":"none","htype":"dheader-1.0","series":8}"#.to_vec();
    bench.feed(vec![only]).images(8, 0..5).feed(v1_end(8));
    let ended = bench.ended();
    assert_eq!((ended.status, ended.n_items), (Status::Complete, 5));
}

#[test]
fn an_early_end_is_an_abort_and_says_how_far_it_got() {
    let mut bench = Bench::new();
    bench.feed(header(1, 10)).images(1, 0..4).feed(v1_end(1));
    let ended = bench.ended();
    assert_eq!(
        (ended.status, ended.n_items, ended.cause),
        (Status::Aborted, 4, None)
    );
    assert!(ended.reason.contains("4 of 10 frames"), "{}", ended.reason);
}

#[test]
fn lost_late_and_doubled_frames_are_placed_by_number() {
    let mut bench = Bench::new();
    bench.feed(header(1, 10)).images(1, [0, 1, 4, 4, 2, 5, 6, 9, 8]);
    assert_eq!(bench.endings(), []);
    bench.wait(LATE_FRAMES);
    let ended = bench.ended();
    assert_eq!(
        (ended.status, spans(&ended)),
        (Status::Complete, vec![(3, 4), (7, 8)])
    );
    assert_eq!(ended.gaps[0].reason, "never arrived");
    let counters = bench.assembler.counters();
    assert_eq!(
        (counters.n_duplicate, counters.n_out_of_order, counters.n_lost),
        (1, 2, 2)
    );
}

#[test]
fn with_holes_the_end_message_ends_at_once() {
    let mut bench = Bench::new();
    bench.feed(header(1, 4)).images(1, [0, 3]).feed(v1_end(1));
    let ended = bench.ended();
    assert_eq!((ended.status, spans(&ended)), (Status::Complete, vec![(1, 3)]));
}

#[test]
fn frames_of_other_series_are_stale_and_shift_nothing() {
    let mut bench = Bench::new();
    bench
        .feed(header(5, 2))
        .images(4, 7..9)
        .images(5, 0..1)
        .images(4, 9..10)
        .images(5, 1..2);
    assert_eq!(bench.frames, [(1, 0), (1, 1)]);
    assert_eq!(bench.ended().status, Status::Complete);
    assert_eq!(bench.assembler.counters().n_stale, 3);
    assert_eq!(bench.feed(v1_end(4)).endings(), []);
}

#[test]
fn images_before_any_start_are_stale_and_said_in_words() {
    let mut bench = Bench::new();
    bench.images(5, 0..3);
    assert_eq!(bench.assembler.counters().n_stale, 3);
    let note = bench.assembler.take_note().unwrap();
    assert!(
        note.contains("series 5") && note.contains("arm it again"),
        "{note}"
    );
}

#[test]
fn a_start_during_a_run_ends_it_also_if_series_begin_anew() {
    let mut bench = Bench::new();
    bench
        .feed(header(9, 4))
        .images(9, 0..2)
        .feed(header(1, 2))
        .images(1, 0..2);
    let endings = bench.endings();
    assert_eq!((endings[0].status, endings[0].n_items), (Status::Aborted, 2));
    assert!(
        endings[0].reason.contains("another series after 2 of 4"),
        "{}",
        endings[0].reason
    );
    assert_eq!((endings[1].number, endings[1].status), (2, Status::Complete));
}

#[test]
fn a_header_that_comes_twice_arms_once() {
    let mut bench = Bench::new();
    bench.feed(header(1, 1)).feed(header(1, 1)).images(1, 0..1);
    assert_eq!(bench.assembler.counters().n_acquisitions, 1);
    assert_eq!(bench.ended().number, 1);
}

#[test]
fn silence_ends_a_run_but_not_before_its_first_image() {
    let mut bench = Bench::new();
    bench.feed(header(1, 9)).wait(Duration::from_secs(3600));
    assert_eq!(bench.endings(), []);
    bench.images(1, 0..1).wait(STALL - Duration::from_millis(1));
    assert_eq!(bench.endings(), []);
    // What is left of another series is no sign of life.
    bench.images(0, 0..1).wait(Duration::from_millis(1));
    let ended = bench.ended();
    assert_eq!(
        (ended.status, ended.cause),
        (Status::Failed, Some(Cause::Stalled))
    );
    bench.images(1, 1..3);
    assert_eq!(bench.assembler.counters().n_discarded, 2);
}

#[test]
fn a_lost_connection_truncates_unless_it_comes_back_in_time() {
    let mut bench = Bench::new();
    bench.feed(header(1, 3)).images(1, 0..1);
    bench.assembler.disconnected("gone".into());
    bench.wait(STALL / 2);
    bench.assembler.connected(true);
    bench.images(1, 1..2).wait(STALL / 2);
    assert_eq!(bench.endings(), []);
    bench.assembler.set_time(bench.now);
    bench.assembler.disconnected("gone".into());
    bench.wait(STALL);
    let ended = bench.ended();
    assert_eq!(
        (ended.status, ended.cause),
        (Status::Truncated, Some(Cause::Disconnected))
    );
    assert_eq!(bench.assembler.counters().n_reconnects, 1);

    bench.assembler.connected(true);
    bench.feed(header(2, 3)).wait(Duration::from_secs(3600));
    bench.assembler.set_time(bench.now);
    bench.assembler.disconnected("gone".into());
    assert_eq!(
        bench.wait(STALL / 2).endings(),
        [],
        "armed long ago, lost just now"
    );
    assert_eq!(bench.wait(STALL / 2).ended().status, Status::Truncated);
}

#[test]
fn abort_and_abandon_discard_the_rest() {
    let mut bench = Bench::new();
    bench.feed(header(1, 5)).images(1, 0..2);
    bench.assembler.abort();
    assert_eq!(bench.ended().reason, "aborted by us");
    bench
        .images(1, 2..5)
        .feed(v1_end(1))
        .feed(header(2, 3))
        .images(2, 0..1);
    bench.assembler.abandon(2);
    bench.images(2, 1..3);
    let ended = bench.ended();
    assert_eq!(
        (ended.number, ended.status, ended.n_items),
        (2, Status::Complete, 3)
    );
    let counters = bench.assembler.counters();
    assert_eq!(
        (counters.n_items, counters.n_discarded, counters.n_stale),
        (3, 5, 0)
    );
}

#[test]
fn a_frame_that_can_not_be_used_is_a_gap_with_its_reason() {
    let mut bench = Bench::new();
    bench.feed(header(1, 5)).images(1, 0..1);
    bench.feed(v1_image_of(1, 1, "<", b"short"));
    bench.feed(v1_image_of(1, 2, "zstd<", &some_pixels(2)));
    bench.feed(v1_image_of(1, 3, "lz4<", &some_pixels(3)));
    bench.feed(vec![b"garbage".to_vec()]).images(1, 4..5);
    let ended = bench.ended();
    assert_eq!(
        (ended.status, spans(&ended)),
        (Status::Complete, vec![(1, 2), (2, 3), (3, 4)])
    );
    assert!(ended.gaps.iter().all(|gap| gap.reason.starts_with("corrupt: ")));
    assert!(
        ended.gaps[2].reason.contains("instead of 4x8 of 16 bit"),
        "{}",
        ended.gaps[2].reason
    );
    assert_eq!(bench.assembler.counters().n_corrupt, 4);
    assert_eq!(bench.frames, [(1, 0), (1, 4)]);
}

#[test]
fn a_first_frame_that_can_not_be_used_does_not_decide() {
    let mut bench = Bench::new();
    bench.feed(header(1, 3));
    bench.feed(v1_image_of(1, 0, "<", b"short")).images(1, 1..3);
    assert!(
        bench
            .events
            .iter()
            .any(|event| matches!(event, Event::FirstFrame { .. }))
    );
    let ended = bench.ended();
    assert_eq!((ended.status, spans(&ended)), (Status::Complete, vec![(0, 1)]));
}

#[test]
fn an_acquisition_without_any_usable_frame_fails_with_the_first_reason() {
    let mut bench = Bench::new();
    bench.feed(header(1, 2));
    for index in 0..2 {
        bench.feed(v1_image_of(1, index, "zstd<", b""));
    }
    let ended = bench.ended();
    assert_eq!(
        (ended.status, ended.cause),
        (Status::Failed, Some(Cause::Protocol))
    );
    assert!(ended.reason.contains("\"zstd<\" is unknown"), "{}", ended.reason);
}

#[test]
fn many_corrupt_frames_do_not_take_memory_for_their_reasons() {
    let mut bench = Bench::new();
    bench.feed(header(1, 10_001)).images(1, 0..1);
    for index in 1..10_001 {
        let blob = vec![0; index as usize % 50];
        bench.feed(v1_image_of(1, index, "<", &blob));
    }
    let ended = bench.ended();
    assert_eq!(ended.gaps.len(), MAX_REASONS + 1);
    assert_eq!(
        ended.gaps.iter().map(|gap| gap.stop - gap.start).sum::<u64>(),
        10_000
    );
}

#[test]
fn a_frame_larger_than_a_slot_fails_the_acquisition_and_says_what_to_do() {
    let mut bench = Bench::with(Channels::First, N_BYTES);
    bench.feed(header(1, 2)).images(1, 0..2);
    let ended = bench.ended();
    assert_eq!(
        (ended.status, ended.cause),
        (Status::Failed, Some(Cause::Protocol))
    );
    assert!(ended.reason.contains("slot_mb"), "{}", ended.reason);
    assert_eq!(bench.assembler.counters().n_discarded, 1);
}

#[test]
fn images_beyond_the_announced_number_are_counted_and_told() {
    let mut bench = Bench::new();
    bench.feed(header(1, 3)).images(1, [0, 3, u64::MAX]);
    assert_eq!(bench.assembler.counters().n_corrupt, 2);
    assert!(
        bench
            .assembler
            .take_note()
            .unwrap()
            .contains("outside series 1 of 3 images")
    );
}

#[test]
fn stolen_frames_at_the_end_belong_to_the_pattern() {
    let mut bench = Bench::new();
    bench
        .feed(header(1, 40))
        .images(1, (0..40).step_by(2))
        .feed(v1_end(1));
    let ended = bench.ended();
    assert_eq!(
        (ended.status, ended.n_items, ended.gaps.len()),
        (Status::Complete, 40, 20)
    );
    assert!(
        ended.reason.starts_with("every second frame is missing"),
        "{}",
        ended.reason
    );
    assert!(ended.gaps.iter().all(|gap| gap.reason.contains("another client")));
    assert!(bench.assembler.take_note().unwrap().contains("another client"));
}

#[test]
fn channels_are_kept_in_the_order_of_the_start_message() {
    let names = ["b", "a"];
    let of_first = |channels| {
        let mut bench = Bench::with(channels, 4096);
        bench.feed(vec![v2_start(1, 1, &names)]);
        bench.feed(vec![v2_image(1, 0, &["a", "b"])]);
        bench.events.clone()
    };
    for (channels, kept) in [
        (Channels::First, vec!["b"]),
        (Channels::Named("a".into()), vec!["a"]),
        (Channels::All, vec!["b", "a"]),
    ] {
        let is_kept =
            |event: &Event| matches!(event, Event::FirstFrame { frame, .. } if frame.channels == kept);
        assert!(of_first(channels).iter().any(is_kept));
    }
    let events = of_first(Channels::Named("c".into()));
    let Some(Event::Ended(ended)) = events.last() else {
        panic!("not ended")
    };
    assert!(
        ended.reason.contains("no channel \"c\", there is b, a"),
        "{}",
        ended.reason
    );
}

proptest! {
    #[test]
    fn any_order_of_messages_gives_each_frame_once_and_one_end_per_acquisition(
        steps in prop::collection::vec((0_u8..9, 0_u64..6, 1_u64..3), 0..120)
    ) {
        let mut bench = Bench::new();
        let mut all = Vec::new();
        for (kind, index, series) in steps {
            match kind {
                0 => bench.feed(header(series, 5)),
                1 => bench.feed(v1_end(series)),
                2 => bench.feed(vec![v2_start(series, 4, &["a"])]),
                3 => bench.feed(vec![v2_image(series, index, &["a"])]),
                4 => bench.feed(v1_image_of(series, index, "<", b"short")),
                5 if index == 0 => { bench.assembler.abort(); bench.collect() }
                _ => bench.images(series, [index]),
            };
            all.extend(bench.endings());
        }
        bench.assembler.abort();
        all.extend(bench.endings());
        let counters = *bench.assembler.counters();
        let numbers: Vec<u64> = all.iter().map(|ended| ended.number).collect();
        prop_assert_eq!(numbers, (1..=counters.n_acquisitions).collect::<Vec<_>>());
        let mut frames = bench.frames.clone();
        frames.sort_unstable();
        frames.dedup();
        prop_assert_eq!(frames.len(), bench.frames.len());
        prop_assert_eq!(counters.n_items, frames.len() as u64);
        for ended in all {
            let n_missing: u64 = ended.gaps.iter().map(|gap| gap.stop - gap.start).sum();
            let n = frames.iter().filter(|(number, _)| *number == ended.number).count() as u64;
            prop_assert_eq!(n + n_missing, ended.n_items);
            prop_assert!(ended.gaps.windows(2).all(|pair| pair[0].stop <= pair[1].start));
        }
    }
}
