//! How many connections each address has, so that none takes every place.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};

/// Connections by address; only those that are counted.
#[derive(Debug, Default)]
pub(super) struct Addresses {
    counts: HashMap<IpAddr, usize>,
    /// Where each connection is counted, by its number: mostly none is, so that it has no place in what each has.
    of: HashMap<u32, IpAddr>,
}

impl Addresses {
    /// Whether this address has fewer than `most`.
    pub(super) fn has_room(&self, ip: IpAddr, most: usize) -> bool {
        self.counts.get(&network(ip)).is_none_or(|n| *n < most)
    }

    /// Counts one more of this address.
    pub(super) fn enter(&mut self, number: u32, ip: IpAddr) {
        let ip = network(ip);
        *self.counts.entry(ip).or_default() += 1;
        self.of.insert(number, ip);
    }

    /// One has gone, if it was counted.
    pub(super) fn leave(&mut self, number: u32) {
        if let Some(ip) = self.of.remove(&number)
            && let Some(count) = self.counts.get_mut(&ip)
        {
            *count -= 1;
            if *count == 0 {
                self.counts.remove(&ip);
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
        assert!(addresses.has_room(a, 2));
        addresses.enter(1, a);
        assert!(addresses.has_room(a, 2));
        addresses.enter(2, a);
        assert!(!addresses.has_room(a, 2) && addresses.has_room(b, 2));
        addresses.enter(3, b);
        addresses.leave(4);
        assert!(!addresses.has_room(a, 2));
        addresses.leave(1);
        assert!(addresses.has_room(a, 2));
        addresses.enter(1, a);
        assert!(!addresses.has_room(a, 2));
        (1..=3).for_each(|number| addresses.leave(number));
        assert!(addresses.counts.is_empty() && addresses.of.is_empty());
    }
}
