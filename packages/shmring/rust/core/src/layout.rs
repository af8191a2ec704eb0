//! The layout of what is shared: descriptors, the CONTROL page and the hello.
//!
//! Pure numbers, no memory.  `LAYOUT.md` is the normative text; the constant tests at the end hold
//! the two together.  A change here raises [`LAYOUT_VERSION`]; [`LAYOUT_HASH`] catches a change that
//! forgot to.

/// Version of everything in this file.
pub const LAYOUT_VERSION: u32 = 1;
/// First eight bytes of each hello and of each CONTROL page.
pub(crate) const MAGIC: u64 = u64::from_le_bytes(*b"SHMRING\n");

/// A stack that only broadcast consumers get; no work-sharing consumer is waited for.
pub const FLAG_BROADCAST_ONLY: u16 = 1 << 0;

/// Words of 8 bytes in one descriptor.
pub(crate) const DESCRIPTOR_WORDS: usize = 8;
/// Descriptor of a stack.
pub(crate) const KIND_STACK: u16 = 1;
/// Descriptor that says: nothing more is queued for this tag.
pub(crate) const KIND_END: u16 = 2;

/// In a return, beside the token: the consumer had closed its end, so the stack is not done.  No slot
/// has so high a number.
pub(crate) const RETURN_NOT_DONE: u64 = 1 << 31;

/// Words between two fields that different sides write: two cache lines, against prefetching.
const APART: usize = 16;
/// Index of words in CONTROL (the first are unused): descriptors pushed; the owner writes it.
pub(crate) const WORD_TX_TAIL: usize = APART;
/// Descriptors popped by the consumer or taken back by the owner.
pub(crate) const WORD_TX_HEAD: usize = 2 * APART;
/// Returns pushed; the consumer writes it.
pub(crate) const WORD_RET_TAIL: usize = 3 * APART;
/// Returns popped; the owner writes it.
pub(crate) const WORD_RET_HEAD: usize = 4 * APART;
/// The consumer sleeps: ring its bell after a push.
pub(crate) const WORD_CONSUMER_ASLEEP: usize = 5 * APART;
/// The owner sleeps: ring its bell after a pop and after a return.
pub(crate) const WORD_OWNER_ASLEEP: usize = 6 * APART;
/// First word of the descriptors.
pub(crate) const WORD_TX_ENTRIES: usize = 8 * APART;

/// Descriptors that fit the queue to a consumer, beside `queue_depth` stacks two ends.
pub(crate) const fn tx_capacity(queue_depth: u32) -> u64 {
    (queue_depth as u64 + 2).next_power_of_two()
}

/// Returns that fit the queue from a consumer: it can never hold more than all slots.
pub(crate) const fn ret_capacity(n_slots: u32) -> u64 {
    (n_slots as u64).next_power_of_two()
}

/// First word of the returns.
pub(crate) const fn word_ret_entries(tx_capacity: u64) -> usize {
    WORD_TX_ENTRIES + tx_capacity as usize * DESCRIPTOR_WORDS
}

/// Words of a CONTROL mapping.
pub(crate) const fn control_words(tx_capacity: u64, ret_capacity: u64) -> usize {
    word_ret_entries(tx_capacity) + ret_capacity as usize
}

/// Where the meta values of a stack start in its slot.
pub(crate) const fn meta_offset(data_len: usize) -> usize {
    data_len.next_multiple_of(64)
}

/// Bytes of a slot that a stack needs, or `None` if that is no number.
pub(crate) fn stack_bytes(data_len: usize, n_meta: usize) -> Option<usize> {
    if n_meta == 0 {
        return Some(data_len);
    }
    data_len
        .checked_next_multiple_of(64)?
        .checked_add(n_meta.checked_mul(8)?)
}

/// What a queue entry says, 64 bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Descriptor {
    /// Number of the commit in this ring.
    pub seq: u64,
    pub slot: u32,
    pub generation: u32,
    pub item_first: u64,
    pub tag: u64,
    pub data_len: u64,
    pub n_items: u32,
    /// Number of meta values behind the data.
    pub n_meta: u32,
    pub kind: u16,
    pub flags: u16,
    /// Consumers that had the stack before and died.
    pub attempt: u32,
    /// Stacks that this consumer did not get since the last one (`Broadcast::Latest`).
    pub skipped: u32,
}

const fn pair(low: u32, high: u32) -> u64 {
    low as u64 | (high as u64) << 32
}

const fn low(word: u64) -> u32 {
    word as u32
}

const fn high(word: u64) -> u32 {
    (word >> 32) as u32
}

impl Descriptor {
    /// As it lies in memory.
    pub(crate) const fn pack(&self) -> [u64; DESCRIPTOR_WORDS] {
        [
            self.seq,
            pair(self.slot, self.generation),
            self.item_first,
            self.tag,
            self.data_len,
            pair(self.n_items, self.n_meta),
            pair(self.kind as u32 | (self.flags as u32) << 16, self.attempt),
            pair(self.skipped, 0),
        ]
    }

    /// From memory.
    pub(crate) const fn unpack(words: &[u64; DESCRIPTOR_WORDS]) -> Self {
        let [seq, lease, item_first, tag, data_len, counts, kind, skipped] = *words;
        Self {
            seq,
            slot: low(lease),
            generation: high(lease),
            item_first,
            tag,
            data_len,
            n_items: low(counts),
            n_meta: high(counts),
            kind: low(kind) as u16,
            flags: (low(kind) >> 16) as u16,
            attempt: high(kind),
            skipped: low(skipped),
        }
    }
}

