//! Files of any content: what is read does not depend on how the bytes come.

use std::io::{self, Cursor, Read};
use std::{env, fs, process, thread};

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

/// Reads a file of these bytes in three ways, and in blocks if it has them.
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
    if let Some(in_blocks) = in_blocks(data) {
        assert_eq!(at_once, in_blocks);
    }
}

/// The same of a file that is stored, block by block and from where they no longer lead on.
fn in_blocks(data: &[u8]) -> Option<(Vec<Seen>, String)> {
    let name = format!(
        "wirewatt-fuzz-{}-{:?}",
        process::id(),
        thread::current().id()
    );
    let path = env::temp_dir().join(name);
    fs::write(&path, data).expect("a temporary file");
    let opened = CaptureFile::open(&path);
    fs::remove_file(&path).expect("removed");
    let mut file = opened.ok()?;
    let blocks = file.blocks()?.of_length(16 + data.len() % 499);
    let (mut seen, mut bytes) = (Vec::new(), Vec::new());
    let mut first = blocks.first();
    for number in blocks.numbers() {
        let block = blocks.read(number, &mut bytes);
        let _guess = blocks.likely_first(&block, &bytes);
        let walk = blocks.walk(&block, &mut bytes, first, |packet, _| {
            seen.push(owned(packet));
            true
        });
        first = walk.end;
        if !walk.is_whole {
            break;
        }
    }
    file.go_on_at(first);
    file.for_each(|packet| seen.push(owned(&packet)));
    let words = format!("{:?} {:?}", file.ending(), file.facts());
    Some((seen, words.replace(&path.display().to_string(), "file")))
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
