use super::*;
use proptest::prelude::*;

fn hex(text: &str) -> Vec<u8> {
    let digits: Vec<u8> = text.bytes().filter(u8::is_ascii_hexdigit).collect();
    digits
        .chunks(2)
        .map(|pair| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap())
        .collect()
}

/// The transposition as its definition says it, bit by bit.
fn transpose(elements: &[u8], size: usize) -> Vec<u8> {
    let n = elements.len() / size;
    let mut planes = vec![0; elements.len()];
    for i in 0..n {
        for byte in 0..size {
            for bit in 0..8 {
                if elements[i * size + byte] >> bit & 1 == 1 {
                    planes[(8 * byte + bit) * (n / 8) + i / 8] |= 1 << (i % 8);
                }
            }
        }
    }
    planes
}

fn blob_of(pixels: &[u8], size: usize, block: usize, shuffle: bool) -> Vec<u8> {
    let mut blob = (pixels.len() as u64).to_be_bytes().to_vec();
    blob.extend((block as u32).to_be_bytes());
    let unit = if shuffle { 8 * size } else { size };
    let whole = pixels.len() / unit * unit;
    for part in pixels[..whole].chunks(block) {
        let packed = if shuffle {
            transpose(part, size)
        } else {
            part.to_vec()
        };
        let compressed = lz4_flex::block::compress(&packed);
        let stored = !shuffle && compressed.len() >= part.len();
        let bytes = if stored { part } else { &compressed };
        blob.extend((bytes.len() as u32).to_be_bytes());
        blob.extend(bytes);
    }
    blob.extend(&pixels[whole..]);
    blob
}

fn as_u32(pixels: &[u8], size: usize) -> Vec<u32> {
    pixels
        .chunks_exact(size)
        .map(|bytes| {
            bytes
                .iter()
                .rev()
                .fold(0, |value, byte| value << 8 | u32::from(*byte))
        })
        .collect()
}

fn element_of(size: usize) -> Element {
    match size {
        1 => Element::U8,
        2 => Element::U16,
        _ => Element::U32,
    }
}

#[test]
fn the_worked_examples_decode() {
    let eight = "0000000000000010 00002000 00000012 f001 55667880000000000000000000000000";
    let eleven = "0000000000000016 00002000 00000012 f001 55667880000000000000000000000000 09000a000b00";
    for (blob, n) in [(eight, 8_usize), (eleven, 11)] {
        let mut out = vec![0_u16; n];
        Decoder::new(Compression::Bslz4, Element::U16, n)
            .decode(&hex(blob), 0, &mut out)
            .unwrap();
        assert_eq!(out, (1..=n as u16).collect::<Vec<_>>());
    }
    let wide = "0000000000000020 00002000 00000022 f011 55667880".to_owned() + &"00".repeat(28);
    let mut out = [0_u32; 8];
    Decoder::new(Compression::Bslz4, Element::U32, 8)
        .decode(&hex(&wide), 0, &mut out)
        .unwrap();
    assert_eq!(out, [1, 2, 3, 4, 5, 6, 7, 8]);
    let mut out = [0_f32; 4];
    let stored = hex("0000000000000008 00000008 00000008 0100020003000400");
    Decoder::new(Compression::Lz4, Element::U16, 4)
        .decode(&stored, 0, &mut out)
        .unwrap();
    assert_eq!(out, [1.0, 2.0, 3.0, 4.0]);
}

#[test]
fn a_bare_block_and_plain_pixels_decode() {
    let pixels: Vec<u8> = (0..200).collect();
    let mut out = vec![0_u16; 100];
    let bare = lz4_flex::block::compress(&pixels);
    Decoder::new(Compression::Lz4Block, Element::U16, 100)
        .decode(&bare, 0, &mut out)
        .unwrap();
    assert_eq!(out[1], 0x0302);
    Decoder::new(Compression::None, Element::U16, 100)
        .with_big_endian(true)
        .decode(&pixels, 0, &mut out)
        .unwrap();
    assert_eq!(out[1], 0x0203);
}

#[test]
fn an_empty_header_stands_for_the_defaults() {
    let pixels: Vec<u8> = (0..64).collect();
    let mut blob = blob_of(&pixels, 2, 8192, true);
    blob[..12].fill(0);
    let mut out = vec![0_u16; 32];
    Decoder::new(Compression::Bslz4, Element::U16, 32)
        .decode(&blob, 0, &mut out)
        .unwrap();
    assert_eq!(out[31], 0x3f3e);
}

