//! Any bytes are pixels or an error, the same with and without vector instructions, and `inspect` refuses
//! nothing that decodes, but for bytes behind the end.
#![no_main]

use dectris_core::codec::{BlobError, Compression, Decoder, Element, inspect};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: (u8, u8, u16, bool, &[u8])| {
    let (compression, element, n, big_endian, blob) = input;
    let (_, compression) = Compression::NAMES[usize::from(compression) % 4];
    let element = [Element::U8, Element::U16, Element::U32][usize::from(element) % 3];
    let n = usize::from(n);
    let decoder = Decoder::new(compression, element, n).with_big_endian(big_endian);
    let (mut fast, mut plain) = (vec![0_u32; n], vec![0_u32; n]);
    let found = decoder.decode(blob, 0, &mut fast);
    let expected = decoder.with_vectorise(false).decode(blob, 0, &mut plain);
    assert_eq!(found.is_ok(), expected.is_ok(), "{found:?} {expected:?}");
    if found.is_ok() {
        assert_eq!(fast, plain);
        let seen = inspect(blob, compression, element.size(), n);
        assert!(matches!(seen, Ok(()) | Err(BlobError::LeftOver { .. })), "{seen:?}");
    }
});
