//! Finding games on the local network, and being found there. It must not know connections: it tells where a game is.
//!
//! | module | noun |
//! |---|---|
//! | `echo` | whether what is said to everybody on a network comes back, for the doctor |
//! | `game` | a game, what it says of itself, and what may be believed of that |
//! | `multicast` | games on other machines: DNS-SD over multicast DNS |
//! | `neighbours` | games in other processes of this machine, over loopback |
//! | `sightings` | what each finder has seen, and what of it the game was told |
//! | `scout` | the thread that does all this |
//!
//! Why two ways: multicast needs an interface besides loopback, and there may be none.
//! Loopback alone also leaves every test inside the machine.

mod echo;
mod game;
mod multicast;
mod neighbours;
mod scout;
mod sightings;

pub use echo::{Echo, echoes};
pub use game::{Advertise, Game, check_app, check_title};
pub(crate) use game::{MAX_PLAYERS, Notice, host_name, new_id};
pub(crate) use scout::{Advert, Call, Command, Scout};
pub(crate) use sightings::Sightings;
pub use sightings::{FinderId, Sighting};

/// Where games are looked for and announced.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Scope {
    /// On this machine and on every network that it is on.
    #[default]
    Network,
    /// On this machine alone: no other interface than loopback is touched.
    Machine,
}
