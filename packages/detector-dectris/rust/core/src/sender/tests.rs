use std::thread;

use super::*;

const FORMAT: fn(Version) -> ImageFormat = |version| ImageFormat {
    version,
    series: 34,
    unique_id: "01".to_owned(),
    series_date: "2026-01-01T00:00:00Z".to_owned(),
    shape: (2, 4),
    element_bytes: 2,
    big_endian: false,
    packing: Packing::None,
    channels: vec!["threshold_1".to_owned()],
    appendix: None,
    times: Times {
        start_ns: 0,
        period_ns: 1000,
        real_ns: 900,
    },
};

struct Bench {
    sender: Sender,
    client: Socket,
}

impl Bench {
    fn new(hwm: i32) -> Self {
        let sender = Sender::bind("tcp://127.0.0.1:0", hwm, Duration::from_millis(100)).unwrap();
        let client = Context::new().socket(zmq::PULL).unwrap();
        client.set_rcvhwm(hwm).unwrap();
        client.set_rcvtimeo(10_000).unwrap();
        client.set_linger(0).unwrap();
        client.connect(sender.endpoint()).unwrap();
        while sender.n_clients() == 0 {
            thread::yield_now();
        }
        Self { sender, client }
    }
}

fn far() -> Instant {
    Instant::now() + Duration::from_secs(60)
}

fn burst<'a>(version: Version, n: u64, bytes: &'a [u8], offsets: &'a [u64], lengths: &'a [u64]) -> Burst<'a> {
    Burst {
        composer: Composer::new(FORMAT(version)),
        blobs: BlobTable::new(bytes, offsets, lengths, &[], 1).unwrap(),
        first: 0,
        n,
        skip: &[],
        pace: Pace {
            begin: Instant::now(),
            interval: Duration::ZERO,
        },
        patience: Patience::default(),
    }
}

#[test]
fn images_of_v1_are_four_parts() {
    let bench = Bench::new(10);
    let mut images = burst(Version::V1, 4, b"0123456789abcdef!!", &[0, 16], &[16, 2]);
    images.skip = &[0, 2];
    let mut progress = Progress::default();
    assert!(
        bench
            .sender
            .send_images(&mut images, &mut progress, far())
            .unwrap()
    );
    assert_eq!(
        progress,
        Progress {
            n_done: 4,
            n_sent: 2,
            n_dropped: 0
        }
    );
    let parts = bench.client.recv_multipart(0).unwrap();
    let texts: Vec<_> = parts.iter().map(|part| String::from_utf8_lossy(part)).collect();
    let hash = "0".repeat(32);
    assert_eq!(
        texts,
        [
            format!(r#"{{"frame":1,"hash":"{hash}","htype":"dimage-1.0","series":34}}"#),
            r#"{"encoding":"<","htype":"dimage_d-1.0","shape":[4,2],"size":2,"type":"uint16"}"#.to_owned(),
            "!!".to_owned(),
            r#"{"htype":"dconfig-1.0","real_time":900,"start_time":1000,"stop_time":1900}"#.to_owned(),
        ]
    );
}

#[test]
fn an_image_of_v2_is_one_item_of_cbor() {
    let bench = Bench::new(10);
    let mut images = burst(Version::V2, 1, b"0123456789abcdef", &[0], &[16]);
    bench
        .sender
        .send_images(&mut images, &mut Progress::default(), far())
        .unwrap();
    let parts = bench.client.recv_multipart(0).unwrap();
    assert_eq!(parts.len(), 1);
    assert_eq!(&parts[0][..9], b"\xd9\xd9\xf7\xa9\x64type");
    // Tag 40 with the shape, tag 69 with 16 bytes.
    assert!(
        parts[0].ends_with(b"\xd8\x28\x82\x82\x02\x04\xd8\x45\x500123456789abcdef"),
        "{parts:?}"
    );
}

#[test]
fn the_newest_are_dropped_and_counted_when_the_queue_is_full() {
    let sender = Sender::bind("tcp://127.0.0.1:0", 5, Duration::ZERO).unwrap();
    let mut images = burst(Version::V2, 100, &[0; 16], &[0], &[16]);
    images.patience.drop_when_full = true;
    let mut progress = Progress::default();
    assert!(sender.send_images(&mut images, &mut progress, far()).unwrap());
    assert_eq!((progress.n_done, progress.n_sent), (100, 0));
    assert_eq!(sender.n_dropped(), 100);
}

#[test]
fn stopping_ends_a_wait_and_closing_does_not_hang() {
    let bench = Bench::new(1);
    let big = vec![0; 1 << 22];
    let lengths = [big.len() as u64];
    let mut images = burst(Version::V1, 1000, &big, &[0], &lengths);
    let mut progress = Progress::default();
    thread::scope(|scope| {
        let sending = scope.spawn(|| bench.sender.send_images(&mut images, &mut progress, far()));
        while bench.sender.n_sent() == 0 {
            thread::yield_now();
        }
        bench.sender.close();
        assert!(matches!(sending.join().unwrap(), Ok(true)));
    });
    assert!(progress.n_done < 1000);
    let refused = bench.sender.send(&[vec![1]], Instant::now());
    assert!(matches!(refused, Err(SenderError::Closed)));
}

#[test]
fn images_leave_when_they_are_due() {
    let begin = Instant::now();
    let pace = Pace {
        begin,
        interval: Duration::from_secs(3600),
    };
    assert_eq!(pace.due(0), Ok(1));
    assert!(pace.due(1).unwrap_err() <= Duration::from_secs(3600));
    let later = Pace {
        begin: begin + Duration::from_secs(3600),
        interval: Duration::ZERO,
    };
    assert!(later.due(0).is_err());
}

#[test]
fn blobs_beyond_the_bytes_are_refused() {
    let lies = BlobTable::new(&[0; 10], &[0, u64::MAX], &[5, 5], &[], 1);
    assert!(matches!(lies.err(), Some(ImageError::Range { index: 1, .. })));
    assert!(matches!(
        BlobTable::new(&[], &[], &[], &[], 1).err(),
        Some(ImageError::Table { .. })
    ));
    assert!(matches!(
        BlobTable::new(&[0; 10], &[0], &[5], &[], 2).err(),
        Some(ImageError::Table { .. })
    ));
}

#[test]
fn an_endpoint_that_is_none_is_refused_in_words() {
    let refused = Sender::bind("tcp://nowhere", 1, Duration::ZERO)
        .err()
        .unwrap()
        .to_string();
    assert!(
        refused.starts_with("can't listen on \"tcp://nowhere\""),
        "{refused}"
    );
}
