//! Listening ports decide the protocol.

use std::fmt;
use std::ops::RangeInclusive;
use std::str::FromStr;

use super::TransportKind;

/// A set of ports, written as `6379` or `6379,16379-16389`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PortSet(Vec<RangeInclusive<u16>>);

impl PortSet {
    /// The ports of one range.
    pub fn range(range: RangeInclusive<u16>) -> Self {
        Self(vec![range])
    }

    /// The ports of all these sets, in order, neighbouring ranges joined.
    pub fn union(sets: impl IntoIterator<Item = Self>) -> Self {
        let mut ranges: Vec<_> = sets.into_iter().flat_map(|set| set.0).collect();
        ranges.sort_unstable_by_key(|range| (*range.start(), *range.end()));
        let mut joined: Vec<RangeInclusive<u16>> = Vec::new();
        for range in ranges {
            match joined.last_mut() {
                Some(last) if u32::from(*range.start()) <= u32::from(*last.end()) + 1 => {
                    *last = *last.start()..=*last.end().max(range.end());
                }
                _ => joined.push(range),
            }
        }
        Self(joined)
    }

    /// Each port.
    pub fn iter(&self) -> impl Iterator<Item = u16> + '_ {
        self.0.iter().flat_map(Clone::clone)
    }
}

/// Why a text is not a set of ports.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "'{text}' is no port or range of ports: expected a number from 1 to 65535, or two as LOW-HIGH"
)]
pub struct PortSetError {
    text: String,
}

impl FromStr for PortSet {
    type Err = PortSetError;

    fn from_str(text: &str) -> Result<Self, PortSetError> {
        let range = |part: &str| {
            let port = |text: &str| text.trim().parse().ok().filter(|port| *port > 0_u16);
            let range = match part.split_once('-') {
                Some((low, high)) => port(low)?..=port(high)?,
                None => port(part)?..=port(part)?,
            };
            (!range.is_empty()).then_some(range)
        };
        text.split(',')
            .map(|part| {
                range(part).ok_or_else(|| PortSetError {
                    text: part.trim().to_owned(),
                })
            })
            .collect::<Result<_, _>>()
            .map(Self)
    }
}

impl fmt::Display for PortSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, range) in self.0.iter().enumerate() {
            let comma = if i > 0 { "," } else { "" };
            match (range.start(), range.end()) {
                (low, high) if low == high => write!(f, "{comma}{low}")?,
                (low, high) => write!(f, "{comma}{low}-{high}")?,
            }
        }
        Ok(())
    }
}

/// The place of a protocol in its plan.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ProtocolIndex(pub u16);

/// Two protocols of equal standing that claim the same port.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Overlap {
    /// The port.
    pub port: u16,
    /// Who has it already.
    pub holder: ProtocolIndex,
}

/// Which protocol listens on which port.
#[derive(Debug, Clone)]
pub struct PortPlan {
    tcp: Box<[Option<Claim>]>,
    udp: Box<[Option<Claim>]>,
}

#[derive(Debug, Clone, Copy)]
struct Claim {
    protocol: ProtocolIndex,
    by_user: bool,
}

impl Default for PortPlan {
    fn default() -> Self {
        let empty = || vec![None; usize::from(u16::MAX) + 1].into_boxed_slice();
        Self {
            tcp: empty(),
            udp: empty(),
        }
    }
}

impl PortPlan {
    /// Gives ports to a protocol. A user's protocol takes ports from a built-in one and keeps
    /// them from it.
    ///
    /// # Errors
    ///
    /// [`Overlap`] when two of the user's protocols, or two built-in ones, claim the same port.
    pub fn claim(
        &mut self,
        protocol: ProtocolIndex,
        ports: &PortSet,
        transport: TransportKind,
        by_user: bool,
    ) -> Result<(), Overlap> {
        for port in ports.iter() {
            let place = &mut self.of_mut(transport)[usize::from(port)];
            match *place {
                Some(claim) if claim.protocol != protocol && claim.by_user == by_user => {
                    return Err(Overlap {
                        port,
                        holder: claim.protocol,
                    });
                }
                Some(claim) if claim.by_user && !by_user => {}
                _ => *place = Some(Claim { protocol, by_user }),
            }
        }
        Ok(())
    }

