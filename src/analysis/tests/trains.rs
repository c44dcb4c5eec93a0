//! Packets that follow one another, counted a train at a time. That this changes no count, every test of
//! the engine holds ([`Capture::finish`]); here, where trains begin and end.

use super::*;
use crate::analysis::Sharder;
use crate::analysis::deal::{Chunk, Dealer};

impl Capture {
    /// Packets of each train, with the whole capture as one chunk.
    fn trains(&self) -> Vec<u64> {
        let parts = NonZeroU16::new(3).unwrap();
        let mut dealer = Dealer::new(parts, &self.another_analyzer());
        let mut chunk = Chunk::default();
        let mut packets = InChunks(self.packets.chunks(self.packets.len()));
        chunk.read(&mut packets, &mut Sharder::new(parts), &mut dealer);
        dealer.deal(&mut chunk);
        chunk.train_lengths()
    }

    /// A question of two lines and its answer, `times` over.
    fn converse(&mut self, times: usize) {
        for _ in 0..times {
            self.send(Client, "A", b"one\ntwo\r\n");
            self.send(Listener, "A", b"three\n");
        }
    }
}

#[test]
fn a_conversation_between_handshake_and_end_is_one_train() {
    let mut capture = Capture::with(&["mine=80:line"]).on_ports(CLIENT, 80);
    capture.connect();
    capture.converse(10);
    capture.send(Client, "A", b"");
    capture.close();
    // The last packet of each handshake acknowledges and nothing else.
    assert_eq!(capture.trains(), [22, 1]);
    let analysis = capture.finish();
    assert_eq!(analysis.protocols[0].messages, Messages::new(30));
    assert_eq!(analysis.protocols[0].latency.turnaround.count, 10);
}

#[test]
fn each_connection_has_its_own_train() {
    let mut capture = Capture::with(&["mine=80:line"]);
    let clients = [CLIENT, CLIENT + 1, CLIENT + 2];
    let mut sequences = Vec::new();
    for client in clients {
        capture = capture.on_ports(client, 80);
        capture.sequence = [1000, 2000];
        capture.connect();
        sequences.push(capture.sequence);
    }
    for _ in 0..5 {
        for (client, sequence) in clients.into_iter().zip(&mut sequences) {
            capture = capture.on_ports(client, 80);
            capture.sequence = *sequence;
            capture.converse(1);
            *sequence = capture.sequence;
        }
    }
    assert_eq!(capture.trains(), [11, 11, 11]);
    let analysis = capture.finish();
    assert_eq!(analysis.protocols[0].messages, Messages::new(45));
}

#[test]
fn what_does_not_follow_ends_a_train() {
    let mut capture = Capture::with(&["mine=80:line"]).on_ports(CLIENT, 80);
    capture.connect();
    capture.converse(2);
    // Seen before, half a line, its other half, and something else of any connection.
    let before = capture.sequence[0].wrapping_sub(9);
    let now = std::mem::replace(&mut capture.sequence[0], before);
    capture.raw(Client, "A", 0, b"one\ntwo\r\n");
    capture.sequence[0] = now;
    capture.converse(1);
    capture.send(Client, "A", b"half ");
    capture.send(Client, "A", b"a line\n");
    capture.converse(1);
    capture.datagram(53, b"?");
    capture.converse(1);
    // The second half looks like a line of its own: that it is none, the connection knows.
    assert_eq!(capture.trains(), [5, 2, 3, 2]);
    let analysis = capture.finish();
    let tally = &analysis.protocols[0];
    assert_eq!(tally.messages, Messages::new(5 * 3 + 1));
    assert_eq!(tally.packets.retransmission, Packets::new(1));
}

