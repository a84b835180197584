//! Task ids: UUIDs that contain an address.
//!
//! A minted id is a UUID of version 8 (RFC 9562). It contains the address of its task's line, so a poll needs
//! no hashing and no search:
//!
//! ```text
//!  hi  63            48 47                           16 15  12 11         0
//!      ┌───────────────┬───────────────────────────────┬──────┬───────────┐
//!      │ generation    │ slot                          │ ver  │ generation│
//!      │ bits 12..28   │ 32 bits                       │ 8    │ bits 0..12│
//!      └───────────────┴───────────────────────────────┴──────┴───────────┘
//!  lo  63 62 61    58 57                                                  0
//!      ┌─────┬───────┬────────────────────────────────────────────────────┐
//!      │ var │ gen.  │ tag: 58 bits of SipHash-2-4(store key, slot, gen.) │
//!      │ 10  │ 28..32│                                                    │
//!      └─────┴───────┴────────────────────────────────────────────────────┘
//! ```
//!
//! The tag is a keyed hash. So an id cannot be guessed from another one, and the store can tell an id that it
//! minted from one that it did not mint, without keeping either (I11). The generation counts the tenants of a
//! slot, so an id is never minted twice (I7).

use std::fmt;
use std::hash::Hasher;
use std::str::FromStr;

use siphasher::sip::SipHasher24;
use uuid::Uuid;

const VERSION: u64 = 0x8000;
const VERSION_MASK: u64 = 0xF000;
const VARIANT: u64 = 0b10 << 62;
const VARIANT_MASK: u64 = 0b11 << 62;
const TAG_BITS: u32 = 58;
const TAG_MASK: u64 = (1 << TAG_BITS) - 1;
const SLOT_SHIFT: u32 = 16;

// The part that cannot be guessed has at least 58 bits, and each of the 128 bits has a use.
const _: () = assert!(TAG_BITS >= 58 && TAG_BITS + 32 + 32 + 4 + 2 == 128);

/// The address of a task: its slot, and which tenant of the slot it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Address {
    pub(crate) slot: u32,
    pub(crate) generation: u32,
}

/// The id of a task: 128 bits that print and parse as a UUID.
///
/// Ids that the store mints are UUIDs of version 8 and contain their task's address. A client may choose an
/// id itself, a UUID of any version: see [`NewTask::id`](crate::NewTask::id).
///
/// ```
/// use inflight::TaskId;
/// use uuid::Uuid;
///
/// let id: TaskId = "67e55044-10b1-426f-9247-bb680e5fe0c8".parse()?;
/// assert_eq!(id.to_string(), "67e55044-10b1-426f-9247-bb680e5fe0c8");
/// assert_eq!(TaskId::from(Uuid::from(id)), id);
/// # Ok::<(), inflight::ParseIdError>(())
/// ```
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TaskId {
    hi: u64,
    lo: u64,
}

impl TaskId {
    /// The id with these 128 bits, most significant first.
    ///
    /// ```
    /// # use inflight::TaskId;
    /// assert_eq!(TaskId::from_u128(1).to_string(), "00000000-0000-0000-0000-000000000001");
    /// ```
    #[must_use]
    pub const fn from_u128(bits: u128) -> Self {
        Self::from_halves((bits >> 64) as u64, bits as u64)
    }

    /// The 128 bits of the id.
    ///
    /// ```
    /// # use inflight::TaskId;
    /// assert_eq!(TaskId::from_u128(42).as_u128(), 42);
    /// ```
    #[must_use]
    pub const fn as_u128(self) -> u128 {
        (self.hi as u128) << 64 | self.lo as u128
    }

    pub(crate) const fn from_halves(hi: u64, lo: u64) -> Self {
        Self { hi, lo }
    }

    /// The half that contains the tag. It is the stamp of the task's line.
    #[inline(always)]
    pub(crate) const fn stamp(self) -> u64 {
        self.lo
    }

    /// The half that contains the slot.
    #[inline(always)]
    pub(crate) const fn place(self) -> u64 {
        self.hi
    }

    /// The address in this id. It has a meaning only in a minted id.
    pub(crate) const fn address(self) -> Address {
        Address { slot: self.slot(), generation: self.generation() }
    }

    /// The slot in this id, by a shift and a mask. It has a meaning only in a minted id.
    #[inline(always)]
    pub(crate) const fn slot(self) -> u32 {
        (self.hi >> SLOT_SHIFT) as u32
    }

