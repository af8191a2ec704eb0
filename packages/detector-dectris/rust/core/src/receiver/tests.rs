//! The thread against real sockets and a real ring.

use super::*;
use crate::test_messages::*;
use receiver_core::{Cause, Ended, Status};
use shmring_core::{Consumer, Received, RingConfig};
use std::thread;

const DEADLINE: Duration = Duration::from_secs(20);

struct Bench {
    receiver: Receiver,
    context: Context,
    peer: Socket,
    endpoint: String,
}

impl Bench {
    fn new(slot_bytes: usize, n_slots: u32) -> Self {
        Self::with(slot_bytes, n_slots, Channels::First, None)
    }

    fn with(slot_bytes: usize, n_slots: u32, channels: Channels, stall_timeout: Option<Duration>) -> Self {
        let context = Context::new();
        let peer = push_socket(&context, "tcp://127.0.0.1:*");
        let endpoint = peer.get_last_endpoint().unwrap().unwrap();
        let config = ReceiverConfig {
            endpoints: vec![endpoint.clone()],
            channels,
            flush_interval: Duration::from_millis(10),
            stall_timeout,
        };
        let ring = Ring::create(RingConfig::new(slot_bytes, n_slots)).unwrap();
        let bench = Self {
            receiver: start(config, ring).unwrap(),
            context,
            peer,
            endpoint,
        };
        assert_eq!(bench.event(), Event::Connected);
        bench
    }

    fn event(&self) -> Event {
        self.receiver.next_event(DEADLINE).expect("an event in time")
    }

    fn ended(&self) -> Ended {
        loop {
            if let Event::Ended(ended) = self.event() {
                return ended;
            }
        }
    }

    fn send(&self, parts: Vec<Vec<u8>>) {
        self.peer.send_multipart(parts, 0).unwrap();
    }

    fn consumer(&self, number: u64) -> Consumer {
        Consumer::from_fd(self.receiver.ring().attach(number).unwrap().1).unwrap()
    }
}

fn push_socket(context: &Context, endpoint: &str) -> Socket {
    let peer = context.socket(zmq::PUSH).unwrap();
    peer.set_linger(0).unwrap();
    // A test that waits in vain must end.
    peer.set_sndtimeo(DEADLINE.as_millis() as i32).unwrap();
    peer.bind(endpoint).unwrap();
    peer
}

/// Indices of all frames up to the end; blob `i` of each is checked to be that of image `index + i`.
fn indices(consumer: &Consumer) -> Vec<u64> {
    let mut found = Vec::new();
    loop {
        match consumer.recv(DEADLINE).unwrap().expect("a stack in time") {
            Received::End { .. } => return found,
            Received::Stack(stack) => {
                assert_eq!(stack.meta().len(), stack.n_items() as usize);
                for (i, offset) in stack.meta().iter().enumerate() {
                    let index = stack.item_first() + i as u64;
                    assert_eq!(offset % 8, 0);
                    let record = &stack.bytes()[*offset as usize..];
                    let n_blobs = u32::from_le_bytes(record[..4].try_into().unwrap()) as usize;
                    let mut at = 8 + 8 * n_blobs;
                    for blob in 0..n_blobs {
                        let length = u64::from_le_bytes(record[8 + 8 * blob..][..8].try_into().unwrap());
                        assert_eq!(record[at..at + length as usize], some_pixels(index + blob as u64));
                        at += (length as usize).next_multiple_of(8);
                    }
                    found.push(index);
                }
            }
        }
    }
}

#[test]
fn an_acquisition_of_stream_v1_arrives_whole() {
    let bench = Bench::new(8192, 8);
    bench.send(v1_header(7, 1, 3, "exte"));
    for index in 0..3 {
        bench.send(v1_image(7, index));
    }
    bench.send(v1_end(7));
    let Event::Armed {
        number, announcement, ..
    } = bench.event()
    else {
        panic!("not armed")
    };
    assert_eq!(
        (number, announcement.series, announcement.n_items),
        (1, 7, Some(3))
    );
    assert!(matches!(bench.event(), Event::FirstFrame { number: 1, .. }));
    assert_eq!(indices(&bench.consumer(1)), [0, 1, 2]);
    assert_eq!(bench.ended().status, Status::Complete);
}