#[test]
fn a_connection_that_stands_elsewhere_takes_no_train() {
    // Its first line is cut: it was captured from the middle.
    let mut capture = Capture::with(&["mine=80:line"]).on_ports(CLIENT, 80);
    capture.send(Client, "A", b"ne\n");
    capture.converse(3);
    assert_eq!(capture.trains(), [7]);
    let analysis = capture.finish();
    assert_eq!(analysis.protocols[0].messages, Messages::new(8));

    // The ports say that the client listens; the handshake knows better.
    let mut capture = Capture::with(&["mine=80:line"]).on_ports(80, 9999);
    capture.connect();
    capture.converse(3);
    assert_eq!(capture.trains(), [7]);
    let analysis = capture.finish();
    assert_eq!(analysis.protocols[0].packets.total, Packets::ZERO);
}

#[test]
fn only_what_is_whole_in_a_segment_makes_trains() {
    for (framing, trains) in [
        ("segment", vec![7]),
        ("resp", vec![7]),
        ("turn", vec![]),
        ("wirewatt", vec![]),
        ("length-prefixed/1", vec![]),
    ] {
        let mut capture = Capture::with(&[&format!("mine=80:{framing}")]).on_ports(CLIENT, 80);
        capture.connect();
        for _ in 0..3 {
            capture.send(Client, "A", b"*1\r\n$4\r\nPING\r\n");
            capture.send(Listener, "A", b"+PONG\r\n");
        }
        assert_eq!(capture.trains(), trains, "{framing}");
        capture.finish();
    }
}

/// Blocks of a file begin in the middle of it, and a thread takes it for the records that it looks like.
#[test]
fn payload_that_looks_like_records_is_payload() {
    let mut capture = Capture::with(&["mine=80:segment"]).on_ports(CLIENT, 80);
    capture.connect();
    // At the beginning of 1970, 20 bytes.
    let mut record = vec![0; 8];
    record.extend([20, 0, 0, 0].repeat(2));
    record.extend([b'x'; 20]);
    for _ in 0..20 {
        capture.send(Client, "A", &record.repeat(38));
        capture.send(Listener, "A", b"");
    }
    let analysis = capture.finish();
    assert_eq!(analysis.protocols[0].messages, Messages::new(20));
}

#[test]
fn acknowledgments_of_what_was_not_seen_yet_are_in_no_train() {
    let mut capture = Capture::with(&["mine=80:line"]).on_ports(CLIENT, 80);
    capture.connect();
    capture.converse(2);
    // Of the question that comes behind them.
    let sent = capture.sequence[0];
    capture.sequence[0] = sent.wrapping_add(9);
    for _ in 0..5 {
        capture.raw(Listener, "A", 0, b"");
    }
    capture.sequence[0] = sent;
    capture.converse(2);
    // The first ends a train, the others have one of their own, to which the question is too late.
    assert_eq!(capture.trains(), [5, 4, 3]);
    let analysis = capture.finish();
    assert_eq!(analysis.protocols[0].messages, Messages::new(10));
}

proptest! {
    /// Acknowledgments of too much and too little, probes, repetitions and holes, time that goes back: wherever a
    /// train should have ended, it counts as its packets do.
    #[test]
    fn a_train_is_what_its_packets_are(
        begins: bool,
        steps in prop::collection::vec((
            any::<bool>(),
            0_usize..3,
            prop_oneof![8 => Just(0), 1 => -20..20],
            prop_oneof![16 => Just(0_u32), 1 => prop::sample::select(vec![u32::MAX, 5, u32::MAX - 4])],
            prop_oneof![8 => Just(0), 1 => -5_000_000_i64..5_000_000],
        ), 1..60),
    ) {
        let mut capture = Capture::with(&["mine=80:line"]).on_ports(CLIENT, 80);
        if begins {
            capture.connect();
        }
        for (from_listener, lines, more, ahead, later) in steps {
            let (from, peer) = match from_listener {
                true => (Listener, Client),
                false => (Client, Listener),
            };
            let payload = b"line\n".repeat(lines);
            let sent = capture.sequence[peer as usize];
            capture.time += later;
            capture.sequence[peer as usize] = sent.wrapping_add_signed(more);
            capture.raw(from, "A", ahead, &payload);
            capture.sequence[peer as usize] = sent;
            if ahead == 0 {
                let next = &mut capture.sequence[from as usize];
                *next = next.wrapping_add(payload.len() as u32);
            }
        }
        capture.finish();
    }
}
