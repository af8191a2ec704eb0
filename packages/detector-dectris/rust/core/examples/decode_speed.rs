//! How fast a blob decodes on one core: `decode_speed BLOB TYPE_BYTES N_PIXELS`, e.g. an image of a capture.
//!
//! Prints GB of native pixels per second, best of several rounds.

use std::hint::black_box;
use std::time::Instant;

use dectris_core::codec::{Compression, Decoder, Element, Pixel};

fn speed<T: Pixel>(blob: &[u8], element: Element, n_pixels: usize, vectorise: bool) -> f64 {
    let mut out = vec![T::default(); n_pixels];
    let decoder = Decoder::new(Compression::Bslz4, element, n_pixels).with_vectorise(vectorise);
    let mut best = f64::INFINITY;
    // Short rounds: the best one is not interrupted by anything else.
    let repeats = (2_000_000 / (n_pixels * element.size())).max(1);
    for _ in 0..200 {
        let started = Instant::now();
        for _ in 0..repeats {
            if let Err(error) = decoder.decode(black_box(blob), 0, black_box(&mut out)) {
                eprintln!("{error}");
                return 0.0;
            }
        }
        best = best.min(started.elapsed().as_secs_f64());
    }
    (repeats * n_pixels * element.size()) as f64 / best / 1e9
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let arguments: Vec<String> = std::env::args().collect();
    let [_, path, size, n_pixels] = arguments.as_slice() else {
        return Err("usage: decode_speed BLOB TYPE_BYTES N_PIXELS".into());
    };
    let blob = std::fs::read(path)?;
    let element = match size.as_str() {
        "1" => Element::U8,
        "2" => Element::U16,
        _ => Element::U32,
    };
    let n_pixels = n_pixels.parse()?;
    println!(
        "to u16    {:6.2} GB/s",
        speed::<u16>(&blob, element, n_pixels, true)
    );
    println!(
        "to u32    {:6.2} GB/s",
        speed::<u32>(&blob, element, n_pixels, true)
    );
    println!(
        "to f32    {:6.2} GB/s",
        speed::<f32>(&blob, element, n_pixels, true)
    );
    println!(
        "no vector {:6.2} GB/s",
        speed::<u16>(&blob, element, n_pixels, false)
    );
    Ok(())
}
