//! Live capture on the machine's real loopback and on interfaces made for the test. Where the
//! permission is missing, each test says that it was skipped, and why.

use std::collections::HashMap;
use std::net::UdpSocket;
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use wirewatt::capture::{
    Batch, CaptureError, LiveCapture, LiveOptions, MemoryBytes, Reading, RunningCapture,
};
use wirewatt::units::{LinkType, Packets};

/// Past the test harness, which shows nothing of a test that passes.
macro_rules! skipped {
    ($($reason:tt)*) => {
        std::io::Write::write_fmt(
            &mut std::io::stderr(),
            format_args!("SKIPPED: {}\n", format_args!($($reason)*)),
        )
        .expect("standard error")
    };
}

/// Long enough for the slowest machine; no test that passes waits for it.
const LIMIT: Duration = Duration::from_secs(60);
const ETHERNET_IP_UDP: usize = 14 + 20 + 8;

fn open(options: &LiveOptions) -> Option<LiveCapture> {
    match LiveCapture::open(options) {
        Ok(capture) => Some(capture),
        Err(error @ CaptureError::Permission { .. }) => {
            skipped!("{error}");
            None
        }
        Err(error) => panic!("{error}"),
    }
}

fn start(options: &LiveOptions) -> Option<RunningCapture> {
    Some(open(options)?.start().expect("started"))
}

/// Datagrams to a socket of our own, which never reads: what finds its buffer full has been on
/// the link all the same.
struct Traffic {
    sender: UdpSocket,
    receiver: UdpSocket,
    payload: Vec<u8>,
    sent: u32,
}

impl Traffic {
    fn new(payload: usize) -> Self {
        let bind = || UdpSocket::bind("127.0.0.1:0").expect("bound");
        let (sender, receiver) = (bind(), bind());
        sender
            .connect(receiver.local_addr().expect("address"))
            .expect("connected");
        Self {
            sender,
            receiver,
            payload: vec![0; payload.max(4)],
            sent: 0,
        }
    }

    fn send(&mut self, count: u32) {
        for _ in 0..count {
            self.payload[..4].copy_from_slice(&self.sent.to_be_bytes());
            self.sender.send(&self.payload).expect("sent");
            self.sent += 1;
        }
    }

    /// Notes the numbers of our datagrams among the packets of `batch`.
    fn note(&self, batch: &Batch, seen: &mut HashMap<u32, u32>) {
        let port = self
            .receiver
            .local_addr()
            .expect("address")
            .port()
            .to_be_bytes();
        for packet in batch.packets() {
            assert!(packet.original_length as usize >= packet.data.len());
            let ours = packet.data.get(23) == Some(&17) && packet.data.get(36..38) == Some(&port);
            if ours {
                let number = packet.data[ETHERNET_IP_UDP..][..4]
                    .try_into()
                    .expect("four bytes");
                *seen.entry(u32::from_be_bytes(number)).or_default() += 1;
                assert_eq!(packet.data.len(), ETHERNET_IP_UDP + self.payload.len());
            }
        }
    }

    /// Reads until all that was sent has been seen, then stops and reads what remains.
    fn see_all(&self, capture: &RunningCapture) -> HashMap<u32, u32> {
        let (mut seen, limit) = (HashMap::new(), Instant::now() + LIMIT);
        while seen.len() < self.sent as usize && Instant::now() < limit {
            if let Reading::Batch(batch) = next(capture) {
                self.note(&batch, &mut seen);
            }
        }
        capture.stop();
        loop {
            match next(capture) {
                Reading::Batch(batch) => self.note(&batch, &mut seen),
                Reading::Idle => assert!(Instant::now() < limit, "the capture does not end"),
                Reading::Ended => return seen,
            }
        }
    }

    fn assert_each_once(&self, seen: &HashMap<u32, u32>) {
        assert_eq!(
            seen.len(),
            self.sent as usize,
            "datagrams seen of those sent"
        );
        let doubled = seen.values().filter(|&&times| times != 1).count();
        assert_eq!(doubled, 0, "datagrams seen more than once");
    }
}

fn next(capture: &RunningCapture) -> Reading {
    capture
        .next_batch(Duration::from_millis(200))
        .expect("no error")
}

#[test]
fn each_datagram_on_the_loopback_is_seen_once() {
    let Some(capture) = start(&LiveOptions::default()) else {
        return;
    };
    assert_eq!(capture.interface().link_type, LinkType(1));
    assert_eq!(capture.interface().name, "lo");
    let mut traffic = Traffic::new(100);
    traffic.send(3_000);
    let seen = traffic.see_all(&capture);
    traffic.assert_each_once(&seen);
}

