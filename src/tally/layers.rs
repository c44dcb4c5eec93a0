//! Packets by class and bytes by layer.

use serde::{Deserialize, Serialize};

use crate::units::{
    FramingBytes, GapBytes, IncompleteBytes, IpBytes, IpHeaderBytes, LinkHeaderBytes,
    LinkTrailerBytes, MessageBytes, OutsideStreamBytes, Packets, PayloadBytes, RetransmittedBytes,
    TransportHeaderBytes, TunnelHeaderBytes, UnframedBytes, WireBytes,
};

/// What a packet is for. A packet that fits several classes has the first of them in this order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum PacketClass {
    /// A TCP segment with SYN.
    Handshake,
    /// A TCP segment with FIN or RST.
    Teardown,
    /// A TCP segment some of whose payload was seen before.
    Retransmission,
    /// A packet with payload.
    Data,
    /// A TCP segment with ACK and without payload.
    PureAck,
    /// Everything else.
    Other,
}

impl PacketClass {
    /// The number of classes.
    pub const COUNT: usize = 6;
}

/// Packets by class. `total` is the sum of the others.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct PacketCounts {
    /// All packets.
    pub total: Packets,
    /// With SYN.
    pub handshake: Packets,
    /// With payload that is all new.
    pub data: Packets,
    /// With ACK, without payload.
    pub pure_ack: Packets,
    /// With payload that was seen before.
    pub retransmission: Packets,
    /// With FIN or RST.
    pub teardown: Packets,
    /// The rest.
    pub other: Packets,
}

impl PacketCounts {
    /// The counts by [`PacketClass`], in its order.
    pub fn from_classes(by_class: [u64; PacketClass::COUNT]) -> Self {
        let [handshake, teardown, retransmission, data, pure_ack, other] =
            by_class.map(Packets::new);
        Self {
            total: by_class.iter().copied().map(Packets::new).sum(),
            handshake,
            data,
            pure_ack,
            retransmission,
            teardown,
            other,
        }
    }

    /// Adds another part's counts.
    pub fn merge(&mut self, other: &Self) {
        self.total += other.total;
        self.handshake += other.handshake;
        self.data += other.data;
        self.pure_ack += other.pure_ack;
        self.retransmission += other.retransmission;
        self.teardown += other.teardown;
        self.other += other.other;
    }
}

/// IP packet bytes by packet class.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct BytesByClass {
    /// Of packets with SYN.
    pub handshake: IpBytes,
    /// Of packets with payload that is all new.
    pub data: IpBytes,
    /// Of packets with ACK and without payload.
    pub pure_ack: IpBytes,
    /// Of packets with payload that was seen before.
    pub retransmission: IpBytes,
    /// Of packets with FIN or RST.
    pub teardown: IpBytes,
    /// Of the rest.
    pub other: IpBytes,
}

impl BytesByClass {
    /// The bytes by [`PacketClass`], in its order.
    pub fn from_classes(by_class: [u64; PacketClass::COUNT]) -> Self {
        let [handshake, teardown, retransmission, data, pure_ack, other] =
            by_class.map(IpBytes::new);
        Self {
            handshake,
            data,
            pure_ack,
            retransmission,
            teardown,
            other,
        }
    }

    /// Adds another part's bytes.
    pub fn merge(&mut self, other: &Self) {
        self.handshake += other.handshake;
        self.data += other.data;
        self.pure_ack += other.pure_ack;
        self.retransmission += other.retransmission;
        self.teardown += other.teardown;
        self.other += other.other;
    }
}

/// Bytes by layer, each by original length. The identities that hold in every report:
///
/// * `payload = message + framing + incomplete + unframed`
/// * `ip = ip_header + tunnel_header + transport_header + payload + retransmitted + outside_stream`
/// * `wire = link_header + ip + link_trailer` (and frames that are not IP, where there are any)
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct LayerBytes {
    /// Bodies of complete messages.
    pub message: MessageBytes,
    /// Message headers, delimiters and other stream bytes that are not bodies.
    pub framing: FramingBytes,
    /// Bytes of messages whose other bytes are missing or had not come.
    pub incomplete: IncompleteBytes,
    /// Stream bytes that no framing could place.
    pub unframed: UnframedBytes,
    /// Unique transport payload in captured packets.
    pub payload: PayloadBytes,
    /// Stream bytes that no packet showed; outside `payload`.
    pub gap_bytes: GapBytes,
    /// Payload bytes seen again.
    pub retransmitted: RetransmittedBytes,
    /// Transport payload that belongs to no stream position.
    pub outside_stream: OutsideStreamBytes,
    /// Transport headers.
    pub transport_header: TransportHeaderBytes,
    /// Tunnel headers.
    pub tunnel_header: TunnelHeaderBytes,
    /// Outer IP headers.
    pub ip_header: IpHeaderBytes,
    /// Link-layer headers.
    pub link_header: LinkHeaderBytes,
    /// Link-layer trailers.
    pub link_trailer: LinkTrailerBytes,
    /// IP packets.
    pub ip: IpBytes,
    /// Frames.
    pub wire: WireBytes,
}

impl LayerBytes {
    /// Adds another part's bytes, layer by layer.
    pub fn merge(&mut self, other: &Self) {
        self.message += other.message;
        self.framing += other.framing;
        self.incomplete += other.incomplete;
        self.unframed += other.unframed;
        self.payload += other.payload;
        self.gap_bytes += other.gap_bytes;
        self.retransmitted += other.retransmitted;
        self.outside_stream += other.outside_stream;
        self.transport_header += other.transport_header;
        self.tunnel_header += other.tunnel_header;
        self.ip_header += other.ip_header;
        self.link_header += other.link_header;
        self.link_trailer += other.link_trailer;
        self.ip += other.ip;
        self.wire += other.wire;
    }

    /// The share of the IP bytes that is message bodies, or nothing where there were no IP bytes.
    pub fn goodput_share(&self) -> Option<f64> {
        (self.ip.get() > 0).then(|| self.message.get() as f64 / self.ip.get() as f64)
    }

    /// The identities that do not hold, in words. Empty in every report that is right.
    pub fn broken_identities(&self, not_ip: WireBytes) -> Vec<String> {
        let mut broken = Vec::new();
        let mut check = |name: &str, whole: u64, parts: u64| {
            if whole != parts {
                broken.push(format!("{name} is {whole} and its parts add up to {parts}"));
            }
        };
        check(
            "payload",
            self.payload.get(),
            self.message.get() + self.framing.get() + self.incomplete.get() + self.unframed.get(),
        );
        check(
            "ip",
            self.ip.get(),
            self.ip_header.get()
                + self.tunnel_header.get()
                + self.transport_header.get()
                + self.payload.get()
                + self.retransmitted.get()
                + self.outside_stream.get(),
        );
        check(
            "wire",
            self.wire.get(),
            self.link_header.get() + self.ip.get() + self.link_trailer.get() + not_ip.get(),
        );
        broken
    }
}
