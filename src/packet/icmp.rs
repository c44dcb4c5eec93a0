//! ICMP (RFC 792) and ICMPv6 (RFC 4443) errors: they quote the packet that they are about.

use std::fmt;

use super::{Addresses, Rest, network, transport};

/// An ICMP or ICMPv6 message about a packet of TCP or UDP, which it quotes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct IcmpError {
    /// The IP protocol number of ICMP or ICMPv6.
    pub protocol: u8,
    /// What it says.
    pub kind: IcmpErrorKind,
    /// The quoted packet's addresses.
    pub addresses: Addresses,
    /// The quoted packet's transport protocol.
    pub transport: QuotedTransport,
    /// The quoted packet's source port.
    pub source_port: u16,
    /// The quoted packet's destination port.
    pub destination_port: u16,
}

/// The transport protocol of a quoted packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum QuotedTransport {
    /// TCP.
    Tcp,
    /// UDP.
    Udp,
}

/// What an ICMP error says. Its text is the key under `icmp_errors`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum IcmpErrorKind {
    /// Nobody listens on the port.
    PortUnreachable,
    /// The destination cannot be reached for another reason.
    DestinationUnreachable,
    /// The packet is longer than the next link takes, and may not be cut.
    PacketTooBig,
    /// The sender is asked to slow down.
    SourceQuench,
    /// Another router is nearer.
    Redirect,
    /// The hop limit or the time for fragments to come together is over.
    TimeExceeded,
    /// A header cannot be understood.
    ParameterProblem,
}

impl fmt::Display for IcmpErrorKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::PortUnreachable => "port unreachable",
            Self::DestinationUnreachable => "destination unreachable",
            Self::PacketTooBig => "packet too big",
            Self::SourceQuench => "source quench",
            Self::Redirect => "redirect",
            Self::TimeExceeded => "time exceeded",
            Self::ParameterProblem => "parameter problem",
        })
    }
}

/// Reads an ICMP message, if it is an error and enough of the packet that it quotes is there.
pub(super) fn error(protocol: u8, message: Rest<'_>) -> Option<IcmpError> {
    use IcmpErrorKind::{
        DestinationUnreachable, PacketTooBig, ParameterProblem, PortUnreachable, Redirect,
        SourceQuench, TimeExceeded,
    };
    const ICMP: u8 = 1;
    const ICMPV6: u8 = 58;
    const HEADER: u32 = 8;
    let &[kind, code, ..] = message.data else {
        return None;
    };
    let kind = match (protocol, kind, code) {
        (ICMP, 3, 3) | (ICMPV6, 1, 4) => PortUnreachable,
        (ICMP, 3, 4) | (ICMPV6, 2, _) => PacketTooBig,
        (ICMP, 3, _) | (ICMPV6, 1, _) => DestinationUnreachable,
        (ICMP, 4, _) => SourceQuench,
        (ICMP, 5, _) => Redirect,
        (ICMP, 11, _) | (ICMPV6, 3, _) => TimeExceeded,
        (ICMP, 12, _) | (ICMPV6, 4, _) => ParameterProblem,
        _ => return None,
    };
    let (addresses, quoted, source_port, destination_port) = network::quoted(message.skip(HEADER))?;
    let transport = match quoted {
        transport::TCP => QuotedTransport::Tcp,
        transport::UDP => QuotedTransport::Udp,
        _ => return None,
    };
    Some(IcmpError {
        protocol,
        kind,
        addresses,
        transport,
        source_port,
        destination_port,
    })
}
