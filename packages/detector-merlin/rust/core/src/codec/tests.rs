//! The decoder against a model that computes each pixel by itself, scalar and vectorised.

use super::*;
use proptest::prelude::*;

/// Where the protocol description says that a pixel of the assembled image is.
///
/// `None` is a pixel in the gap; else the pixel's value from the payload.
fn model(format: &FrameFormat, frame: &[u8], row: usize, column: usize) -> u64 {
    let (_, columns) = format.item_shape();
    let (height, n_chips) = (format.header_height() as usize, format.n_chips() as usize);
    let big_endian = |at: usize, n: usize| frame[at..at + n].iter().fold(0, |v, b| v << 8 | u64::from(*b));
    let pixel = row * columns + column;
    match format.encoding() {
        Encoding::Plain8 => return big_endian(pixel, 1),
        Encoding::Plain16 => return big_endian(2 * pixel, 2),
        Encoding::Plain32 => return big_endian(4 * pixel, 4),
        Encoding::Plain64 => return big_endian(8 * pixel, 8),
        _ => {}
    }
    let gap = format.gap_pixels();
    let chip_width = format.chip_pixels();
    let (chip_column, x) = (column / (chip_width + gap), column % (chip_width + gap));
    if x >= chip_width || (height..height + gap).contains(&row) {
        return 0;
    }
    let rotated = row >= height;
    let y = if rotated { 2 * height + gap - 1 - row } else { row };
    let x = if rotated { chip_width - 1 - x } else { x };
    let chip = if rotated { chip_column + 2 } else { chip_column };
    let position = (y * n_chips + n_chips - 1 - chip) * chip_width + x;
    let word = |per_word: usize, base: usize| big_endian(base + position / per_word * 8, 8);
    let part = |per_word: usize, base: usize| {
        let bits = 64 / per_word;
        (word(per_word, base) >> (bits * (position % per_word))) & ((1 << bits) - 1)
    };
    match format.encoding() {
        Encoding::Raw1 => part(64, 0),
        Encoding::Raw6 => part(8, 0),
        Encoding::Raw12 => part(4, 0),
        _ => (part(4, 0) << 12) | part(4, frame.len() / 2),
    }
}

fn decode_both<T: Pixel + PartialEq + std::fmt::Debug>(
    decoder: &Decoder,
    payload: &[u8],
    offsets: &[u64],
    rows: (usize, usize),
) -> Vec<T> {
    let (_, columns) = decoder.format().item_shape();
    let mut vectorised = vec![T::default(); offsets.len() * (rows.1 - rows.0) * columns];
    let mut plain = vectorised.clone();
    decoder.decode(payload, offsets, rows, &mut vectorised).unwrap();
    decoder
        .clone()
        .with_vectorise(false)
        .decode(payload, offsets, rows, &mut plain)
        .unwrap();
    assert_eq!(vectorised, plain);
    plain
}

fn formats() -> impl Strategy<Value = FrameFormat> {
    let plain = (
        prop::sample::select(vec![
            PixelKind::U08,
            PixelKind::U16,
            PixelKind::U32,
            PixelKind::U64,
        ]),
        1_u32..80,
        1_u32..6,
    )
        .prop_map(|(kind, w, h)| FrameFormat::new(kind, 0, ChipLayout::Single, 1, w, h).unwrap());
    let layouts = vec![
        (ChipLayout::Single, 1),
        (ChipLayout::Quad, 4),
        (ChipLayout::QuadGap, 4),
        (ChipLayout::Row, 1),
        (ChipLayout::Row, 3),
        (ChipLayout::RowGap, 4),
    ];
    let depths = vec![1, 6, 12, 24];
    let raw = (
        prop::sample::select(layouts),
        prop::sample::select(depths),
        1_u32..4,
    )
        .prop_map(|((layout, n), depth, h)| {
            let width = n * 256 * if depth == 24 { 2 } else { 1 };
            FrameFormat::new(PixelKind::R64, depth, layout, n, width, h).unwrap()
        });
    prop_oneof![plain, raw]
}

