use super::*;
use crate::test_messages::*;
use proptest::prelude::*;
use serde_json::json;

fn parse_with<'a>(parser: &mut Parser, parts: &'a [Vec<u8>]) -> Parsed<'a> {
    parser.parse(&slices(parts))
}

fn parse(parts: &[Vec<u8>]) -> Result<Message<'_>, MessageError> {
    parse_with(&mut Parser::default(), parts).message
}

fn start_of(parts: &[Vec<u8>]) -> Announcement {
    match parse(parts) {
        Ok(Message::Start(announcement)) => *announcement,
        other => panic!("{other:?} is no start"),
    }
}

fn pixels_of(parts: &[Vec<u8>]) -> Result<Pixels<'_>, MessageError> {
    match parse(parts)? {
        Message::Image(Image {
            payload: Payload::Single(pixels),
            ..
        }) => pixels,
        other => panic!("{other:?} is no image"),
    }
}

fn reason(parts: &[Vec<u8>]) -> String {
    pixels_of(parts).unwrap_err().to_string()
}

/// The worked example of the vendor's document: 2x4 pixels of 16 bit, 1 to 8.
fn example() -> Vec<Vec<u8>> {
    let blob = [
        &[0, 0, 0, 0, 0, 0, 0, 0x10, 0, 0, 0x20, 0, 0, 0, 0, 0x12, 0xf0, 1][..],
        &[0x55, 0x66, 0x78, 0x80],
        &[0; 12],
    ]
    .concat();
    vec![
        br#"{"frame":0,"hash":"d41d8cd98f00b204e9800998ecf8427e","htype":"dimage-1.0","series":34}"#.to_vec(),
        br#"{"encoding":"bs16-lz4<","htype":"dimage_d-1.0","shape":[4,2],"size":34,"type":"uint16"}"#
            .to_vec(),
        blob,
        br#"{"htype":"dconfig-1.0","real_time":1000000,"start_time":0,"stop_time":1000000}"#.to_vec(),
    ]
}

#[test]
fn the_worked_example_is_an_image() {
    let parts = example();
    let Ok(Message::Image(image)) = parse(&parts) else {
        panic!("no image")
    };
    assert_eq!((image.series, image.index), (34, 0));
    let pixels = image.channel("").unwrap();
    assert_eq!(pixels.format.to_string(), "2x4 of 16 bit, bslz4");
    assert_eq!(pixels.blob, parts[2]);
    let mut found = [0_u16; 8];
    crate::codec::Decoder::new(Compression::Bslz4, Element::U16, 8)
        .decode(pixels.blob, 0, &mut found)
        .unwrap();
    assert_eq!(found, [1, 2, 3, 4, 5, 6, 7, 8]);
}

#[test]
fn line_ends_blanks_appendices_and_unknown_keys_do_not_matter() {
    let mut parts = example();
    for part in [0, 1, 3] {
        let text = String::from_utf8(parts[part].clone()).unwrap();
        parts[part] = format!(
            " {}\r\n\0",
            text.replacen('{', "{ \"new\": [1, {\"a\": null}], ", 1)
        )
        .into();
    }
    parts.push(b"image appendix".to_vec());
    parts.insert(0, b"leading appendix".to_vec());
    assert_eq!(pixels_of(&parts).unwrap().blob, example()[2]);
    parts.truncate(4);
    assert_eq!(pixels_of(&parts).unwrap().blob, example()[2]);
}

#[test]
fn numbers_may_be_floats_or_texts() {
    let mut parts = example();
    parts[0] = br#"{"frame":3.0,"htype":"dimage-1.0","series":"34"}"#.to_vec();
    parts[1] = br#"{"encoding":"bs16-lz4<","shape":[4.0,2,1],"type":"uint16"}"#.to_vec();
    let Ok(Message::Image(image)) = parse(&parts) else {
        panic!("no image")
    };
    assert_eq!((image.series, image.index), (34, 3));
    assert!(image.channel("").is_ok());
}

