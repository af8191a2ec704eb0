//! Messages as a detector sends them, for tests: a small encoder, independent of the parsers.

use minicbor::data::Tag;
use minicbor::encode::Encoder;

/// Pixels along y and x of the images made here.
pub(crate) const ROWS: usize = 4;
pub(crate) const COLUMNS: usize = 8;
/// Bytes of the pixels of one image.
pub(crate) const N_BYTES: usize = 2 * ROWS * COLUMNS;

/// Pixels of an image, different for each.
pub(crate) fn some_pixels(index: u64) -> Vec<u8> {
    (0..ROWS * COLUMNS)
        .flat_map(|i| (i as u16 ^ (index as u16).wrapping_mul(257)).to_le_bytes())
        .collect()
}

/// The two parts of a header of V1.
pub(crate) fn v1_header(series: u64, nimages: u64, ntrigger: u64, trigger_mode: &str) -> Vec<Vec<u8>> {
    vec![
        format!(r#"{{"header_detail":"basic","htype":"dheader-1.0","series":{series}}}"#).into_bytes(),
        format!(
            r#"{{"auto_summation":1,"bit_depth_image":16,"nimages":{nimages},"ntrigger":{ntrigger},"trigger_mode":"{trigger_mode}","count_time":0.001,"frame_time":0.001,"x_pixels_in_detector":{COLUMNS},"y_pixels_in_detector":{ROWS}}}"#
        )
        .into_bytes(),
    ]
}

/// The four parts of an image of V1, not compressed.
pub(crate) fn v1_image(series: u64, index: u64) -> Vec<Vec<u8>> {
    v1_image_of(series, index, "<", &some_pixels(index))
}

/// The four parts of an image of V1.
pub(crate) fn v1_image_of(series: u64, index: u64, encoding: &str, blob: &[u8]) -> Vec<Vec<u8>> {
    vec![
        format!(r#"{{"frame":{index},"hash":"fc67f000d08fe6b380ea9434b8362d22","htype":"dimage-1.0","series":{series}}}"#)
            .into_bytes(),
        format!(
            r#"{{"encoding":"{encoding}","htype":"dimage_d-1.0","shape":[{COLUMNS},{ROWS}],"size":{},"type":"uint16"}}"#,
            blob.len()
        )
        .into_bytes(),
        blob.to_vec(),
        br#"{"htype":"dconfig-1.0","real_time":1000000,"start_time":0,"stop_time":1000000}"#.to_vec(),
    ]
}

/// The end of a series of V1.
pub(crate) fn v1_end(series: u64) -> Vec<Vec<u8>> {
    vec![format!(r#"{{"htype":"dseries_end-1.0","series":{series}}}"#).into_bytes()]
}

fn cbor(encode: impl FnOnce(&mut Encoder<&mut Vec<u8>>)) -> Vec<u8> {
    let mut bytes = vec![0xd9, 0xd9, 0xf7];
    encode(&mut Encoder::new(&mut bytes));
    bytes
}

/// A start message of V2.
pub(crate) fn v2_start(series: u64, n_images: u64, channels: &[&str]) -> Vec<u8> {
    cbor(|e| {
        e.map(8).unwrap();
        e.str("type").unwrap().str("start").unwrap();
        e.str("series_id").unwrap().u64(series).unwrap();
        e.str("number_of_images").unwrap().u64(n_images).unwrap();
        e.str("frame_time").unwrap().f64(0.001).unwrap();
        e.str("image_dtype").unwrap().str("uint16").unwrap();
        e.str("user_data")
            .unwrap()
            .map(1)
            .unwrap()
            .str("sample")
            .unwrap()
            .i8(-3)
            .unwrap();
        e.str("channels").unwrap().array(channels.len() as u64).unwrap();
        for channel in channels {
            e.str(channel).unwrap();
        }
        e.str("pixel_mask").unwrap().map(channels.len() as u64).unwrap();
        for (i, channel) in channels.iter().enumerate() {
            e.str(channel).unwrap();
            let mask: Vec<u8> = (0..ROWS * COLUMNS)
                .flat_map(|_| (i as u32).to_le_bytes())
                .collect();
            v2_array(e, 70, &mask);
        }
    })
}

/// An array of ROWS x COLUMNS, not compressed.
pub(crate) fn v2_array(e: &mut Encoder<&mut Vec<u8>>, tag: u64, bytes: &[u8]) {
    e.tag(Tag::new(40)).unwrap().array(2).unwrap();
    e.array(2)
        .unwrap()
        .u64(ROWS as u64)
        .unwrap()
        .u64(COLUMNS as u64)
        .unwrap();
    e.tag(Tag::new(tag)).unwrap().bytes(bytes).unwrap();
}

/// An image of V2; channel `i` has the pixels of image `index + i`.
pub(crate) fn v2_image(series: u64, index: u64, channels: &[&str]) -> Vec<u8> {
    cbor(|e| {
        e.map(5).unwrap();
        e.str("type").unwrap().str("image").unwrap();
        e.str("series_id").unwrap().u64(series).unwrap();
        e.str("image_id").unwrap().u64(index).unwrap();
        e.str("real_time")
            .unwrap()
            .array(2)
            .unwrap()
            .u32(1)
            .unwrap()
            .u32(50_000_000)
            .unwrap();
        e.str("data").unwrap().map(channels.len() as u64).unwrap();
        for (i, channel) in channels.iter().enumerate() {
            e.str(channel).unwrap();
            v2_array(e, 69, &some_pixels(index + i as u64));
        }
    })
}

/// The end of a series of V2.
pub(crate) fn v2_end(series: u64) -> Vec<u8> {
    cbor(|e| {
        e.map(2).unwrap();
        e.str("type").unwrap().str("end").unwrap();
        e.str("series_id").unwrap().u64(series).unwrap();
    })
}

/// The parts of a message, as parsers take them.
pub(crate) fn slices(parts: &[Vec<u8>]) -> Vec<&[u8]> {
    parts.iter().map(Vec::as_slice).collect()
}