#[test]
fn an_acquisition_of_stream_v2_arrives_with_the_channels_wanted() {
    let names = ["threshold_1", "threshold_2"];
    let channels = [
        Channels::First,
        Channels::Named("threshold_1".into()),
        Channels::All,
    ];
    for (channels, n_kept) in channels.into_iter().zip([1, 1, 2]) {
        let bench = Bench::with(8192, 8, channels, None);
        bench.send(vec![v2_start(9, 2, &names)]);
        bench.send(vec![v2_image(9, 0, &names)]);
        bench.send(vec![v2_image(9, 1, &names)]);
        bench.send(vec![v2_end(9)]);
        assert!(matches!(bench.event(), Event::Armed { .. }));
        let Event::FirstFrame { frame, .. } = bench.event() else {
            panic!("no first frame")
        };
        assert_eq!(frame.channels, names[..n_kept]);
        assert_eq!(indices(&bench.consumer(1)), [0, 1]);
        assert_eq!(bench.ended().status, Status::Complete);
    }
}

#[test]
fn a_ring_much_smaller_than_the_acquisition_holds_the_detector_back() {
    const N: u64 = 20_000;
    let Bench {
        receiver,
        context,
        peer,
        endpoint,
    } = Bench::new(4096, 4);
    let sender = thread::spawn(move || {
        peer.send_multipart(v1_header(1, N, 1, "ints"), 0).unwrap();
        for index in 0..N {
            peer.send_multipart(v1_image(1, index), 0).unwrap();
        }
        peer
    });
    while receiver.ring().stats().n_free > 0 {
        thread::yield_now();
    }
    let consumer = Consumer::from_fd(receiver.ring().attach(1).unwrap().1).unwrap();
    assert_eq!(indices(&consumer), (0..N).collect::<Vec<_>>());
    let bench = Bench {
        receiver,
        context,
        peer: sender.join().unwrap(),
        endpoint,
    };
    let ended = bench.ended();
    assert_eq!((ended.status, ended.n_items), (Status::Complete, N));
}

#[test]
fn a_full_ring_does_not_block_abort_and_close() {
    let Bench { receiver, peer, .. } = Bench::new(4096, 4);
    let sender = thread::spawn(move || {
        peer.set_sndtimeo(50).unwrap();
        peer.send_multipart(v1_header(1, 1_000_000, 1, "ints"), 0)
            .unwrap();
        (0..1_000_000).all(|index| peer.send_multipart(v1_image(1, index), 0).is_ok())
    });
    while receiver.ring().stats().n_free > 0 {
        thread::yield_now();
    }
    receiver.abort();
    let ended = loop {
        if let Event::Ended(ended) = receiver.next_event(DEADLINE).unwrap() {
            break ended;
        }
    };
    assert_eq!(ended.status, Status::Aborted);
    let consumer = Consumer::from_fd(receiver.ring().attach(1).unwrap().1).unwrap();
    assert_eq!(indices(&consumer).len() as u64, ended.n_items);
    receiver.close();
    assert!(receiver.is_over());
    assert!(!sender.join().unwrap());
}

#[test]
fn closing_does_not_wait_for_a_detector_that_is_not_there() {
    let config = ReceiverConfig {
        // Nobody answers at addresses for documentation (RFC 5737).
        endpoints: vec!["tcp://192.0.2.1:9999".into(), "tcp://192.0.2.1:31001".into()],
        channels: Channels::First,
        flush_interval: Duration::from_millis(10),
        stall_timeout: None,
    };
    let receiver = start(config, Ring::create(RingConfig::new(4096, 4)).unwrap()).unwrap();
    receiver.close();
    assert!(receiver.is_over());
}

#[test]
fn an_endpoint_that_is_none_is_an_error_that_names_it() {
    let config = ReceiverConfig {
        endpoints: vec!["host:9999".into()],
        channels: Channels::First,
        flush_interval: Duration::from_millis(10),
        stall_timeout: None,
    };
    let error = start(config, Ring::create(RingConfig::new(4096, 4)).unwrap()).unwrap_err();
    assert!(error.to_string().contains("\"host:9999\""), "{error}");
}