#[test]
fn every_encoding_of_the_grammar_is_known() {
    let cases = [
        ("<", "uint8", Compression::None, false),
        (">", "uint16", Compression::None, true),
        ("lz4<", "uint32", Compression::Lz4Block, false),
        ("lz4>", "uint16", Compression::Lz4Block, true),
        ("bs8-lz4<", "uint8", Compression::Bslz4, false),
        ("bs16-lz4<", "uint16", Compression::Bslz4, false),
        ("bs32-lz4>", "uint32", Compression::Bslz4, true),
    ];
    for (encoding, dtype, compression, big_endian) in cases {
        let format = format_of(encoding, dtype, (2, 4)).unwrap();
        assert_eq!((format.compression, format.big_endian), (compression, big_endian));
        assert_eq!((format.rows, format.columns), (2, 4));
    }
    for encoding in ["", "zstd<", "bs16<", "bs-lz4<", "bsx-lz4<", "bs8-lz4<", "lz4 <"] {
        assert!(format_of(encoding, "uint16", (2, 4)).is_err(), "{encoding}");
    }
}

#[test]
fn what_is_wrong_with_an_image_is_told() {
    let with = |i: usize, text: &str| {
        let mut parts = example();
        parts[i] = text.into();
        reason(&parts)
    };
    let cases = [
        (
            r#"{"encoding":"x","shape":[4,2],"type":"uint16"}"#,
            "encoding \"x\" is unknown",
        ),
        (
            r#"{"encoding":"<","shape":[4,2],"type":"float32"}"#,
            "type \"float32\" are unknown",
        ),
        (
            r#"{"encoding":"<","shape":[4,0],"type":"uint16"}"#,
            "0 rows of 4 pixels are no image",
        ),
        (
            r#"{"encoding":"<","shape":[99999,99999],"type":"uint16"}"#,
            "are no image",
        ),
        (
            r#"{"encoding":"<","shape":[4,2,3],"type":"uint16"}"#,
            "shape is not [x, y]",
        ),
        (r#"{"encoding":"<","shape":[4,2]}"#, "type is missing"),
        (
            r#"{"encoding":"<","shape":[4,2],"size":5,"type":"uint16"}"#,
            "34 bytes, 5 are announced",
        ),
        ("nonsense", "layout of the image"),
    ];
    for (layout, words) in cases {
        assert!(with(1, layout).contains(words), "{}", with(1, layout));
    }
    assert!(reason(&example()[..2]).contains("lacks its pixels"));
    assert!(parse(&[b"{\"htype\":\"dimage-1.0\",\"series\":1}".to_vec()]).is_err());
    assert!(parse(&[b"{\"htype\":\"dimage-1.0\",\"frame\":1}".to_vec()]).is_err());
    assert!(parse(&[]).is_err());
}

#[test]
fn a_layout_that_is_remembered_is_forgotten_when_another_comes() {
    let mut parser = Parser::default();
    let (small, other) = (v1_image(1, 0), example());
    for parts in [&small, &small, &other, &small] {
        let Ok(Message::Image(image)) = parse_with(&mut parser, parts).message else {
            panic!("no image")
        };
        let rows = image.channel("").unwrap().format.rows;
        assert_eq!(rows as usize, if parts == &other { 2 } else { ROWS });
    }
}

#[test]
fn a_header_may_come_as_one_message_or_as_two() {
    let header = v1_header(5, 10, 3, "exts");
    let whole = start_of(&header);
    assert_eq!((whole.series, whole.n_items), (5, Some(30)));
    assert_eq!(
        (whole.frame_s, &whole.index_shape[..]),
        (Some(0.001), &[3, 10][..])
    );
    assert_eq!(whole.header["auto_summation"], json!(1));

    let mut parser = Parser::default();
    assert_eq!(
        parse_with(&mut parser, &header[..1]).message,
        Ok(Message::Ignored)
    );
    let second = parse_with(&mut parser, &header[1..]);
    assert_eq!(second.message, Ok(Message::Start(Box::new(whole))));
}

#[test]
fn a_header_whose_second_half_never_comes_begins_its_series_anyway() {
    let mut parser = Parser::default();
    let header = v1_header(5, 10, 3, "exts");
    let (image, end) = (v1_image(5, 0), v1_end(5));
    for next in [&image, &end] {
        assert_eq!(parse_with(&mut parser, &header[..1]).before, None);
        let parsed = parse_with(&mut parser, next);
        assert_eq!(
            parsed.before.map(|start| (start.series, start.n_items)),
            Some((5, None))
        );
        assert!(parsed.message.is_ok());
        assert_eq!(parse_with(&mut parser, next).before, None);
    }
}

#[test]
fn a_header_without_details_begins_a_series_of_unknown_length() {
    let only = br#"{"header_detail":"none","htype":"dheader-1.0","series":8}"#.to_vec();
    let announcement = start_of(&[only]);
    assert_eq!((announcement.series, announcement.n_items), (8, None));
}

#[test]
fn tables_of_the_header_are_read_and_lies_about_them_left_out() {
    let mut header = v1_header(5, 1, 1, "ints");
    let part = |kind: &str, shape: &str| format!(r#"{{"htype":"{kind}-1.0","shape":{shape}}}"#).into_bytes();
    let words: Vec<u8> = (0..6_u32).flat_map(u32::to_le_bytes).collect();
    header.extend([
        part("dflatfield", "[3,2]"),
        [1.5_f32; 6].map(f32::to_le_bytes).concat(),
    ]);
    header.extend([part("dpixelmask", "[3,2]"), words.clone()]);
    header.extend([part("dcountrate_table", "[2,3]"), words.clone()]);
    header.push(b"header appendix".to_vec());
    let announcement = start_of(&header);
    assert_eq!(announcement.pixel_masks[0].shape, (2, 3));
    assert_eq!(announcement.pixel_masks[0].values, [0, 1, 2, 3, 4, 5]);
    assert_eq!(announcement.flatfields[0].values, [1.5; 6]);
    assert_eq!(announcement.header["header_appendix"], json!("header appendix"));

    for shape in ["[3,3]", "[4294967296,4294967296]", "[-1,2]", "null"] {
        let mut header = v1_header(5, 1, 1, "ints");
        header.extend([part("dpixelmask", shape), words.clone()]);
        assert_eq!(start_of(&header).pixel_masks, []);
    }
}

proptest! {
    #[test]
    fn arbitrary_parts_never_panic(parts in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..80), 0..8)) {
        let _ = parse(&parts);
    }

    #[test]
    fn damaged_messages_never_panic_and_keep_the_blob_in_its_part(
        which in 0_usize..3, part in 0_usize..4, at in 0_usize..200, byte in any::<u8>(), cut in 0_usize..200
    ) {
        let mut parts = match which {
            0 => example(),
            1 => v1_image(1, 2),
            _ => v1_header(1, 2, 3, "ints"),
        };
        let n = parts.len();
        let part = &mut parts[part % n];
        if let Some(place) = part.get_mut(at) {
            *place = byte;
        }
        part.truncate(part.len().saturating_sub(cut / 10));
        let mut parser = Parser::default();
        let _ = parse_with(&mut parser, &parts);
        let _ = parse_with(&mut parser, &parts);
    }

    #[test]
    fn what_is_encoded_is_parsed(series in any::<u64>(), index in any::<u64>(), blob in prop::collection::vec(any::<u8>(), 0..50)) {
        let parts = v1_image_of(series, index, "bs16-lz4<", &blob);
        let Ok(Message::Image(image)) = parse(&parts) else { panic!("no image") };
        prop_assert_eq!((image.series, image.index), (series, index));
        prop_assert_eq!(image.channel("").unwrap().blob, &blob[..]);
    }
}
