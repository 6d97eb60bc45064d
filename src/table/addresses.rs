//! How many connections each address has, so that none takes every place.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};

/// Connections by address; only those that are counted.
#[derive(Debug, Default)]
pub(super) struct Addresses(HashMap<IpAddr, usize>);

impl Addresses {
    /// Counts one more of this address, unless it has `most` already. What to give back when it goes.
    pub(super) fn enter(&mut self, ip: IpAddr, most: usize) -> Option<IpAddr> {
        let ip = network(ip);
        let count = self.0.entry(ip).or_default();
        let room = *count < most;
        *count += usize::from(room);
        room.then_some(ip)
    }

    /// One has gone.
    pub(super) fn leave(&mut self, ip: &IpAddr) {
        if let Some(count) = self.0.get_mut(ip) {
            *count -= 1;
            if *count == 0 {
                self.0.remove(ip);
            }
        }
    }
}

/// What counts as one address. Who has one of IPv6 has as good as always a network of 64 bits; an IPv4 address may
/// come in the form of IPv6.
fn network(ip: IpAddr) -> IpAddr {
    match ip.to_canonical() {
        IpAddr::V6(ip) => {
            let [a, b, c, d, ..] = ip.segments();
            Ipv6Addr::new(a, b, c, d, 0, 0, 0, 0).into()
        }
        ip => ip,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_one_address() {
        for (ip, counts_as) in [
            ("192.0.2.7", "192.0.2.7"),
            ("::ffff:192.0.2.7", "192.0.2.7"),
            ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::"),
            ("2001:db8:1:2:ffff::", "2001:db8:1:2::"),
            ("2001:db8:1:3::1", "2001:db8:1:3::"),
            ("::1", "::"),
        ] {
            let ip: IpAddr = ip.parse().unwrap();
            assert_eq!(network(ip), counts_as.parse::<IpAddr>().unwrap(), "{ip}");
        }
    }

    #[test]
    fn each_has_its_own_count_and_none_is_kept_for_nothing() {
        let mut addresses = Addresses::default();
        let (a, b) = ("192.0.2.1".parse().unwrap(), "192.0.2.2".parse().unwrap());
        assert_eq!(addresses.enter(a, 2), Some(a));
        assert_eq!(addresses.enter(a, 2), Some(a));
        assert_eq!(addresses.enter(a, 2), None);
        assert_eq!(addresses.enter(b, 2), Some(b));
        addresses.leave(&a);
        assert_eq!(addresses.enter(a, 2), Some(a));
        for ip in [a, a, b, b] {
            addresses.leave(&ip);
        }
        assert!(addresses.0.is_empty());
    }
}
