use super::*;
use crate::test_messages::*;
use minicbor::data::Tag;
use minicbor::encode::Encoder;
use proptest::prelude::*;
use serde_json::json;

fn image_of(bytes: &[u8]) -> Image<'_> {
    match parse(bytes) {
        Ok(Message::Image(image)) => image,
        other => panic!("{other:?} is no image"),
    }
}

fn start_of(bytes: &[u8]) -> Announcement {
    match parse(bytes) {
        Ok(Message::Start(announcement)) => *announcement,
        other => panic!("{other:?} is no start"),
    }
}

fn hex(text: &str) -> Vec<u8> {
    let digits: Vec<u8> = text.bytes().filter(u8::is_ascii_hexdigit).collect();
    digits
        .chunks(2)
        .map(|pair| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap())
        .collect()
}

/// A map with `data` as the vendor's worked examples have it, and the keys that those leave out.
fn example(array: &str) -> Vec<u8> {
    hex(&format!(
        "d9d9f7 a4 64 74797065 65 696d616765 69 7365726965735f6964 01 68 696d6167655f6964 00 \
         64 64617461 a1 6b 7468726573686f6c645f31 {array}"
    ))
}

const PLAIN: &str = "d828 82 82 02 04 d845 50 01000200030004000500060007000800";
const COMPRESSED: &str = "d828 82 82 02 04 d845 d9dcb4 83 65 62736c7a34 02 5822 \
                          00000000000000100000200000000012f00155667880000000000000000000000000";

#[test]
fn the_worked_examples_are_images_of_one_to_eight() {
    for (array, compression) in [(PLAIN, Compression::None), (COMPRESSED, Compression::Bslz4)] {
        let bytes = example(array);
        let image = image_of(&bytes);
        assert_eq!(image.channel_names().unwrap(), ["threshold_1"]);
        let pixels = image.channel("threshold_1").unwrap();
        assert_eq!((pixels.format.rows, pixels.format.columns), (2, 4));
        assert_eq!(
            (pixels.format.element, pixels.format.compression),
            (Element::U16, compression)
        );
        let mut found = [0_u16; 8];
        BlobDecoder::new(compression, Element::U16, 8)
            .decode(pixels.blob, 0, &mut found)
            .unwrap();
        assert_eq!(found, [1, 2, 3, 4, 5, 6, 7, 8]);
    }
    let end = hex(
        "d9d9f7a3647479706563656e64697365726965735f696401707365726965735f756e697175655f6964\
         781a303141424344454647484a4b4d4e5051525354565758595a3030",
    );
    assert_eq!(parse(&end), Ok(Message::End { series: 1 }));
    assert_eq!(
        parse(&end[3..]),
        Ok(Message::End { series: 1 }),
        "without the prefix"
    );
}

#[test]
fn a_blob_is_not_copied() {
    let bytes = v2_image(1, 0, &["a"]);
    let blob = image_of(&bytes).channel("a").unwrap().blob;
    assert!(bytes.as_ptr_range().contains(&blob.as_ptr()));
}

#[test]
fn each_channel_has_its_pixels_and_an_absent_one_is_named() {
    let bytes = v2_image(3, 7, &["threshold_1", "threshold_2"]);
    let image = image_of(&bytes);
    assert_eq!((image.series, image.index), (3, 7));
    assert_eq!(image.channel("threshold_1").unwrap().blob, some_pixels(7));
    assert_eq!(image.channel("threshold_2").unwrap().blob, some_pixels(8));
    let error = image.channel("difference").unwrap_err();
    assert!(error.to_string().contains("\"difference\""), "{error}");
}

#[test]
fn a_start_message_tells_channels_masks_and_user_data() {
    let announcement = start_of(&v2_start(4, 100, &["threshold_1", "threshold_2"]));
    assert_eq!((announcement.series, announcement.n_items), (4, Some(100)));
    assert_eq!(announcement.channels, ["threshold_1", "threshold_2"]);
    assert_eq!(announcement.frame_s, Some(0.001));
    assert_eq!(announcement.header["user_data"], json!({"sample": -3}));
    assert_eq!(announcement.pixel_masks.len(), 2);
    assert_eq!(announcement.pixel_masks[1].channel, "threshold_2");
    assert_eq!(announcement.pixel_masks[1].values, vec![1; ROWS * COLUMNS]);
}

