//! What reliable messages cost the one who must keep them until its game takes them.
//!
//! Each side may send units (whole messages or fragments) up to a total cost that the other side raises as its game takes
//! messages out. So a game that sleeps bounds what its peers can make it hold, and nothing reliable is ever dropped.

use crate::wire::{fragment_count, fragment_len};

/// What may be sent before the first grant, and what may wait for a game that does not look. Both sides know it.
pub(crate) const BASE_CREDIT: u64 = 1 << 20;

/// What bulk leaves for small messages.
pub(crate) const BULK_RESERVE: u64 = 64 << 10;

/// The cost of a unit beside its bytes: what keeping it takes.
const UNIT_OVERHEAD: u64 = 64;

/// Returns the cost of one unit.
pub(crate) const fn unit_cost(len: usize) -> u64 {
    len as u64 + UNIT_OVERHEAD
}

/// Returns the cost of a message, whole or in fragments.
pub(crate) const fn message_cost(size: usize) -> u64 {
    size as u64 + UNIT_OVERHEAD * fragment_count(size) as u64
}

const _: () = assert!(message_cost(5000) == 4 * unit_cost(fragment_len(5000, 0)) + unit_cost(fragment_len(5000, 4)));
