//! Somebody on the way who hears datagrams, and says them again: late, often, cut short, with a bit changed, or from elsewhere.
//! It has no keys and stops nothing.

use netplay_netsim::Node;

use crate::world::{Datagram, World};

/// How many datagrams it remembers.
const REMEMBERED: usize = 64;

/// The node it speaks from when it does not pretend to be another.
const ELSEWHERE: Node = 900;

/// One who hears what is sent.
#[derive(Default)]
pub(crate) struct ThirdParty {
    heard: Vec<Datagram>,
    count: usize,
}

impl ThirdParty {
    /// Takes in what has been sent lately. What it remembers is a mixture of old and new.
    pub(crate) fn listen(&mut self, world: &mut World) {
        for datagram in world.tap.replace(Vec::new()).into_iter().flatten() {
            self.count += 1;
            if self.heard.len() < REMEMBERED {
                self.heard.push(datagram);
            } else {
                self.heard[self.count * 7 % REMEMBERED] = datagram;
            }
        }
    }

    /// Says something again.
    pub(crate) fn copy(
        &self,
        world: &mut World,
        which: u64,
        is_from_elsewhere: bool,
        garbled_bit: Option<u64>,
        length: Option<u64>,
        count: u32,
    ) {
        if self.heard.is_empty() {
            return;
        }
        let datagram = &self.heard[which as usize % self.heard.len()];
        let mut bytes = datagram.bytes.to_vec();
        bytes.truncate(length.map_or(usize::MAX, |length| length as usize));
        if let Some(bit) = garbled_bit
            && !bytes.is_empty()
        {
            let bit = bit as usize % (bytes.len() * 8);
            bytes[bit / 8] ^= 1 << (bit % 8);
        }
        let from = if is_from_elsewhere { ELSEWHERE } else { datagram.from };
        for _ in 0..count {
            world
                .network
                .send(world.now, from, datagram.to, bytes.len(), bytes.clone().into());
        }
    }
}