#[test]
fn keys_may_come_in_any_order_with_unknown_ones_and_of_unknown_number() {
    let mut bytes = Vec::new();
    let mut e = Encoder::new(&mut bytes);
    e.begin_map().unwrap();
    e.u8(7)
        .unwrap()
        .begin_array()
        .unwrap()
        .str("key is no text")
        .unwrap()
        .end()
        .unwrap();
    e.str("data").unwrap().begin_map().unwrap().str("a").unwrap();
    v2_array(&mut e, 69, &some_pixels(2));
    e.end().unwrap();
    e.str("new")
        .unwrap()
        .tag(Tag::new(0))
        .unwrap()
        .str("2024-01-01")
        .unwrap();
    e.str("image_id").unwrap().u8(2).unwrap();
    e.str("series_id").unwrap().u8(1).unwrap();
    e.str("type").unwrap().str("image").unwrap().end().unwrap();
    let image = image_of(&bytes);
    assert_eq!((image.series, image.index), (1, 2));
    assert_eq!(image.channel("a").unwrap().blob, some_pixels(2));
}

/// What is wrong with an image whose `data` is this.
fn reason(encode: impl FnOnce(&mut Encoder<&mut Vec<u8>>)) -> String {
    let mut data = Vec::new();
    let mut e = Encoder::new(&mut data);
    e.map(1).unwrap().str("a").unwrap();
    encode(&mut e);
    channel(&data, "a").unwrap_err().to_string()
}

#[test]
fn what_is_wrong_with_an_array_is_told() {
    let dims = |e: &mut Encoder<&mut Vec<u8>>, tag: u64, dims: &[u64]| {
        e.tag(Tag::new(tag))
            .unwrap()
            .array(2)
            .unwrap()
            .array(dims.len() as u64)
            .unwrap();
        for n in dims {
            e.u64(*n).unwrap();
        }
    };
    let with_dims = |shape: &[u64]| {
        reason(|e| {
            dims(e, 40, shape);
            e.tag(Tag::new(69)).unwrap().bytes(b"").unwrap();
        })
    };
    assert!(with_dims(&[8]).contains("1 dimensions"));
    assert!(with_dims(&[1, 2, 3]).contains("more than two"));
    assert!(with_dims(&[u64::MAX, 2]).contains("are no image"));
    assert!(with_dims(&[1 << 20, 1 << 20]).contains("are no image"));
    assert!(with_dims(&[0, 4]).contains("are no image"));
    let by_columns = reason(|e| dims(e, 1040, &[2, 4]));
    assert!(by_columns.contains("1040"), "{by_columns}");
    for tag in [72, 77, 85, 87] {
        let signed = reason(|e| v2_array(e, tag, b""));
        assert!(signed.contains("unsigned integers"), "{signed}");
    }
    assert!(reason(|e| v2_array(e, 63, b"")).contains("tag 63"));
    let pieces = reason(|e| {
        dims(e, 40, &[2, 4]);
        e.tag(Tag::new(69))
            .unwrap()
            .begin_bytes()
            .unwrap()
            .bytes(b"ab")
            .unwrap()
            .end()
            .unwrap();
    });
    assert!(pieces.contains("indefinite"), "{pieces}");
    let packed = |algorithm: &str, size: u64| {
        reason(|e| {
            dims(e, 40, &[2, 4]);
            e.tag(Tag::new(69))
                .unwrap()
                .tag(Tag::new(56500))
                .unwrap()
                .array(3)
                .unwrap();
            e.str(algorithm).unwrap().u64(size).unwrap().bytes(b"x").unwrap();
        })
    };
    assert!(packed("bszstd", 2).contains("\"bszstd\" is unknown"));
    assert!(packed("bslz4", 4).contains("elements of 4 bytes for elements of 2"));
}

#[test]
fn messages_that_lack_something_name_it() {
    let lacking = |keys: &[&str]| {
        let mut bytes = Vec::new();
        let mut e = Encoder::new(&mut bytes);
        e.map(keys.len() as u64).unwrap();
        for key in keys {
            e.str(key).unwrap();
            match *key {
                "type" => e.str("image").unwrap(),
                _ => e.u8(1).unwrap(),
            };
        }
        parse(&bytes).unwrap_err().to_string()
    };
    assert!(lacking(&[]).contains("type"));
    assert!(lacking(&["type"]).contains("series_id"));
    assert!(lacking(&["type", "series_id"]).contains("image_id"));
    assert!(lacking(&["type", "series_id", "image_id"]).contains("data"));
    assert!(parse(b"").is_err());
    assert!(parse(b"\xd8\x28\x80").is_err());
}