/// Random bytes that are valid pixels: 12-bit values below 4096.
fn fill(format: &FrameFormat, seed: u64, n: usize) -> Vec<u8> {
    let mut state = seed | 1;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 24) as u8
    };
    let high_byte = matches!(format.encoding(), Encoding::Raw12 | Encoding::Raw24);
    (0..n)
        .map(|i| {
            if high_byte && i % 2 == 0 {
                next() & 15
            } else {
                next()
            }
        })
        .collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]

    #[test]
    fn every_pixel_is_where_the_protocol_says(
        format in formats(), seed: u64, band in (0.0..=1.0_f64, 0.0..=1.0_f64), flip: bool,
    ) {
        let n = format.payload_bytes();
        let (height, columns) = format.item_shape();
        let start = (band.0 * height as f64) as usize;
        let stop = start + (band.1 * (height - start) as f64) as usize;
        let pad = 384;
        let payload: Vec<u8> = [vec![0xff; pad], fill(&format, seed, n), vec![0xff; pad], fill(&format, !seed, n)].concat();
        let offsets = [(2 * pad + n) as u64, pad as u64];
        let decoder = Decoder::new(format).with_flip_y(flip);

        let as_u64: Vec<u64> = decode_both(&decoder, &payload, &offsets, (start, stop));
        let mut at = 0;
        for offset in offsets {
            let frame = &payload[offset as usize..offset as usize + n];
            for row in start..stop {
                let row = if flip { height - 1 - row } else { row };
                for column in 0..columns {
                    prop_assert_eq!(as_u64[at], model(&format, frame, row, column), "row {} column {}", row, column);
                    at += 1;
                }
            }
        }
        macro_rules! same_as {
            ($($number:ty),*) => {$(
                let expected: Vec<$number> = as_u64.iter().map(|v| *v as $number).collect();
                prop_assert_eq!(decode_both::<$number>(&decoder, &payload, &offsets, (start, stop)), expected);
            )*};
        }
        same_as!(u8, i8, u16, i16, u32, i32, i64, f32, f64);
    }

    #[test]
    fn a_request_outside_the_payload_is_an_error(format in formats(), cut in 1_usize..500, offset: u64) {
        let n = format.payload_bytes();
        let payload = vec![0_u8; n];
        let (rows, columns) = format.item_shape();
        let decoder = Decoder::new(format);
        let mut out = vec![0_u8; rows * columns];
        let short = &payload[..n - cut.min(n)];
        let is_truncated = |r| matches!(r, Err(DecodeError::Truncated { .. }));
        prop_assert!(is_truncated(decoder.decode(short, &[0], (0, rows), &mut out)));
        prop_assert!(is_truncated(decoder.decode(&payload, &[offset.max(1)], (0, rows), &mut out)));
        prop_assert!(is_truncated(decoder.decode(&payload, &[u64::MAX], (0, rows), &mut out)));
        prop_assert!(decoder.decode(&payload, &[0], (0, rows), &mut out).is_ok());
        let mut larger = vec![0_u8; (rows + 1) * columns];
        let beyond = decoder.decode(&payload, &[0], (0, rows + 1), &mut larger);
        let outside_rows = matches!(beyond, Err(DecodeError::Rows { .. }));
        prop_assert!(outside_rows);
        let wrong = decoder.decode(&payload, &[0], (0, rows), &mut larger);
        let wrong_size = matches!(wrong, Err(DecodeError::OutputSize { .. }));
        prop_assert!(wrong_size);
    }
}

#[test]
fn the_worked_examples_of_the_protocol_description_decode() {
    let single = |depth| FrameFormat::new(PixelKind::R64, depth, ChipLayout::Single, 1, 256, 1).unwrap();
    let first = |depth, word: [u8; 8]| {
        let mut payload = vec![0_u8; single(depth).payload_bytes()];
        payload[..8].copy_from_slice(&word);
        decode_both::<u16>(&Decoder::new(single(depth)), &payload, &[0], (0, 1))
    };
    let twelve = first(12, [0x0f, 0xff, 0x0a, 0xbc, 0x00, 0x02, 0x00, 0x01]);
    assert_eq!(twelve[..5], [0x001, 0x002, 0xabc, 0xfff, 0]);
    let six = first(6, [8, 7, 6, 5, 4, 3, 2, 1]);
    assert_eq!(six[..9], [1, 2, 3, 4, 5, 6, 7, 8, 0]);
    let one = first(1, [0x80, 0, 0, 0, 0, 0, 0, 5]);
    let set: Vec<usize> = (0..256).filter(|i| one[*i] == 1).collect();
    assert_eq!(set, [0, 2, 63]);
}

#[test]
fn no_frames_and_no_rows_decode_to_nothing() {
    let format = FrameFormat::new(PixelKind::U08, 0, ChipLayout::Single, 1, 4, 4).unwrap();
    let decoder = Decoder::new(format);
    assert_eq!(decoder.decode::<u8>(&[], &[], (0, 4), &mut []), Ok(()));
    assert_eq!(decoder.decode::<u8>(&[0; 16], &[0], (2, 2), &mut []), Ok(()));
}
