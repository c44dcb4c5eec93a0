//! One frame of any link type: every byte of it has one place.

use wirewatt::packet::{self, Transport};
use wirewatt::units::LinkType;

/// The link types that are decoded, and one that is not.
pub const LINK_TYPES: [u16; 21] = [
    0, 1, 9, 12, 14, 50, 51, 101, 104, 107, 108, 113, 204, 226, 228, 229, 242, 276, 105, 147, 65535,
];

/// The link type by the first byte, more bytes on the link than were captured by the next two, and
/// the captured bytes.
pub fn run(data: &[u8]) {
    let [link_type, high, low, data @ ..] = data else {
        return;
    };
    let link_type = LinkType(LINK_TYPES[usize::from(*link_type) % LINK_TYPES.len()]);
    let cut = u32::from(u16::from_be_bytes([*high, *low]));
    check(link_type, data, data.len() as u32 + cut);
}

/// Decodes one frame, and panics where its lengths do not add up.
pub fn check(link_type: LinkType, data: &[u8], original_length: u32) {
    let usual = packet::decode_usual(link_type, data, original_length);
    let decoded = packet::decode(link_type, data, original_length);
    let lengths = match &decoded {
        Ok(packet) => packet.lengths,
        Err(undecoded) => undecoded.lengths,
    };
    let parts = [
        lengths.link_header,
        lengths.ip_header,
        lengths.tunnel_header,
        lengths.transport_header,
        lengths.payload,
        lengths.surplus,
        lengths.link_trailer,
        lengths.not_ip,
    ];
    let sum: u64 = parts.into_iter().map(u64::from).sum();
    assert_eq!(sum, u64::from(original_length), "{decoded:?}");
    if let Ok(packet) = &decoded {
        let captured = match packet.transport {
            Transport::Tcp(segment) => segment.payload.len(),
            Transport::Udp(datagram) => datagram.payload.len(),
            _ => 0,
        };
        assert!(captured <= lengths.payload as usize, "{packet:?}");
        if original_length as usize == data.len()
            && matches!(packet.transport, Transport::Tcp(_) | Transport::Udp(_))
        {
            assert_eq!(captured, lengths.payload as usize, "{packet:?}");
        }
    }
    if let Some((usual, addresses, segment)) = usual {
        let Ok(packet) = decoded else {
            panic!("the short way decodes what the long one does not")
        };
        let Transport::Tcp(other) = packet.transport else {
            panic!("the short way takes for TCP what the long one does not")
        };
        assert_eq!((usual, addresses), (packet.lengths, packet.addresses));
        assert_eq!(format!("{segment:?}"), format!("{other:?}"));
    }
}
