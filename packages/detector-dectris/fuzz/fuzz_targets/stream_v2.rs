//! Any bytes are a message of stream V2 or an error, and blobs lie within the message.
#![no_main]

use dectris_core::image::Message;
use dectris_core::stream_v2::parse;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    if let Ok(Message::Image(image)) = parse(bytes) {
        for name in image.channel_names().unwrap_or_default() {
            if let Ok(pixels) = image.channel(&name) {
                let (whole, blob) = (bytes.as_ptr_range(), pixels.blob.as_ptr_range());
                assert!(whole.start <= blob.start && blob.end <= whole.end);
            }
        }
    }
});
