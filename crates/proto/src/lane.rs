//! A lane: one channel and one delivery, with its own sequence. 1024 of them per connection and direction, made when first used.

use crate::message::Delivery;

/// Numbers a lane: the channel in the low eight bits, then lossy, then unordered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct LaneId(pub(crate) u16);

impl LaneId {
    pub(crate) fn new(channel: u8, delivery: Delivery) -> Self {
        Self(u16::from(channel) | u16::from(delivery.is_lossy) << 8 | u16::from(!delivery.is_ordered) << 9)
    }

    pub(crate) fn channel(self) -> u8 {
        self.0 as u8
    }

    pub(crate) fn delivery(self) -> Delivery {
        Delivery {
            is_lossy: self.0 & 1 << 8 != 0,
            is_ordered: self.0 & 1 << 9 == 0,
        }
    }
}

/// The lanes in use, few as a rule: a sorted list is smaller and faster than a map.
#[derive(Debug)]
pub(crate) struct LaneMap<T> {
    lanes: Vec<(LaneId, T)>,
}

impl<T> Default for LaneMap<T> {
    fn default() -> Self {
        Self { lanes: Vec::new() }
    }
}

impl<T> LaneMap<T> {
    /// Returns the lane if it has been used.
    pub(crate) fn get(&self, id: LaneId) -> Option<&T> {
        self.place(id).ok().map(|place| &self.lanes[place].1)
    }

    /// Returns the lane, to change it, if it has been used.
    pub(crate) fn get_mut(&mut self, id: LaneId) -> Option<&mut T> {
        let place = self.place(id).ok()?;
        Some(&mut self.lanes[place].1)
    }

    /// Returns the lane, made now if it is new.
    pub(crate) fn entry(&mut self, id: LaneId, make: impl FnOnce() -> T) -> &mut T {
        let place = self.place(id).unwrap_or_else(|place| {
            self.lanes.insert(place, (id, make()));
            place
        });
        &mut self.lanes[place].1
    }

    /// Returns the lanes in the order of their ids.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (LaneId, &T)> {
        self.lanes.iter().map(|(id, lane)| (*id, lane))
    }

    fn place(&self, id: LaneId) -> Result<usize, usize> {
        self.lanes.binary_search_by_key(&id, |&(id, _)| id)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_channel_and_delivery_has_its_own_lane() {
        let mut map = LaneMap::default();
        for channel in 0..=255 {
            for delivery in [
                Delivery::RELIABLE,
                Delivery::RELIABLE_UNORDERED,
                Delivery::LOSSY,
                Delivery::LOSSY_UNORDERED,
            ] {
                let id = LaneId::new(channel, delivery);
                assert_eq!((id.channel(), id.delivery()), (channel, delivery));
                assert!(map.get_mut(id).is_none());
                map.entry(id, || (channel, delivery));
            }
        }
        for lane in 0..1024 {
            let id = LaneId(lane);
            assert_eq!(map.get_mut(id), Some(&mut (id.channel(), id.delivery())));
        }
    }
}
