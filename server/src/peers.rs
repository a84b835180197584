//! Who is connected: how many connections each peer has, and what is in memory for it.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::ledger::{IN_FLIGHT, Room, room};

/// How many connections beyond its own a peer may have among those that are only told of the service's
/// health.
const RESERVED: usize = 8;

#[derive(Debug, Default)]
pub(crate) struct Peers {
    by_address: Mutex<HashMap<IpAddr, Peer>>,
}

#[derive(Debug)]
struct Peer {
    connections: usize,
    reserved: usize,
    room: Room,
}

/// One connection of a peer.
#[derive(Debug)]
pub(crate) struct Place {
    peers: Arc<Peers>,
    address: IpAddr,
    is_reserved: bool,
    pub(crate) room: Room,
}

impl Peers {
    fn by_address(&self) -> MutexGuard<'_, HashMap<IpAddr, Peer>> {
        self.by_address.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A place for one more connection of this peer, of which there may be `limit`.
    pub(crate) fn enter(self: &Arc<Self>, address: IpAddr, limit: usize) -> Option<Place> {
        self.place(address, limit, false)
    }

    /// A place among those above the limit.
    pub(crate) fn enter_reserve(self: &Arc<Self>, address: IpAddr) -> Option<Place> {
        self.place(address, RESERVED, true)
    }

    fn place(self: &Arc<Self>, address: IpAddr, limit: usize, is_reserved: bool) -> Option<Place> {
        let address = whose(address);
        let mut peers = self.by_address();
        let [_, of_peer, _] = IN_FLIGHT;
        let peer =
            peers.entry(address).or_insert_with(|| Peer { connections: 0, reserved: 0, room: room(of_peer) });
        let count = if is_reserved { &mut peer.reserved } else { &mut peer.connections };
        let has_place = *count < limit;
        *count += usize::from(has_place);
        let room = Arc::clone(&peer.room);
        if peer.connections + peer.reserved == 0 {
            peers.remove(&address);
        }
        has_place.then(|| Place { peers: Arc::clone(self), address, is_reserved, room })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut peers = self.peers.by_address();
        let Some(peer) = peers.get_mut(&self.address) else { return };
        let count = if self.is_reserved { &mut peer.reserved } else { &mut peer.connections };
        *count = count.saturating_sub(1);
        if peer.connections + peer.reserved == 0 {
            peers.remove(&self.address);
        }
    }
}

/// Whoever has one IPv6 address has the other 2⁶⁴ of its network as well.
fn whose(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(address) => {
            let [a, b, c, d, ..] = address.segments();
            IpAddr::V6(Ipv6Addr::new(a, b, c, d, 0, 0, 0, 0))
        }
        v4 => v4,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_peer_has_its_places_and_leaves_nothing() {
        let peers = Arc::new(Peers::default());
        let address = |text: &str| text.parse::<IpAddr>().unwrap();
        let one: Vec<_> = (0..3).filter_map(|_| peers.enter(address("::ffff:10.0.0.1"), 2)).collect();
        assert_eq!(one.len(), 2);
        assert!(peers.enter(address("10.0.0.1"), 2).is_none(), "the same, otherwise written");
        let other = peers.enter(address("10.0.0.2"), 2);
        assert!(other.is_some());
        let reserved: Vec<_> = (0..20).filter_map(|_| peers.enter_reserve(address("10.0.0.1"))).collect();
        assert_eq!(reserved.len(), RESERVED);
        let network: Vec<_> =
            (1..9).filter_map(|at| peers.enter(address(&format!("2001:db8::{at}")), 2)).collect();
        assert_eq!(network.len(), 2, "one network is one peer");
        assert!(peers.enter(address("10.0.0.9"), 0).is_none());
        drop((one, other, reserved, network));
        assert!(peers.by_address().is_empty());
    }
}
