//! A seeded bad network in virtual time. It knows sizes, moments and chance; it must know nothing of netplay.
//!
//! Time is a [`Duration`](std::time::Duration) since an origin of the caller's choosing and is always passed in; chance comes
//! from a seed. The same calls with the same seed give the same outcome, to the packet and to the nanosecond.
//!
//! | module | noun |
//! |---|---|
//! | [`conditions`] | how bad one direction of a link is: lag, jitter, loss, duplication, reordering, rate |
//! | [`pipe`] | one direction of a link: packets go in, and come out later, twice or never |
//! | [`network`] | numbered nodes with a pipe for every ordered pair |
//! | [`random`] | the pseudo-random numbers behind it all |

pub mod conditions;
pub mod network;
pub mod pipe;
pub mod random;

pub use conditions::{Conditions, Loss};
pub use network::{Network, Node};
pub use pipe::{Pipe, PipeStats, Verdict};
pub use random::Random;