#[test]
fn a_connection_that_comes_back_in_time_goes_on_with_the_acquisition() {
    let mut bench = Bench::new(4096, 8);
    bench.send(v1_header(1, 4, 1, "ints"));
    bench.send(v1_image(1, 0));
    bench.send(v1_image(1, 1));
    assert!(matches!(bench.event(), Event::Armed { .. }));
    assert!(matches!(bench.event(), Event::FirstFrame { .. }));
    let endpoint = bench.endpoint.clone();
    bench.peer.unbind(&endpoint).unwrap();
    bench.peer = bench.context.socket(zmq::PUSH).unwrap();
    assert!(matches!(bench.event(), Event::Disconnected { .. }));
    bench.peer = push_socket(&bench.context, &endpoint);
    bench.send(v1_image(1, 2));
    bench.send(v1_image(1, 3));
    assert_eq!(bench.event(), Event::Connected);
    assert_eq!(bench.ended().status, Status::Complete);
    assert_eq!(indices(&bench.consumer(1)), [0, 1, 2, 3]);
    assert_eq!(bench.receiver.counters().n_reconnects, 1);
}

#[test]
fn a_connection_that_does_not_come_back_truncates_the_acquisition() {
    let mut bench = Bench::with(4096, 8, Channels::First, Some(Duration::from_millis(300)));
    bench.send(v1_header(1, 4, 1, "ints"));
    bench.send(v1_image(1, 0));
    assert!(matches!(bench.event(), Event::Armed { .. }));
    assert!(matches!(bench.event(), Event::FirstFrame { .. }));
    bench.peer = bench.context.socket(zmq::PUSH).unwrap();
    let ended = bench.ended();
    assert_eq!(
        (ended.status, ended.cause),
        (Status::Truncated, Some(Cause::Disconnected))
    );
    assert_eq!(indices(&bench.consumer(1)), [0]);
    bench.peer = push_socket(&bench.context, &bench.endpoint);
    bench.send(v1_header(2, 1, 1, "ints"));
    bench.send(v1_image(2, 0));
    assert_eq!(bench.ended().status, Status::Complete);
    assert_eq!(indices(&bench.consumer(2)), [0]);
}

#[test]
fn a_second_client_that_takes_frames_is_told_in_words() {
    let bench = Bench::new(4096, 64);
    let thief = bench.context.socket(PULL).unwrap();
    thief.connect(&bench.endpoint).unwrap();
    // A stack ends at each gap, so the ring has a slot for each frame.
    // The thief is in the round when it gets its share of what nobody needs.
    while thief.poll(zmq::POLLIN, 1).unwrap() == 0 {
        bench.send(v1_end(99));
    }
    bench.send(v1_end(99));
    for header in [v1_header(1, 100, 1, "ints"), v1_header(1, 100, 1, "ints")] {
        bench.send(header);
    }
    for index in 0..100 {
        bench.send(v1_image(1, index));
    }
    bench.send(v1_end(1));
    bench.send(v1_end(1));
    let ended = bench.ended();
    assert_eq!((ended.status, ended.n_items), (Status::Complete, 100));
    assert!(
        ended.reason.starts_with("every second frame is missing"),
        "{}",
        ended.reason
    );
    let missing: u64 = ended.gaps.iter().map(|gap| gap.stop - gap.start).sum();
    assert_eq!(missing, 50);
    assert!(ended.gaps[10].reason.contains("another client"));
    assert_eq!(indices(&bench.consumer(1)).len(), 50);
}

#[test]
fn garbage_costs_nothing_but_itself() {
    let bench = Bench::new(8192, 8);
    bench.send(v1_header(1, 3, 1, "ints"));
    bench.send(v1_image(1, 0));
    bench.send(vec![b"garbage".to_vec()]);
    bench.send(vec![vec![0x9f; 10_000]]);
    bench.send((0..40).map(|_| b"part".to_vec()).collect());
    bench.send(v1_image_of(1, 1, "<", b"too short"));
    bench.send(v1_image(1, 2));
    let ended = bench.ended();
    assert_eq!((ended.status, ended.n_items), (Status::Complete, 3));
    assert_eq!((ended.gaps[0].start, ended.gaps[0].stop), (1, 2));
    assert!(
        ended.gaps[0].reason.starts_with("corrupt: "),
        "{}",
        ended.gaps[0].reason
    );
    assert_eq!(indices(&bench.consumer(1)), [0, 2]);
    assert_eq!(bench.receiver.counters().n_corrupt, 4);
}
