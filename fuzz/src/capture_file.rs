//! Files of any content: what is read does not depend on how the bytes come.

use std::io::{self, Cursor, Read};

use wirewatt::capture::{CaptureFile, CapturedPacket};

/// A packet, owned.
type Seen = (i64, u16, u32, Vec<u8>);

/// Gives the bytes a few at a time, as a pipe may.
struct InDrops(Cursor<Vec<u8>>, usize);

impl Read for InDrops {
    fn read(&mut self, to: &mut [u8]) -> io::Result<usize> {
        let most = to.len().min(self.1);
        self.0.read(&mut to[..most])
    }
}

/// Reads a file of these bytes in three ways.
pub fn run(data: &[u8]) {
    let at_once = read(Cursor::new(data.to_vec()), |file, seen| {
        file.for_each(|packet| seen.push(owned(&packet)));
    });
    let one_by_one = read(Cursor::new(data.to_vec()), |file, seen| {
        while let Some(packet) = file.next_packet() {
            seen.push(owned(&packet));
        }
    });
    assert_eq!(at_once, one_by_one);
    let drop = 1 + data.len() % 31;
    let in_drops = read(InDrops(Cursor::new(data.to_vec()), drop), |file, seen| {
        file.for_each(|packet| seen.push(owned(&packet)));
    });
    assert_eq!(at_once, in_drops);
}

fn owned(packet: &CapturedPacket<'_>) -> Seen {
    assert!(packet.data.len() as u64 <= u64::from(packet.original_length));
    (
        packet.timestamp.as_nanos(),
        packet.link_type.0,
        packet.original_length,
        packet.data.to_vec(),
    )
}

/// The packets, and in words how the file ended and what it says of itself.
fn read(
    reader: impl Read + Send + 'static,
    packets: impl FnOnce(&mut CaptureFile, &mut Vec<Seen>),
) -> (Vec<Seen>, String) {
    let mut seen = Vec::new();
    match CaptureFile::from_reader("file", reader) {
        Ok(mut file) => {
            packets(&mut file, &mut seen);
            let ending = file.ending();
            assert!(ending.is_some(), "the file did not end");
            let words = format!("{ending:?} {:?}", file.facts());
            (seen, words)
        }
        Err(error) => (seen, error.to_string()),
    }
}
