//! Which addresses may speak for others.

use std::fmt;
use std::net::{IpAddr, Ipv6Addr};

/// The proxies whose word counts on who their client is: in a PROXY header, in `X-Forwarded-For` and in `Forwarded`.
/// From everybody else these are worth nothing, as anybody can write them. Default: nobody.
///
/// ```
/// use csp_websocket::TrustedProxies;
///
/// let mut proxies = TrustedProxies::default();
/// proxies.allow("127.0.0.1")?;
/// proxies.allow("10.0.0.0/8")?;
/// assert!(proxies.trusts(Some("10.1.2.3".parse()?)));
/// assert!(!proxies.trusts(Some("192.0.2.1".parse()?)));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, Default)]
pub struct TrustedProxies {
    networks: Vec<Network>,
    unix: bool,
}

/// An entry for [`TrustedProxies::allow`] that is neither an address, nor a network, nor `unix`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ProxyError;

impl TrustedProxies {
    /// Trusts one more:
    ///
    /// - `192.0.2.1`, `2001:db8::1`: this address;
    /// - `10.0.0.0/8`, `fd00::/8`: every address of this network; no bit behind its length may be set;
    /// - `unix`: whoever may connect to the Unix socket that the gateway listens on.
    ///
    /// An IPv4 address in the form of IPv6 is that IPv4 address.
    ///
    /// # Errors
    /// [`ProxyError`] for anything else.
    pub fn allow(&mut self, proxy: &str) -> Result<(), ProxyError> {
        if proxy == "unix" {
            self.unix = true;
            return Ok(());
        }
        let network = Network::parse(proxy).ok_or(ProxyError)?;
        if !self.networks.contains(&network) {
            self.networks.push(network);
        }
        Ok(())
    }

    /// True if a peer with this address is trusted; one without has come by a Unix socket.
    pub fn trusts(&self, peer: Option<IpAddr>) -> bool {
        match peer {
            Some(ip) => self.networks.iter().any(|network| network.contains(ip)),
            None => self.unix,
        }
    }

    /// True if nobody is trusted.
    pub fn is_empty(&self) -> bool {
        self.networks.is_empty() && !self.unix
    }

    /// True if every address is trusted, at least of one version of IP: then each client says who it is.
    pub fn is_open(&self) -> bool {
        let whole = |network: &Network| network.len == 0 || *network == Network::V4;
        self.networks.iter().any(whole)
    }
}

impl fmt::Display for TrustedProxies {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_empty() {
            return f.write_str("none");
        }
        let mut names: Vec<String> = self.networks.iter().map(Network::to_string).collect();
        names.extend(self.unix.then(|| "unix".to_owned()));
        f.write_str(&names.join(" "))
    }
}

impl fmt::Display for ProxyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a proxy is an IP address, a network such as 10.0.0.0/8, or 'unix'")
    }
}

impl std::error::Error for ProxyError {}

/// The addresses whose first bits are these.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Network {
    /// An IPv4 address in the form of IPv6.
    first: u128,
    /// How many bits count, of 128.
    len: u32,
}

impl Network {
    /// All of IPv4.
    const V4: Network = Network {
        first: 0xffff << 32,
        len: 96,
    };

    fn parse(text: &str) -> Option<Network> {
        let (address, len) = match text.split_once('/') {
            Some((address, len)) => (address, Some(len)),
            None => (text, None),
        };
        let ip: IpAddr = address.parse().ok()?;
        let bits = if ip.is_ipv4() { 32 } else { 128 };
        let len = match len {
            None => bits,
            // `parse` alone would take a sign.
            Some(len) if len.bytes().all(|byte| byte.is_ascii_digit()) => len.parse().ok()?,
            Some(_) => return None,
        };
        let network = Network {
            first: number(ip),
            len: (len <= bits).then_some(len)? + (128 - bits),
        };
        (network.first & !network.mask() == 0).then_some(network)
    }

    fn mask(self) -> u128 {
        u128::MAX.checked_shl(128 - self.len).unwrap_or(0)
    }

    fn contains(self, ip: IpAddr) -> bool {
        number(ip) & self.mask() == self.first
    }
}

impl fmt::Display for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ip = Ipv6Addr::from_bits(self.first);
        let (ip, len, bits) = match ip.to_ipv4_mapped() {
            Some(ip) if self.len >= 96 => (IpAddr::V4(ip), self.len - 96, 32),
            _ => (IpAddr::V6(ip), self.len, 128),
        };
        write!(f, "{ip}")?;
        if len < bits {
            write!(f, "/{len}")?;
        }
        Ok(())
    }
}

