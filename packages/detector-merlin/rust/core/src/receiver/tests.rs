//! The thread against a real socket and a real ring.

use super::*;
use crate::event::Ended;
use crate::event::Status;
use crate::header::Prefix;
use shmring_core::{Consumer, Received, RingConfig};
use std::io::Write;
use std::net::{TcpListener, TcpStream};
use std::thread;

const DEADLINE: Duration = Duration::from_secs(20);
const W: usize = 64;
const H: usize = 16;

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

fn hdr(n: u64) -> Vec<u8> {
    message(format!("HDR,\t\r\nFrames in Acquisition (Number):\t{n}\r\nEnd\t").as_bytes())
}

fn mq1(number: u64) -> Vec<u8> {
    let mut body =
        format!("MQ1,{number:06},00384,01,{W:04},{H:04},U08,   1x1,01,t,0.001,0,0,0,").into_bytes();
    body.resize(384, 0);
    body.resize(384 + W * H, number as u8);
    message(&body)
}

struct Bench {
    receiver: Receiver,
    listener: TcpListener,
    peer: TcpStream,
}

impl Bench {
    fn new(slot_bytes: usize, n_slots: u32) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let config = ReceiverConfig {
            host: "127.0.0.1".into(),
            port: listener.local_addr().unwrap().port(),
            flush_interval: Duration::from_millis(10),
            stall_timeout: None,
        };
        let ring = Ring::create(RingConfig::new(slot_bytes, n_slots)).unwrap();
        let receiver = start(config, ring).unwrap();
        let (peer, _) = listener.accept().unwrap();
        let bench = Self {
            receiver,
            listener,
            peer,
        };
        assert_eq!(bench.event(), Event::Connected);
        bench
    }

    fn event(&self) -> Event {
        self.receiver.next_event(DEADLINE).expect("an event in time")
    }

    fn send(&mut self, bytes: &[u8]) {
        self.peer.write_all(bytes).unwrap();
    }

    fn consumer(&self, number: u64) -> Consumer {
        Consumer::from_fd(self.receiver.ring().attach(number).unwrap().1).unwrap()
    }

    fn ended(&self) -> Ended {
        loop {
            if let Event::Ended(ended) = self.event() {
                return ended;
            }
        }
    }
}

/// Indices of all frames up to the end, with their pixels checked.
fn indices(consumer: &Consumer) -> Vec<u64> {
    let mut found = Vec::new();
    loop {
        match consumer.recv(DEADLINE).unwrap().expect("a stack in time") {
            Received::End { .. } => return found,
            Received::Stack(stack) => {
                assert_eq!(stack.meta().len(), stack.n_items() as usize);
                for (i, offset) in stack.meta().iter().enumerate() {
                    let index = stack.item_first() + i as u64;
                    let pixels = &stack.bytes()[*offset as usize..*offset as usize + W * H];
                    assert!(
                        pixels.iter().all(|pixel| *pixel == (index + 1) as u8),
                        "frame {index}"
                    );
                    found.push(index);
                }
            }
        }
    }
}

#[test]
fn frames_sent_byte_by_byte_arrive_whole() {
    let mut bench = Bench::new(8192, 8);
    let stream = [hdr(3), mq1(1), mq1(2), mq1(3)].concat();
    for byte in stream.chunks(1) {
        bench.send(byte);
    }
    let consumer = bench.consumer(1);
    assert_eq!(indices(&consumer), [0, 1, 2]);
    assert_eq!(bench.ended().status, Status::Complete);
}

#[test]
fn a_ring_much_smaller_than_the_acquisition_holds_the_detector_back() {
    let mut bench = Bench::new(8192, 4);
    let stream: Vec<u8> = std::iter::once(hdr(5000))
        .chain((1..=5000).map(mq1))
        .flatten()
        .collect();
    let mut peer = bench.peer.try_clone().unwrap();
    let sender = thread::spawn(move || peer.write_all(&stream).unwrap());
    let consumer = bench.consumer(1);
    assert_eq!(indices(&consumer), (0..5000).collect::<Vec<_>>());
    sender.join().unwrap();
    let ended = bench.ended();
    assert_eq!((ended.status, ended.n_items), (Status::Complete, 5000));
    let stats = bench.receiver.ring().stats();
    assert!(stats.n_committed <= 5000 / 5 + 50, "{} stacks", stats.n_committed);
    bench.peer = TcpStream::connect(bench.listener.local_addr().unwrap()).unwrap();
}

#[test]
fn a_full_ring_does_not_block_abort_and_close() {
    let mut bench = Bench::new(8192, 4);
    let mut peer = bench.peer.try_clone().unwrap();
    bench.send(&hdr(0));
    let sender = thread::spawn(move || (1..).all(|n| peer.write_all(&mq1(n)).is_ok()));
    while bench.receiver.ring().stats().n_free > 0 {
        thread::yield_now();
    }
    bench.receiver.abort();
    let ended = bench.ended();
    assert_eq!(ended.status, Status::Aborted);
    let consumer = bench.consumer(1);
    assert_eq!(indices(&consumer).len() as u64, ended.n_items);
    bench.receiver.close();
    assert!(!sender.join().unwrap());
    assert!(bench.receiver.is_over());
}