#[test]
fn a_header_that_lies_is_refused() {
    let blob = blob_of(&[1; 64], 2, 8192, true);
    let mut out = vec![0_u16; 31];
    let found = Decoder::new(Compression::Bslz4, Element::U16, 31).decode(&blob, 0, &mut out);
    assert_eq!(
        found,
        Err(BlobError::Size {
            expected: 62,
            found: 64
        })
    );
    let mut odd = blob.clone();
    odd[11] = 9;
    let mut out = vec![0_u16; 32];
    let found = Decoder::new(Compression::Bslz4, Element::U16, 32).decode(&odd, 0, &mut out);
    assert!(
        matches!(
            found,
            Err(BlobError::BlockSize {
                found: 8201,
                unit: 16,
                ..
            })
        ),
        "{found:?}"
    );
}

#[test]
fn pixels_beyond_the_image_are_refused() {
    let found = Decoder::new(Compression::None, Element::U8, 4).decode(&[0; 4], 2, &mut [0_u8; 3]);
    assert!(
        matches!(
            found,
            Err(BlobError::Range {
                start: 2,
                stop: 5,
                ..
            })
        ),
        "{found:?}"
    );
}

#[test]
fn inspecting_finds_what_is_cut_off_or_left_over() {
    let pixels: Vec<u8> = (0..250).cycle().take(6022).collect();
    for (name, compression) in Compression::NAMES {
        let blob = encode(&pixels, 2, compression, 1024).unwrap();
        assert_eq!(inspect(&blob, compression, 2, 3011), Ok(()), "{name}");
        if compression == Compression::Lz4Block {
            continue; // It has no lengths.
        }
        let cut = inspect(&blob[..blob.len() - 1], compression, 2, 3011);
        assert!(matches!(cut, Err(BlobError::Truncated { .. })), "{name}: {cut:?}");
        let more = inspect(&[&blob[..], &[0; 3]].concat(), compression, 2, 3011);
        assert_eq!(more, Err(BlobError::LeftOver { found: 3 }), "{name}");
    }
    let tiny = inspect(&[0; 20], Compression::Lz4Block, 2, 3011);
    assert!(matches!(tiny, Err(BlobError::Implausible { .. })), "{tiny:?}");
}

proptest! {
    #[test]
    fn any_range_of_any_image_decodes(
        seed in prop::collection::vec(any::<u8>(), 1..5000),
        size in prop::sample::select(vec![1_usize, 2, 4]),
        blocks in 1_usize..80,
        sparse in any::<bool>(),
        shuffle in any::<bool>(),
        vectorise in any::<bool>(),
        cut in (0.0..1.0, 0.0..1.0),
    ) {
        let n = seed.len() / size;
        let mut pixels = seed[..n * size].to_vec();
        if sparse {
            // Most counts are small, as on a detector.
            pixels.iter_mut().enumerate().filter(|(i, _)| i % size > 0).for_each(|(_, byte)| *byte = 0);
        }
        let blob = blob_of(&pixels, size, 8 * size * blocks, shuffle);
        let compression = if shuffle { Compression::Bslz4 } else { Compression::Lz4 };
        let start = (cut.0 * n as f64) as usize;
        let stop = start + (cut.1 * (n - start) as f64) as usize;
        let wanted = as_u32(&pixels, size)[start..stop].to_vec();
        let decoder = Decoder::new(compression, element_of(size), n).with_vectorise(vectorise);
        let mut out = vec![7_u32; stop - start];
        decoder.decode(&blob, start, &mut out).unwrap();
        prop_assert_eq!(&out, &wanted);
        let mut floats = vec![7_f64; stop - start];
        decoder.decode(&blob, start, &mut floats).unwrap();
        prop_assert_eq!(floats, wanted.iter().map(|value| f64::from(*value)).collect::<Vec<_>>());
    }

    #[test]
    fn no_bytes_make_it_panic(
        blob in prop::collection::vec(any::<u8>(), 0..300),
        n in 0_usize..100,
        size in prop::sample::select(vec![1_usize, 2, 4]),
        compression in prop::sample::select(vec![
            Compression::None, Compression::Lz4Block, Compression::Lz4, Compression::Bslz4,
        ]),
    ) {
        let mut out = vec![0_f32; n];
        let _ = Decoder::new(compression, element_of(size), n).decode(&blob, 0, &mut out);
    }

    #[test]
    fn a_damaged_blob_is_an_error_or_other_pixels(
        pixels in prop::collection::vec(0_u8..4, 64..2000),
        at in any::<prop::sample::Index>(),
        flip in 1_u8..,
        cut in any::<prop::sample::Index>(),
    ) {
        let n = pixels.len() / 2;
        let mut blob = blob_of(&pixels[..2 * n], 2, 256, true);
        let mut out = vec![0_u16; n];
        let decoder = Decoder::new(Compression::Bslz4, Element::U16, n);
        let short = cut.index(blob.len());
        prop_assert!(decoder.decode(&blob[..short], 0, &mut out).is_err());
        *at.get_mut(&mut blob) ^= flip;
        let _ = decoder.decode(&blob, 0, &mut out);
    }
}
