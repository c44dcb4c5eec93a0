//! Quantities as types: packets, messages, bytes named by their layer, joules, grams of CO2e.
//!
//! No bare integer crosses a module's boundary for one of these, so that a payload byte cannot be
//! added to a wire byte by mistake. Sums of counts saturate in release builds and panic on overflow
//! in debug builds: a counter that has wrapped is worse than one that stopped.

use std::fmt;
use std::iter::Sum;
use std::ops::{Add, AddAssign};
use std::str::FromStr;
use std::time::Duration;

use serde::{Deserialize, Serialize};

macro_rules! count {
    ($($(#[$doc:meta])* $name:ident;)+) => {$(
        $(#[$doc])*
        #[derive(
            Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
        )]
        #[serde(transparent)]
        pub struct $name(u64);

        impl $name {
            /// None of them.
            pub const ZERO: Self = Self(0);

            /// A count of `n`.
            pub const fn new(n: u64) -> Self {
                Self(n)
            }

            /// The bare number, for arithmetic between layers and for printing.
            pub const fn get(self) -> u64 {
                self.0
            }
        }

        impl Add for $name {
            type Output = Self;

            #[inline]
            fn add(self, other: Self) -> Self {
                debug_assert!(self.0.checked_add(other.0).is_some(), "{} overflowed", stringify!($name));
                Self(self.0.saturating_add(other.0))
            }
        }

        impl AddAssign for $name {
            #[inline]
            fn add_assign(&mut self, other: Self) {
                *self = *self + other;
            }
        }

        impl AddAssign<u64> for $name {
            /// Counts up by what one packet or message brings: at 100 GB/s, bytes take six years to
            /// fill a count, so the hot path does not pay for saturation.
            #[inline]
            fn add_assign(&mut self, n: u64) {
                self.0 += n;
            }
        }

        impl Sum for $name {
            fn sum<I: Iterator<Item = Self>>(counts: I) -> Self {
                counts.fold(Self::ZERO, Add::add)
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(&self.0, f)
            }
        }
    )+};
}

count! {
    /// Packets (frames), each counted once however often the capture mechanism shows it.
    Packets;
    /// Application-level messages as a framing defines them.
    Messages;
    /// Connections: TCP connections, or UDP flows of one address and port pair.
    Connections;
    /// Bodies of complete messages, in bytes.
    MessageBytes;
    /// Message headers, delimiters and other stream bytes that are not bodies.
    FramingBytes;
    /// Bytes of messages whose other bytes are missing or had not come.
    IncompleteBytes;
    /// Stream bytes that no framing could place.
    UnframedBytes;
    /// Unique transport payload by original length: each stream byte once.
    PayloadBytes;
    /// Stream bytes that sequence numbers prove and no packet showed; outside the payload.
    GapBytes;
    /// Payload bytes seen again.
    RetransmittedBytes;
    /// Transport payload that belongs to no stream position: data after FIN or RST, keep-alives.
    OutsideStreamBytes;
    /// TCP, UDP or other transport headers, options included.
    TransportHeaderBytes;
    /// Headers between the outer and the inner IP header, the inner IP header included.
    TunnelHeaderBytes;
    /// Outer IP headers with options or extension headers.
    IpHeaderBytes;
    /// Link-layer headers, tags included.
    LinkHeaderBytes;
    /// Bytes after the IP packet: padding and frame check sequence where captured.
    LinkTrailerBytes;
    /// IP packet lengths, headers included.
    IpBytes;
    /// Original frame lengths as the capture's link type shows them.
    WireBytes;
    /// Projected Ethernet frames without frame check sequence.
    L2Bytes;
    /// Projected Ethernet frames with frame check sequence, preamble and inter-frame gap.
    LineBytes;
}

/// Nanoseconds since the Unix epoch. Captures are not monotone: a later packet may carry an
/// earlier time.
#[derive(
    Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
#[serde(transparent)]
pub struct Timestamp(i64);

impl Timestamp {
    /// The time `nanoseconds` after the Unix epoch.
    pub const fn from_nanos(nanoseconds: i64) -> Self {
        Self(nanoseconds)
    }

    /// Nanoseconds since the Unix epoch.
    pub const fn as_nanos(self) -> i64 {
        self.0
    }
}

/// A link type as libpcap numbers them (`LINKTYPE_` values, <https://www.tcpdump.org/linktypes.html>).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct LinkType(pub u16);

impl LinkType {
    /// Ethernet, and Linux's loopback interface, which has the same headers.
    pub const ETHERNET: Self = Self(1);
}

/// An Ethernet link's maximum transmission unit: the most bytes of an IP packet in one frame, of which
/// RFC 894 gives 1500 and jumbo frames carry 9000.
///
/// From 68, which RFC 791 wants every link to carry whole, to 65,535, which no IPv4 packet is longer
/// than. A link that carries IPv6 has 1280 at least (RFC 8200).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "u32", into = "u32")]
pub struct Mtu(u32);