#[test]
fn an_abandoned_acquisition_does_not_block_the_next() {
    let bench = Bench::new(8192, 4);
    let mut peer = bench.peer.try_clone().unwrap();
    let stream: Vec<u8> = [hdr(2000)]
        .into_iter()
        .chain((1..=2000).map(mq1))
        .chain([hdr(2), mq1(1), mq1(2)])
        .flatten()
        .collect();
    let sender = thread::spawn(move || peer.write_all(&stream).unwrap());
    while bench.receiver.ring().stats().n_free > 0 {
        thread::yield_now();
    }
    bench.receiver.abandon(1);
    assert_eq!(bench.ended().n_items, 2000);
    assert_eq!(indices(&bench.consumer(2)), [0, 1]);
    sender.join().unwrap();
    assert_eq!(bench.ended().n_items, 2);
    let counters = bench.receiver.counters();
    assert_eq!(counters.n_items + counters.n_discarded, 2002);
}

#[test]
fn after_garbage_or_a_lost_connection_the_next_acquisition_is_right() {
    let mut bench = Bench::new(8192, 8);
    for (number, tail) in [(1, &b"garbage"[..]), (2, &b""[..])] {
        bench.send(&[hdr(9), mq1(1), mq1(2)].concat());
        bench.send(tail);
        if tail.is_empty() {
            bench.peer.shutdown(std::net::Shutdown::Both).unwrap();
        }
        let ended = bench.ended();
        assert_eq!((ended.number, ended.n_items), (number, 2));
        assert_eq!(indices(&bench.consumer(number)), [0, 1]);
        assert!(matches!(bench.event(), Event::Disconnected { .. }));
        bench.peer = bench.listener.accept().unwrap().0;
        assert_eq!(bench.event(), Event::Connected);
    }
    bench.send(&[mq1(3), hdr(1), mq1(1)].concat());
    assert_eq!(bench.ended().status, Status::Complete);
    assert_eq!(indices(&bench.consumer(3)), [0]);
    let counters = bench.receiver.counters();
    assert_eq!(
        (counters.n_reconnects, counters.n_stale, counters.n_corrupt),
        (2, 1, 1)
    );
}

#[test]
fn lost_late_and_doubled_frames_are_placed_by_number() {
    let mut bench = Bench::new(8192, 8);
    let order = [1, 2, 5, 5, 3, 6, 7, 10, 9];
    let stream: Vec<u8> = [hdr(10)]
        .into_iter()
        .chain(order.into_iter().map(mq1))
        .flatten()
        .collect();
    bench.send(&stream);
    let ended = bench.ended();
    assert_eq!(
        (
            ended.status,
            ended.gaps.iter().map(|gap| (gap.start, gap.stop)).collect()
        ),
        (Status::Complete, vec![(3, 4), (7, 8)])
    );
    let mut found = indices(&bench.consumer(1));
    found.sort_unstable();
    assert_eq!(found, [0, 1, 2, 4, 5, 6, 8, 9]);
}

#[test]
fn a_frame_larger_than_a_slot_is_an_error_that_names_both() {
    let mut bench = Bench::new(4096, 4);
    let mut large = mq1(1);
    large[4..14].copy_from_slice(b"0000009000");
    bench.send(&[hdr(2), large].concat());
    let ended = bench.ended();
    assert_eq!(ended.status, Status::Failed);
    assert!(
        ended.reason.contains("9014 bytes") && ended.reason.contains("3968"),
        "{}",
        ended.reason
    );
}

#[test]
fn frames_are_handed_over_by_time_though_the_slot_is_not_full() {
    let mut bench = Bench::new(1 << 20, 4);
    let whole = mq1(2);
    let (first_half, second_half) = whole.split_at(700);
    bench.send(&[&hdr(2), &mq1(1), first_half].concat());
    let consumer = bench.consumer(1);
    let Some(Received::Stack(stack)) = consumer.recv(DEADLINE).unwrap() else {
        panic!("no stack")
    };
    assert_eq!((stack.item_first(), stack.n_items()), (0, 1));
    bench.send(second_half);
    assert_eq!(indices(&consumer), [1]);
}

#[test]
fn a_server_that_is_not_there_is_told_and_tried_again() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    drop(listener);
    let config = ReceiverConfig {
        host: "127.0.0.1".into(),
        port,
        flush_interval: Duration::from_millis(10),
        stall_timeout: None,
    };
    let receiver = start(config, Ring::create(RingConfig::new(4096, 4)).unwrap()).unwrap();
    let begun = Instant::now();
    while receiver.last_error().is_empty() {
        assert!(begun.elapsed() < DEADLINE);
        thread::yield_now();
    }
    let listener = TcpListener::bind(("127.0.0.1", port)).unwrap();
    let _peer = listener.accept().unwrap();
    assert_eq!(receiver.next_event(DEADLINE), Some(Event::Connected));
}
