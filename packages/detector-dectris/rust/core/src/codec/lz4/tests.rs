use std::ptr::null_mut;

use proptest::prelude::*;
use rustix::mm::{MapFlags, MprotectFlags, ProtFlags, mmap_anonymous, mprotect, munmap};

use super::*;

const PAGE: usize = 4096;

/// Memory that ends where nothing can be read or written, and begins behind such a place.
struct Fenced {
    start: *mut u8,
    mapped: usize,
    n: usize,
}

impl Fenced {
    fn new(n: usize) -> Self {
        let mapped = (n.div_ceil(PAGE).max(1) + 2) * PAGE;
        // SAFETY: new memory is mapped, and its first and last page fenced off.
        let start = unsafe {
            let flags = ProtFlags::READ | ProtFlags::WRITE;
            let start = mmap_anonymous(null_mut(), mapped, flags, MapFlags::PRIVATE).unwrap();
            mprotect(start, PAGE, MprotectFlags::empty()).unwrap();
            mprotect(start.byte_add(mapped - PAGE), PAGE, MprotectFlags::empty()).unwrap();
            start.cast::<u8>()
        };
        Self { start, mapped, n }
    }

    fn with(bytes: &[u8]) -> Self {
        let mut fenced = Self::new(bytes.len());
        fenced.bytes().copy_from_slice(bytes);
        fenced
    }

    fn bytes(&mut self) -> &mut [u8] {
        // SAFETY: the `n` bytes before the last page are mapped and ours.
        unsafe { std::slice::from_raw_parts_mut(self.start.add(self.mapped - PAGE - self.n), self.n) }
    }
}

impl Drop for Fenced {
    fn drop(&mut self) {
        // SAFETY: as mapped; nobody has a reference any more.
        unsafe { munmap(self.start.cast(), self.mapped) }.unwrap();
    }
}

/// Decompress between fences, exactly with the slack that is asked for.
fn fast(block: &[u8], n: usize) -> Result<Vec<u8>, Lz4Error> {
    let mut source = Fenced::with(&[block, &[0xaa; SOURCE_SLACK]].concat());
    let mut target = Fenced::with(&vec![0x55; n + SLACK]);
    let zero_from = decompress(source.bytes(), block.len(), target.bytes(), n, true)?;
    let mut found = target.bytes()[..n].to_vec();
    found[zero_from..].fill(0);
    Ok(found)
}

fn slow(block: &[u8], n: usize) -> Result<Vec<u8>, Lz4Error> {
    let mut target = vec![0; n];
    decompress(block, block.len(), &mut target, n, false)?;
    Ok(target)
}

/// A sequence: literals, then a match.
fn push(block: &mut Vec<u8>, literals: &[u8], repeat: Option<(u16, usize)>) {
    let extend = |block: &mut Vec<u8>, mut rest: usize| {
        while rest >= 255 {
            block.push(255);
            rest -= 255;
        }
        block.push(rest as u8);
    };
    let n = literals.len();
    let length = repeat.map_or(0, |(_, length)| length - 4);
    block.push((n.min(15) << 4) as u8 | length.min(15) as u8);
    if n >= 15 {
        extend(block, n - 15);
    }
    block.extend(literals);
    if let Some((distance, _)) = repeat {
        block.extend(distance.to_le_bytes());
        if length >= 15 {
            extend(block, length - 15);
        }
    }
}

#[test]
fn every_short_distance_repeats_over_every_length() {
    for distance in 1..40_usize {
        for length in 4..100_usize {
            let literals: Vec<u8> = (1..=40).collect();
            let mut block = Vec::new();
            push(&mut block, &literals, Some((distance as u16, length)));
            push(&mut block, &[9; 5], None);
            let n = 45 + length;
            let mut expected = literals;
            for _ in 0..length {
                expected.push(expected[expected.len() - distance]);
            }
            expected.extend([9; 5]);
            assert_eq!(
                fast(&block, n),
                Ok(expected),
                "distance {distance}, length {length}"
            );
        }
    }
}