    /// The protocol that listens on a port.
    #[inline]
    pub fn protocol(&self, transport: TransportKind, port: u16) -> Option<ProtocolIndex> {
        self.claim_on(transport, port).map(|claim| claim.protocol)
    }

    /// Which of two ports is the listening one, judged by the ranges alone: `true` for the
    /// second. A user's port goes before a built-in one; between equals the second, which for a
    /// first packet is its destination.
    pub fn second_listens(&self, transport: TransportKind, first: u16, second: u16) -> bool {
        let standing = |port| match self.claim_on(transport, port) {
            None => 0,
            Some(Claim { by_user: false, .. }) => 1,
            Some(Claim { by_user: true, .. }) => 2,
        };
        standing(second) >= standing(first)
    }

    #[inline]
    fn claim_on(&self, transport: TransportKind, port: u16) -> Option<Claim> {
        let claims = match transport {
            TransportKind::Tcp => &self.tcp,
            TransportKind::Udp => &self.udp,
        };
        claims[usize::from(port)]
    }

    fn of_mut(&mut self, transport: TransportKind) -> &mut [Option<Claim>] {
        match transport {
            TransportKind::Tcp => &mut self.tcp,
            TransportKind::Udp => &mut self.udp,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: ProtocolIndex = ProtocolIndex(0);
    const B: ProtocolIndex = ProtocolIndex(1);

    #[test]
    fn ports_are_written_as_they_are_read() {
        for text in ["6379", "6379,16379-16389", "1-65535"] {
            assert_eq!(text.parse::<PortSet>().unwrap().to_string(), text);
        }
        assert_eq!("5-5".parse::<PortSet>().unwrap().to_string(), "5");
        for text in ["", "0", "70000", "9-8", "a", "1-", "1,,2", "-3"] {
            assert!(text.parse::<PortSet>().is_err(), "{text}");
        }
    }

    #[test]
    fn a_union_joins_neighbours() {
        let sets = ["7102", "7100-7101", "9", "8-9"].map(|text| text.parse().unwrap());
        assert_eq!(PortSet::union(sets).to_string(), "8-9,7100-7102");
    }

    #[test]
    fn a_users_port_goes_before_a_built_in_one_in_either_order() {
        let ports = PortSet::range(6000..=6099);
        let mine = PortSet::range(6050..=6050);
        for user_first in [false, true] {
            let mut plan = PortPlan::default();
            if user_first {
                plan.claim(B, &mine, TransportKind::Tcp, true).unwrap();
            }
            plan.claim(A, &ports, TransportKind::Tcp, false).unwrap();
            if !user_first {
                plan.claim(B, &mine, TransportKind::Tcp, true).unwrap();
            }
            assert_eq!(plan.protocol(TransportKind::Tcp, 6049), Some(A));
            assert_eq!(plan.protocol(TransportKind::Tcp, 6050), Some(B));
            assert_eq!(plan.protocol(TransportKind::Udp, 6050), None);
        }
    }

    #[test]
    fn two_users_protocols_may_not_share_a_port() {
        let mut plan = PortPlan::default();
        plan.claim(A, &PortSet::range(1..=10), TransportKind::Tcp, true)
            .unwrap();
        let overlap = plan.claim(B, &PortSet::range(10..=12), TransportKind::Tcp, true);
        assert_eq!(
            overlap,
            Err(Overlap {
                port: 10,
                holder: A
            })
        );
    }

    #[test]
    fn ranges_tell_the_listening_end() {
        let mut plan = PortPlan::default();
        plan.claim(A, &PortSet::range(7000..=7099), TransportKind::Tcp, false)
            .unwrap();
        plan.claim(
            B,
            &PortSet::range(40_000..=40_000),
            TransportKind::Tcp,
            true,
        )
        .unwrap();
        let second = |first, second| plan.second_listens(TransportKind::Tcp, first, second);
        assert!(second(50_000, 7000));
        assert!(!second(7000, 50_000));
        assert!(second(7000, 40_000));
        assert!(!second(40_000, 7000));
        assert!(second(1, 2));
    }
}