/// FNV-1a over the numbers above.
pub const LAYOUT_HASH: u64 = layout_hash();

const fn layout_hash() -> u64 {
    let numbers = [
        MAGIC,
        LAYOUT_VERSION as u64,
        DESCRIPTOR_WORDS as u64,
        WORD_TX_TAIL as u64,
        WORD_TX_HEAD as u64,
        WORD_RET_TAIL as u64,
        WORD_RET_HEAD as u64,
        WORD_CONSUMER_ASLEEP as u64,
        WORD_OWNER_ASLEEP as u64,
        WORD_TX_ENTRIES as u64,
        pair(KIND_STACK as u32, KIND_END as u32),
        FLAG_BROADCAST_ONLY as u64,
        RETURN_NOT_DONE,
        tx_capacity(2),
        ret_capacity(3),
        word_ret_entries(4) as u64,
        control_words(4, 4) as u64,
        meta_offset(65) as u64,
    ];
    let mut hash: u64 = 0xcbf2_9ce4_8422_2325;
    let mut rest: &[u64] = &numbers;
    while let [number, tail @ ..] = rest {
        let mut byte = 0;
        while byte < 8 {
            hash = (hash ^ (*number >> (8 * byte) & 0xff)).wrapping_mul(0x100_0000_01b3);
            byte += 1;
        }
        rest = tail;
    }
    hash
}

// What LAYOUT.md says.  A change here is a new layout version.
const _: () = {
    assert!(WORD_TX_TAIL * 8 == 128 && WORD_TX_HEAD * 8 == 256);
    assert!(WORD_RET_TAIL * 8 == 384 && WORD_RET_HEAD * 8 == 512);
    assert!(WORD_CONSUMER_ASLEEP * 8 == 640 && WORD_OWNER_ASLEEP * 8 == 768);
    assert!(WORD_TX_ENTRIES * 8 == 1024 && DESCRIPTOR_WORDS * 8 == 64);
    assert!(tx_capacity(1) == 4 && tx_capacity(2) == 4 && tx_capacity(3) == 8);
    assert!(ret_capacity(1) == 1 && ret_capacity(5) == 8);
    assert!(word_ret_entries(4) * 8 == 1024 + 4 * 64);
    assert!(meta_offset(0) == 0 && meta_offset(1) == 64 && meta_offset(64) == 64);
};

#[cfg(all(test, not(loom)))]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn layout_hash_is_that_of_version_1() {
        assert_eq!((LAYOUT_VERSION, LAYOUT_HASH), (1, 0x053d_ad86_ddce_94d0));
    }

    #[test]
    fn descriptor_fields_lie_where_the_text_says() {
        let descriptor = Descriptor {
            seq: 1,
            slot: 2,
            generation: 3,
            item_first: 4,
            tag: 5,
            data_len: 6,
            n_items: 7,
            n_meta: 8,
            kind: 9,
            flags: 10,
            attempt: 11,
            skipped: 12,
        };
        let bytes: Vec<u8> = descriptor
            .pack()
            .iter()
            .flat_map(|word| word.to_le_bytes())
            .collect();
        let u64_at = |at: usize| u64::from_le_bytes(bytes[at..at + 8].try_into().unwrap());
        let u32_at = |at: usize| u32::from_le_bytes(bytes[at..at + 4].try_into().unwrap());
        let u16_at = |at: usize| u16::from_le_bytes(bytes[at..at + 2].try_into().unwrap());
        assert_eq!((u64_at(0), u32_at(8), u32_at(12)), (1, 2, 3));
        assert_eq!((u64_at(16), u64_at(24), u64_at(32)), (4, 5, 6));
        assert_eq!((u32_at(40), u32_at(44), u16_at(48), u16_at(50)), (7, 8, 9, 10));
        assert_eq!((u32_at(52), u32_at(56), u32_at(60)), (11, 12, 0));
    }

    proptest! {
        #[test]
        fn descriptor_survives_memory(words in any::<[u64; DESCRIPTOR_WORDS]>()) {
            let descriptor = Descriptor::unpack(&words);
            prop_assert_eq!(Descriptor::unpack(&descriptor.pack()), descriptor);
        }

        #[test]
        fn meta_lies_behind_the_data_and_aligned(data_len in 0..usize::MAX / 2, n_meta in 1..1_usize << 40) {
            let end = stack_bytes(data_len, n_meta).unwrap();
            prop_assert!(meta_offset(data_len) >= data_len && meta_offset(data_len) < data_len + 64);
            prop_assert_eq!(meta_offset(data_len) % 64, 0);
            prop_assert_eq!(end, meta_offset(data_len) + 8 * n_meta);
        }

        #[test]
        fn queues_do_not_overlap(depth in 1..=1_u32 << 12, n_slots in 1..=1_u32 << 20) {
            let (tx, ret) = (tx_capacity(depth), ret_capacity(n_slots));
            prop_assert!(tx.is_power_of_two() && tx >= u64::from(depth) + 2);
            prop_assert!(ret.is_power_of_two() && ret >= u64::from(n_slots));
            prop_assert_eq!(word_ret_entries(tx), WORD_TX_ENTRIES + tx as usize * DESCRIPTOR_WORDS);
            prop_assert_eq!(control_words(tx, ret), word_ret_entries(tx) + ret as usize);
        }
    }

    #[test]
    fn sizes_that_are_no_number_are_refused() {
        assert_eq!(stack_bytes(usize::MAX, 1), None);
        assert_eq!(stack_bytes(0, usize::MAX), None);
        assert_eq!(stack_bytes(usize::MAX, 0), Some(usize::MAX));
    }
}