    /// The generation in this id. It has a meaning only in a minted id.
    pub(crate) const fn generation(self) -> u32 {
        let low = self.hi & 0xFFF;
        let mid = self.hi >> 48;
        let high = self.lo >> TAG_BITS & 0xF;
        (high << 28 | mid << 12 | low) as u32
    }

    /// Whether the id has the form of a minted one. A client's UUID of version 8 has it, too.
    pub(crate) const fn has_address_form(self) -> bool {
        self.hi & VERSION_MASK == VERSION && self.lo & VARIANT_MASK == VARIANT
    }
}

impl fmt::Display for TaskId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&Uuid::from(*self), f)
    }
}

impl fmt::Debug for TaskId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "TaskId({self})")
    }
}

impl From<Uuid> for TaskId {
    fn from(uuid: Uuid) -> Self {
        Self::from_u128(uuid.as_u128())
    }
}

impl From<TaskId> for Uuid {
    fn from(id: TaskId) -> Self {
        Uuid::from_u128(id.as_u128())
    }
}

impl FromStr for TaskId {
    type Err = ParseIdError;

    /// Parses any of the forms of a UUID: hyphenated, simple, braced or as a URN.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Uuid::try_parse(text).map(Self::from).map_err(|_| ParseIdError(()))
    }
}

/// The parsed text is not a UUID.
///
/// ```
/// # use inflight::TaskId;
/// assert!("not a UUID".parse::<TaskId>().is_err());
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ParseIdError(());

impl fmt::Display for ParseIdError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a task id is a UUID, for example 67e55044-10b1-426f-9247-bb680e5fe0c8")
    }
}

impl std::error::Error for ParseIdError {}

/// Mints and verifies the ids of one store, with the key of their tags.
pub(crate) struct Mint(SipHasher24);

impl Mint {
    pub(crate) fn new(key: &[u8; 16]) -> Self {
        Self(SipHasher24::new_with_key(key))
    }

    /// The id of tenant `generation` of `slot`.
    pub(crate) fn mint(&self, slot: u32, generation: u32) -> TaskId {
        let (slot, generation) = (u64::from(slot), u64::from(generation));
        let mut tag = self.0;
        tag.write_u64(slot << 32 | generation);
        let hi = (generation >> 12 & 0xFFFF) << 48 | slot << SLOT_SHIFT | VERSION | (generation & 0xFFF);
        let lo = VARIANT | generation >> 28 << TAG_BITS | (tag.finish() & TAG_MASK);
        TaskId::from_halves(hi, lo)
    }

    /// Whether `id` is one that this key mints. Its task may be gone.
    pub(crate) fn verifies(&self, id: TaskId) -> bool {
        id.has_address_form() && self.mint(id.slot(), id.generation()) == id
    }
}

impl fmt::Debug for Mint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Mint(..)") // The key stays out of logs.
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: [u8; 16] = *b"sixteen key byte";

    #[test]
    fn i7_an_id_carries_its_address() {
        let mint = Mint::new(&KEY);
        for slot in [0, 1, 77, 0xFFFF, 0x10000, u32::MAX] {
            for generation in [1, 2, 0xFFF, 0x1000, 0x0FFF_FFFF, 0x1000_0000, u32::MAX] {
                let id = mint.mint(slot, generation);
                assert_eq!((id.slot(), id.generation()), (slot, generation));
                assert!(mint.verifies(id));
                let uuid = Uuid::from(id);
                assert_eq!(uuid.get_version_num(), 8);
                assert_eq!(uuid.get_variant(), uuid::Variant::RFC4122);
                assert_eq!(id.to_string().parse(), Ok(id));
            }
        }
    }

    #[test]
    fn i11_every_bit_of_an_id_is_verified() {
        let mint = Mint::new(&KEY);
        let id = mint.mint(77, 3);
        for bit in 0..128 {
            assert!(!mint.verifies(TaskId::from_u128(id.as_u128() ^ (1 << bit))), "bit {bit}");
        }
        assert!(!Mint::new(b"another key, 16b").verifies(id));
    }

    #[test]
    fn what_is_not_a_uuid_is_refused() {
        for text in ["", "7", "67e55044-10b1-426f-9247-bb680e5fe0cg", "67e55044-10b1"] {
            assert_eq!(text.parse::<TaskId>(), Err(ParseIdError(())), "{text:?}");
        }
    }
}