#[test]
fn a_burst_of_two_hundred_thousand_packets_is_seen_whole() {
    let Some(capture) = start(&LiveOptions::default()) else {
        return;
    };
    let before = capture.counters();
    let mut traffic = Traffic::new(64);
    traffic.send(200_000);
    let seen = traffic.see_all(&capture);
    let counted = capture.counters().since(&before);
    let lost = [
        counted.dropped,
        counted.interface_dropped,
        counted.softnet_dropped,
    ];
    assert_eq!(lost, [Packets::ZERO; 3], "{counted:?}");
    assert!(counted.received >= Packets::new(200_000), "{counted:?}");
    traffic.assert_each_once(&seen);
}

#[test]
fn large_datagrams_fill_batches_by_bytes() {
    let Some(capture) = start(&LiveOptions::default()) else {
        return;
    };
    let mut traffic = Traffic::new(60_000);
    traffic.send(2_000);
    let seen = traffic.see_all(&capture);
    traffic.assert_each_once(&seen);
}

/// The kernel's ring absorbs what the consumer does not take, and counters are still answered.
#[test]
fn a_stalled_consumer_loses_nothing_and_can_ask_for_counters() {
    let pool = MemoryBytes::mebibytes(2);
    let Some(capture) = start(&LiveOptions {
        pool,
        ..LiveOptions::default()
    }) else {
        return;
    };
    let mut traffic = Traffic::new(1_000);
    // Twenty times the pool.
    traffic.send(40_000);
    let limit = Instant::now() + LIMIT;
    let mut held = Vec::new();
    while held.len() < 2 && Instant::now() < limit {
        if let Reading::Batch(batch) = next(&capture) {
            held.push(batch);
        }
    }
    // Both batches are here: the reader is starving.
    let counted = capture.counters();
    assert!(counted.received >= Packets::new(40_000), "{counted:?}");
    let mut seen = HashMap::new();
    for batch in held {
        traffic.note(&batch, &mut seen);
    }
    for (number, times) in traffic_rest(&traffic, &capture, seen.len()) {
        *seen.entry(number).or_default() += times;
    }
    traffic.assert_each_once(&seen);
}

fn traffic_rest(traffic: &Traffic, capture: &RunningCapture, already: usize) -> HashMap<u32, u32> {
    let (mut seen, limit) = (HashMap::new(), Instant::now() + LIMIT);
    while seen.len() + already < traffic.sent as usize && Instant::now() < limit {
        if let Reading::Batch(batch) = next(capture) {
            traffic.note(&batch, &mut seen);
        }
    }
    seen
}

#[test]
fn stop_hands_over_what_was_sent_before_it() {
    for _ in 0..5 {
        let Some(capture) = start(&LiveOptions::default()) else {
            return;
        };
        let mut traffic = Traffic::new(10);
        traffic.send(50);
        capture.stop();
        let (mut seen, begun) = (HashMap::new(), Instant::now());
        loop {
            match next(&capture) {
                Reading::Batch(batch) => traffic.note(&batch, &mut seen),
                Reading::Idle => assert!(begun.elapsed() < LIMIT),
                Reading::Ended => break,
            }
        }
        traffic.assert_each_once(&seen);
    }
}

#[test]
fn a_filter_is_applied_and_remembered() {
    let mut traffic = Traffic::new(10);
    let other = Traffic::new(10);
    let port = traffic.receiver.local_addr().expect("address").port();
    let filter = Some(format!("udp dst port {port}"));
    let Some(capture) = open(&LiveOptions {
        filter: filter.clone(),
        ..LiveOptions::default()
    }) else {
        return;
    };
    assert_eq!(capture.interface().filter, filter);
    let capture = capture.start().expect("started");
    other.sender.send(&[0; 10]).expect("sent");
    traffic.send(100);
    let seen = traffic.see_all(&capture);
    traffic.assert_each_once(&seen);

    let options = LiveOptions {
        filter: Some("port port".into()),
        ..LiveOptions::default()
    };
    let error = LiveCapture::open(&options).err().expect("not a filter");
    assert!(matches!(error, CaptureError::Filter { .. }), "{error}");
}

#[test]
fn dropping_a_running_capture_ends_it() {
    let Some(capture) = start(&LiveOptions::default()) else {
        return;
    };
    let mut traffic = Traffic::new(10);
    traffic.send(10);
    let batch = loop {
        if let Reading::Batch(batch) = next(&capture) {
            break batch;
        }
    };
    drop(capture);
    // A batch outlives its capture.
    assert!(!batch.is_empty() && batch.packets().count() as u64 == batch.len().get());
}

#[test]
fn an_unknown_interface_is_answered_with_those_there_are() {
    let options = LiveOptions {
        interface: "nonesuch0".into(),
        ..LiveOptions::default()
    };
    let error = LiveCapture::open(&options)
        .err()
        .expect("no such interface")
        .to_string();
    assert!(
        error.starts_with("no interface named nonesuch0; there are: "),
        "{error}"
    );
    assert!(error.contains("lo"), "{error}");
}

