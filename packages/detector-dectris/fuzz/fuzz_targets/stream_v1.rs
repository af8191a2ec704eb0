//! Any parts are a message of stream V1 or an error, and a blob is never anything but its part.
#![no_main]

use dectris_core::image::Message;
use dectris_core::stream_v1::Parser;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|messages: Vec<Vec<&[u8]>>| {
    let mut parser = Parser::default();
    for parts in &messages {
        if let Ok(Message::Image(image)) = parser.parse(parts).message
            && let Ok(pixels) = image.channel("")
        {
            assert!(parts.iter().any(|part| *part == pixels.blob));
        }
    }
});