#[test]
fn nesting_and_lengths_that_lie_are_refused_before_memory_is_taken() {
    for byte in [0x81, 0x9f, 0xa1, 0xbf, 0xc0, 0xd8, 0x7f, 0x5f] {
        let mut bytes = vec![0xa1, 0x61, b'x'];
        bytes.extend(std::iter::repeat_n(byte, 1 << 20));
        assert!(parse(&bytes).is_err(), "{byte:#x}");
    }
    for head in [
        "bb ffffffffffffffff",
        "a1 6178 9b ffffffffffffffff 00",
        "a1 6178 5b ffffffffffffffff 00",
    ] {
        assert!(parse(&hex(head)).is_err(), "{head}");
    }
    // A mask that says that it is huge and has next to no bytes.
    let mut bytes = Vec::new();
    let mut e = Encoder::new(&mut bytes);
    e.map(3).unwrap().str("type").unwrap().str("start").unwrap();
    e.str("series_id").unwrap().u8(1).unwrap();
    e.str("pixel_mask").unwrap().map(1).unwrap().str("a").unwrap();
    e.tag(Tag::new(40))
        .unwrap()
        .array(2)
        .unwrap()
        .array(2)
        .unwrap()
        .u32(8192)
        .unwrap()
        .u32(8192)
        .unwrap();
    e.tag(Tag::new(70))
        .unwrap()
        .tag(Tag::new(56500))
        .unwrap()
        .array(3)
        .unwrap();
    e.str("bslz4").unwrap().u8(4).unwrap().bytes(&[0; 100]).unwrap();
    assert_eq!(start_of(&bytes).pixel_masks, []);
}

/// The recorded messages of a real EIGER2 16M, if the test data is there.
#[test]
fn recorded_messages_of_a_real_detector_are_understood() {
    let Some(root) = std::env::var_os("LIVESTEM_TEST_DATA") else {
        return;
    };
    let read = |name: &str| {
        let path = std::path::Path::new(&root)
            .join("dectris_stream2_tickit")
            .join(name);
        std::fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
    };
    let announcement = start_of(&read("start.cbor"));
    assert_eq!(announcement.series, 15614);
    assert_eq!(announcement.channels, ["threshold_1"]);
    let bytes = read("image.cbor");
    let pixels = image_of(&bytes).channel("threshold_1").unwrap();
    assert_eq!(pixels.format.to_string(), "4362x4148 of 16 bit, bslz4");
    let mut found = vec![0_u16; pixels.format.n_pixels()];
    BlobDecoder::new(Compression::Bslz4, Element::U16, found.len())
        .decode(pixels.blob, 0, &mut found)
        .unwrap();
    assert_eq!(
        found.iter().map(|pixel| u64::from(*pixel)).sum::<u64>(),
        82_120_283_837
    );
    assert_eq!(parse(&read("end.cbor")), Ok(Message::End { series: 15614 }));
}

fn look_at_everything(bytes: &[u8]) {
    if let Ok(Message::Image(image)) = parse(bytes) {
        for name in image.channel_names().unwrap_or_default() {
            if let Ok(pixels) = image.channel(&name) {
                assert!(pixels.blob.len() <= bytes.len());
            }
        }
    }
}

proptest! {
    #[test]
    fn arbitrary_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        look_at_everything(&bytes);
        look_at_everything(&[&[0xa1][..], &bytes].concat());
    }

    #[test]
    fn damaged_messages_never_panic(
        which in 0_usize..3,
        damage in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..4),
        cut in any::<prop::sample::Index>(),
    ) {
        let mut bytes = match which {
            0 => v2_start(1, 2, &["a", "b"]),
            1 => v2_image(1, 2, &["a", "b"]),
            _ => example(COMPRESSED),
        };
        for (at, byte) in damage {
            let at = at.index(bytes.len());
            bytes[at] = byte;
        }
        look_at_everything(&bytes);
        bytes.truncate(cut.index(bytes.len()));
        look_at_everything(&bytes);
    }
}