/// Runs this very test again without the capability; the inner run checks the message.
#[test]
fn without_permission_the_message_says_how_to_grant_it() {
    const INNER: &str = "WIREWATT_TEST_WITHOUT_NET_RAW";
    if std::env::var_os(INNER).is_some() {
        let error = LiveCapture::open(&LiveOptions::default())
            .err()
            .expect("no permission");
        let binary = std::env::current_exe().expect("path");
        let advice = format!("sudo setcap cap_net_raw+ep {}", binary.display());
        assert!(matches!(error, CaptureError::Permission { .. }), "{error}");
        assert!(error.to_string().contains(&advice), "{error}");
        return;
    }
    let mut command = if rustix::process::geteuid().is_root() {
        let mut command = Command::new("setpriv");
        command.args(["--bounding-set=-net_raw", "--inh-caps=-net_raw"]);
        command.arg(std::env::current_exe().expect("path"));
        command
    } else {
        Command::new(std::env::current_exe().expect("path"))
    };
    command.args([
        "--exact",
        "without_permission_the_message_says_how_to_grant_it",
    ]);
    match command.env(INNER, "1").output() {
        Ok(output) => assert!(output.status.success(), "{output:?}"),
        Err(error) => skipped!("setpriv cannot be run: {error}"),
    }
}

/// A pair of interfaces on which nothing happens, gone with the value.
struct IdleLink {
    name: String,
}

impl IdleLink {
    fn new() -> Option<Self> {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let name = format!("ww{}x{number}", std::process::id());
        let peer = format!("{name}p");
        let made = ip(&["link", "add", &name, "type", "veth", "peer", "name", &peer]);
        if let Err(reason) = made {
            skipped!("no interface can be made: {reason}");
            return None;
        }
        let link = Self { name };
        for end in [&link.name, &peer] {
            // Without this, IPv6 would speak up by itself.
            ip(&["link", "set", end, "addrgenmode", "none"]).expect("set");
            ip(&["link", "set", end, "up"]).expect("set");
        }
        Some(link)
    }
}

impl Drop for IdleLink {
    fn drop(&mut self) {
        let _ = ip(&["link", "del", &self.name]);
    }
}

fn ip(arguments: &[&str]) -> Result<(), String> {
    let output = Command::new("ip")
        .args(arguments)
        .output()
        .map_err(|error| error.to_string())?;
    let words = String::from_utf8_lossy(&output.stderr).into_owned();
    output.status.success().then_some(()).ok_or(words)
}

fn on(link: &IdleLink) -> Option<RunningCapture> {
    start(&LiveOptions {
        interface: link.name.clone(),
        ring: Some(MemoryBytes::mebibytes(8)),
        ..LiveOptions::default()
    })
}

#[test]
fn on_an_idle_link_reads_return_and_stop_stops() {
    let Some(link) = IdleLink::new() else { return };
    let Some(capture) = on(&link) else { return };
    let begun = Instant::now();
    for _ in 0..3 {
        let reading = capture
            .next_batch(Duration::from_millis(50))
            .expect("no error");
        assert!(matches!(reading, Reading::Idle), "{reading:?}");
        capture.counters();
    }
    capture.stop();
    let reading = capture.next_batch(LIMIT).expect("no error");
    assert!(matches!(reading, Reading::Ended), "{reading:?}");
    assert!(
        begun.elapsed() < Duration::from_secs(5),
        "{:?}",
        begun.elapsed()
    );
    // After the end the last counters are still there.
    assert_eq!(capture.counters().dropped, Packets::ZERO);
}

#[test]
fn an_interface_that_goes_down_or_away_is_an_error() {
    for change in ["down", "away"] {
        let Some(link) = IdleLink::new() else { return };
        let Some(capture) = on(&link) else { return };
        assert!(matches!(next(&capture), Reading::Idle));
        match change {
            "down" => ip(&["link", "set", &link.name, "down"]).expect("set"),
            _ => ip(&["link", "del", &link.name]).expect("deleted"),
        }
        let error = capture.next_batch(LIMIT).expect_err(change);
        assert!(
            matches!(error, CaptureError::InterfaceDown { .. }),
            "{change}: {error}"
        );
        assert!(matches!(capture.next_batch(LIMIT), Ok(Reading::Ended)));
    }
}

#[test]
fn an_interface_that_is_down_cannot_be_opened() {
    let Some(link) = IdleLink::new() else { return };
    ip(&["link", "set", &link.name, "down"]).expect("set");
    let options = LiveOptions {
        interface: link.name.clone(),
        ..LiveOptions::default()
    };
    match LiveCapture::open(&options).err().expect("down") {
        CaptureError::InterfaceDown { .. } => {}
        error @ CaptureError::Permission { .. } => skipped!("{error}"),
        error => panic!("{error}"),
    }
}