#[test]
fn a_tail_of_zeros_is_found_and_not_written() {
    let mut pixels = vec![7; 100];
    pixels.resize(8192, 0);
    let mut block = lz4_flex::block::compress(&pixels);
    let length = block.len();
    block.extend([0; SOURCE_SLACK]);
    let mut target = vec![3; 8192 + SLACK];
    let zero_from = decompress(&block, length, &mut target, 8192, true).unwrap();
    if cfg!(target_arch = "x86_64") && std::arch::is_x86_feature_detected!("avx2") {
        assert!((100..110).contains(&zero_from), "{zero_from}");
        assert_eq!(target[200], 3);
    }
}

#[test]
fn what_is_wrong_is_said() {
    assert_eq!(fast(&[], 4), Err(Lz4Error::Truncated));
    assert_eq!(fast(&[0x50, 1, 2], 5), Err(Lz4Error::Truncated));
    assert_eq!(fast(&[0x20, 1, 2], 5), Err(Lz4Error::TooShort(2)));
    assert_eq!(fast(&[0x20, 1, 2], 1), Err(Lz4Error::TooLong));
    let before = Err(Lz4Error::Distance { at: 2, distance: 3 });
    assert_eq!(fast(&[0x20, 1, 2, 3, 0, 0], 9), before);
    let none = Err(Lz4Error::Distance { at: 2, distance: 0 });
    assert_eq!(fast(&[0x20, 1, 2, 0, 0, 0], 9), none);
    assert_eq!(fast(&[0x2f, 1, 2, 1, 0, 255, 255], 90), Err(Lz4Error::Truncated));
    assert_eq!(fast(&[0xff; 40], 90), Err(Lz4Error::Truncated));
}

fn sequences() -> impl Strategy<Value = Vec<u8>> {
    let literals = prop::collection::vec(prop_oneof![3 => Just(0_u8), 1 => any::<u8>()], 0..40);
    let distance = prop_oneof![1_u16..20, 1_u16..300, any::<u16>()];
    let length = prop_oneof![4_usize..24, 4_usize..600];
    let one = (literals.clone(), distance, length);
    (prop::collection::vec(one, 0..30), literals).prop_map(|(sequences, last)| {
        let mut block = Vec::new();
        for (literals, distance, length) in sequences {
            push(&mut block, &literals, Some((distance, length)));
        }
        push(&mut block, &last, None);
        block
    })
}

proptest! {
    #[test]
    fn what_was_compressed_decompresses(
        seed in prop::collection::vec(any::<u8>(), 0..3000),
        keep in 0_u8..8,
        zeros in 0_usize..5000,
    ) {
        let mut pixels: Vec<u8> = seed.iter().map(|byte| if byte % 8 < keep { byte >> 4 } else { 0 }).collect();
        pixels.resize(seed.len() + zeros, 0);
        let block = lz4_flex::block::compress(&pixels);
        prop_assert_eq!(fast(&block, pixels.len()), Ok(pixels));
    }

    #[test]
    fn any_sequences_give_the_same_as_the_plain_decoder(
        block in sequences(), cut in any::<prop::sample::Index>(), whole in any::<bool>(), more in -3_isize..3,
    ) {
        // Whatever the size that is asked for, nothing outside is touched: there are fences.
        let block = if whole { &block[..] } else { &block[..cut.index(block.len())] };
        let mut room = vec![0; 40_000];
        let n = lz4_flex::block::decompress_into(block, &mut room).unwrap_or(500);
        let n = n.saturating_add_signed(more);
        let (found, expected) = (fast(block, n), slow(block, n));
        match expected {
            Ok(expected) => prop_assert_eq!(found, Ok(expected)),
            Err(_) => prop_assert!(found.is_err(), "{:?} {:?}", found, block),
        }
    }

    #[test]
    fn any_bytes_give_the_same_as_the_plain_decoder(
        block in prop::collection::vec(any::<u8>(), 0..300), n in 0_usize..3000,
    ) {
        let (found, expected) = (fast(&block, n), slow(&block, n));
        match expected {
            Ok(expected) => prop_assert_eq!(found, Ok(expected)),
            Err(_) => prop_assert!(found.is_err(), "{:?} {:?}", found, block),
        }
    }
}