fn number(ip: IpAddr) -> u128 {
    match ip {
        IpAddr::V4(ip) => ip.to_ipv6_mapped().to_bits(),
        IpAddr::V6(ip) => ip.to_bits(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn trusted(entries: &[&str]) -> TrustedProxies {
        let mut proxies = TrustedProxies::default();
        for entry in entries {
            proxies.allow(entry).unwrap();
        }
        proxies
    }

    #[test]
    fn who_is_trusted() {
        let cases = [
            ("192.0.2.1", "192.0.2.1", true),
            ("192.0.2.1", "::ffff:192.0.2.1", true),
            ("::ffff:192.0.2.1", "192.0.2.1", true),
            ("192.0.2.1", "192.0.2.2", false),
            ("192.0.2.1", "::192.0.2.1", false),
            ("10.0.0.0/8", "10.255.255.255", true),
            ("10.0.0.0/8", "11.0.0.0", false),
            ("10.0.0.0/8", "9.255.255.255", false),
            ("10.0.0.0/8", "::ffff:10.1.2.3", true),
            ("::ffff:10.0.0.0/104", "10.1.2.3", true),
            ("10.0.0.4/30", "10.0.0.7", true),
            ("10.0.0.4/30", "10.0.0.8", false),
            ("10.0.0.4/32", "10.0.0.4", true),
            ("0.0.0.0/0", "255.255.255.255", true),
            ("0.0.0.0/0", "::1", false),
            ("::1", "::1", true),
            ("::1", "127.0.0.1", false),
            ("fd00::/8", "fdff::1", true),
            ("fd00::/8", "fe00::", false),
            ("2001:db8::/32", "2001:db8:ffff::1", true),
            ("2001:db8::/32", "2001:db9::", false),
            ("::/0", "2001:db8::1", true),
            ("::/0", "192.0.2.1", true),
        ];
        for (entry, ip, expected) in cases {
            let got = trusted(&[entry]).trusts(Some(ip.parse().unwrap()));
            assert_eq!(got, expected, "{entry} and {ip}");
            assert!(!trusted(&[entry]).trusts(None), "{entry}");
        }
        assert!(trusted(&["unix"]).trusts(None));
        assert!(!trusted(&["unix"]).trusts(Some([0, 0, 0, 0].into())));
        assert!(!TrustedProxies::default().trusts(None));
    }

    #[test]
    fn entries_that_are_none() {
        for entry in [
            "",
            "proxy.example",
            "10.0.0.0/33",
            "10.0.0.0/",
            "10.0.0.0/+8",
            "10.0.0.0/8/8",
            "10.0.0.0/4294967295",
            "10.0.0.0/4294967296",
            "10.1.0.0/8",
            "10.0.0.1/31",
            "010.0.0.0/8",
            "10.0.0/8",
            "10.0.0.0 ",
            "127.0.0.1:80",
            "[::1]",
            "::1/129",
            "fd00::1/8",
            "fe80::1%eth0",
            "Unix",
            "unix:/path",
            "*",
        ] {
            let got = TrustedProxies::default().allow(entry);
            assert_eq!(got, Err(ProxyError), "{entry:?}");
        }
    }

    #[test]
    fn printed() {
        assert_eq!(TrustedProxies::default().to_string(), "none");
        let entries = ["10.0.0.0/8", "192.0.2.1", "fd00::/8", "::1", "::/0", "unix"];
        let all = trusted(&entries);
        assert_eq!(all.to_string(), entries.join(" "));
        let mapped = trusted(&["::ffff:10.0.0.0/104", "10.0.0.0/8", "unix", "unix"]);
        assert_eq!(mapped.to_string(), "10.0.0.0/8 unix");
    }

    #[test]
    fn who_trusts_all_is_told() {
        for (entry, expected) in [
            ("0.0.0.0/0", true),
            ("::/0", true),
            ("10.0.0.0/8", false),
            ("128.0.0.0/1", false),
            ("unix", false),
        ] {
            assert_eq!(trusted(&[entry]).is_open(), expected, "{entry}");
        }
        assert!(TrustedProxies::default().is_empty() && !trusted(&["unix"]).is_empty());
    }
}