impl Mtu {
    /// That of Ethernet without jumbo frames, which is the default.
    pub const ETHERNET: Self = Self(1500);
    /// The least.
    pub const LEAST: Self = Self(68);
    /// The greatest.
    pub const GREATEST: Self = Self(65_535);

    /// An MTU of so many bytes; none where no link has it.
    pub const fn new(bytes: u32) -> Option<Self> {
        match bytes {
            68..=65_535 => Some(Self(bytes)),
            _ => None,
        }
    }

    /// Its bytes.
    #[inline]
    pub const fn get(self) -> u32 {
        self.0
    }
}

impl Default for Mtu {
    fn default() -> Self {
        Self::ETHERNET
    }
}

impl fmt::Display for Mtu {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

/// Which MTUs there are.
fn expected_mtu() -> String {
    format!(
        "expected bytes of an IP packet, from {} (which every link carries by RFC 791) to {} (the longest \
         IPv4 packet); Ethernet has {}, and 9000 with jumbo frames",
        Mtu::LEAST,
        Mtu::GREATEST,
        Mtu::ETHERNET,
    )
}

impl TryFrom<u32> for Mtu {
    type Error = String;

    fn try_from(bytes: u32) -> Result<Self, String> {
        Self::new(bytes).ok_or_else(|| format!("an MTU of {bytes}: {}", expected_mtu()))
    }
}

impl From<Mtu> for u32 {
    fn from(mtu: Mtu) -> Self {
        mtu.0
    }
}

impl FromStr for Mtu {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let bytes = text.parse().ok();
        bytes.and_then(Self::new).ok_or_else(expected_mtu)
    }
}

/// Energy in joules.
#[derive(Debug, Clone, Copy, Default, PartialEq, PartialOrd, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Joules(pub f64);

/// Energy in watt-hours: the unit of meters, grids and the older models. 1 Wh = 3600 J exactly.
#[derive(Debug, Clone, Copy, Default, PartialEq, PartialOrd, Serialize, Deserialize)]
#[serde(transparent)]
pub struct WattHours(pub f64);

impl From<Joules> for WattHours {
    fn from(energy: Joules) -> Self {
        Self(energy.0 / 3600.0)
    }
}

impl From<WattHours> for Joules {
    fn from(energy: WattHours) -> Self {
        Self(energy.0 * 3600.0)
    }
}

impl Add for Joules {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        Self(self.0 + other.0)
    }
}

impl Add for Grams {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        Self(self.0 + other.0)
    }
}

/// Mass of emitted gas in grams. Whether that is CO2 or CO2e is told by what it stands in.
#[derive(Debug, Clone, Copy, Default, PartialEq, PartialOrd, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Grams(pub f64);

/// Reads a duration as in `30s`, `500ms`, `5m`, `1h`; a bare number is seconds.
pub fn duration(text: &str) -> Result<Duration, String> {
    let wrong =
        || format!("'{text}' is no duration: expected a number and us, ms, s, m or h, as in 30s");
    let digits = text
        .find(|c: char| !c.is_ascii_digit() && c != '.')
        .unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    let seconds_per_unit = match unit.trim() {
        "ns" => 1e-9,
        "us" | "µs" => 1e-6,
        "ms" => 0.001,
        "" | "s" => 1.0,
        "m" | "min" => 60.0,
        "h" => 3600.0,
        _ => return Err(wrong()),
    };
    let number: f64 = number.parse().map_err(|_| wrong())?;
    Duration::try_from_secs_f64(number * seconds_per_unit).map_err(|_| wrong())
}

/// A duration as [`duration()`] reads it.
pub fn duration_text(duration: Duration) -> String {
    match duration {
        Duration::ZERO => "0s".to_owned(),
        _ => format!("{duration:?}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_mtu_is_what_some_link_has() {
        for (text, bytes) in [
            ("68", 68),
            ("1500", 1500),
            ("9000", 9000),
            ("65535", 65_535),
        ] {
            assert_eq!(text.parse::<Mtu>().map(Mtu::get), Ok(bytes));
            assert_eq!(serde_json::from_str(text).ok(), Mtu::new(bytes));
        }
        for text in ["", "0", "67", "65536", "-1500", "1.5", "9k", "99999999999"] {
            let problem = text.parse::<Mtu>().unwrap_err();
            assert!(problem.contains("from 68"), "{text}: {problem}");
            assert!(serde_json::from_str::<Mtu>(text).is_err(), "{text}");
        }
    }

    #[test]
    fn durations_are_read_with_their_units() {
        for (text, millis) in [
            ("30s", 30_000),
            ("500ms", 500),
            ("1.5m", 90_000),
            ("2", 2000),
        ] {
            assert_eq!(duration(text), Ok(Duration::from_millis(millis)), "{text}");
        }
        for text in ["", "s", "-3s", "3 weeks", "1e999h", "1..2s"] {
            assert!(duration(text).is_err(), "{text}");
        }
    }
}
