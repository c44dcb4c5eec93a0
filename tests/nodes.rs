//! Real nodes as operating-system processes on the loopback interface.

mod common;

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use common::free_ports;
use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;
use wirewatt::algorithm::{Case, Phase, ProcessId, catalog};
use wirewatt::experiment::fleet::{
    Ending, Fleet, FleetConfig, FleetError, FleetFault, FleetOutcome,
};
use wirewatt::ledger::{Event, Reader, Totals};
use wirewatt::node::control::Connections;
use wirewatt::units::Messages;

const PROGRAM: &str = env!("CARGO_BIN_EXE_wirewatt");
/// Far beyond what a run needs, so that a busy machine fails no test.
const PLENTY: Duration = Duration::from_secs(60);

/// The run's number.
const RUN: u64 = 4711;

static NEVER: AtomicBool = AtomicBool::new(false);

struct Run {
    folder: TempDir,
    config: FleetConfig,
}

impl Run {
    fn new(algorithm: &str, n: u32, connections: Connections) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let ledger = folder.path().join("ledger.jsonl");
        let processes = (catalog::by_name(algorithm).unwrap().processes)(n);
        let base = free_ports(processes as u16);
        let mut config = FleetConfig::on_loopback(algorithm, n, base, RUN, ledger).unwrap();
        config.node_command = vec![PROGRAM.into(), "node".into()];
        config.connections = connections;
        config.start_limit = PLENTY;
        config.settle_limit = PLENTY;
        Self { folder, config }
    }

    fn option(mut self, name: &str, value: &str) -> Self {
        self.config
            .options
            .0
            .insert(name.to_owned(), value.to_owned());
        self
    }

    fn rounds(mut self, rounds: u32) -> Self {
        self.config.rounds = rounds;
        self
    }

    fn ledger(&self) -> PathBuf {
        self.folder.path().join("ledger.jsonl")
    }

    fn spawn(&self) -> Fleet {
        Fleet::spawn(&self.config, &NEVER).unwrap_or_else(|error| panic!("{error}"))
    }

    fn go(&self) -> FleetOutcome {
        self.spawn().run(PLENTY, &NEVER)
    }

    /// Runs until the first message has been handled, and interrupts then.
    fn cancelled(&self, fleet: Fleet) -> FleetOutcome {
        let cancel = AtomicBool::new(false);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                await_record(&self.ledger(), Event::Handled);
                cancel.store(true, Ordering::Relaxed);
            });
            fleet.run(PLENTY, &cancel)
        })
    }

    fn totals(&self) -> Totals {
        Totals::read(&self.ledger(), RUN).unwrap()
    }

    /// Every account but the wire's is equal, kind by kind, and the run went as it should.
    fn assert_exact(&self, messages: u64) {
        let outcome = self.go();
        assert!(outcome.is_clean(), "{outcome:?}");
        assert_eq!(outcome.completed(), outcome.operations);
        let totals = self.totals();
        let all = totals.all();
        let expected = Messages::new(messages);
        assert_eq!(
            (all.attempted, all.sent, all.arrived, all.handled),
            (expected, expected, expected, expected)
        );
        assert_eq!(
            (all.refused, all.suppressed),
            (Messages::ZERO, Messages::ZERO)
        );
        assert_eq!(totals.sent_bytes, totals.arrived_bytes);
        self.assert_formula(&outcome);
        let polled: u64 = outcome
            .counters
            .values()
            .flatten()
            .map(|channel| channel.counts.handled.get())
            .sum();
        assert_eq!(
            polled, messages,
            "the polled counters agree with the ledger"
        );
    }

    fn assert_formula(&self, outcome: &FleetOutcome) {
        let algorithm = catalog::by_name(&self.config.algorithm).unwrap();
        let case = Case {
            n: self.config.n,
            rounds: self.config.rounds,
            options: &self.config.options,
            events: &outcome.events,
            died: &[],
        };
        let totals = self.totals();
        for row in (algorithm.expected)(&case) {
            let counts = totals.kind(algorithm.name, row.kind);
            assert!(row.count.admits(counts.attempted), "{row:?}: {counts:?}");
        }
    }
}

const MODES: [Connections; 3] = [
    Connections::Persistent,
    Connections::PerMessage,
    Connections::PerExchange,
];

/// Waits until the ledger holds a record of `event`.
fn await_record(ledger: &Path, event: Event) {
    let limit = Instant::now() + PLENTY;
    while Instant::now() < limit {
        let records = Reader::open(ledger).into_iter().flatten().flatten();
        if records.into_iter().any(|record| record.event == event) {
            return;
        }
        std::thread::yield_now();
    }
    panic!("no {event:?} in {}", ledger.display());
}

fn signal(pid: u32, signal: Signal) {
    kill_process(Pid::from_raw(pid as i32).unwrap(), signal).unwrap();
}

fn runs(pid: u32) -> bool {
    Path::new(&format!("/proc/{pid}")).exists()
}

/// Waits until nobody listens on this address. A killed process shows as ended before the last of
/// its threads has let go of its sockets.
fn await_closed(address: SocketAddr) {
    let limit = Instant::now() + PLENTY;
    while Instant::now() < limit {
        if TcpListener::bind(address).is_ok() {
            return;
        }
        std::thread::yield_now();
    }
    panic!("somebody still listens on {address}");
}

#[test]
fn a_commit_among_four_takes_twelve_messages_in_every_mode() {
    for mode in MODES {
        Run::new("two-phase-commit", 4, mode).assert_exact(12);
        Run::new("two-phase-commit", 4, mode)
            .rounds(5)
            .assert_exact(60);
    }
}

#[test]
fn a_commit_in_three_phases_among_four_takes_eighteen_messages_in_every_mode() {
    for mode in MODES {
        // A busy machine is no dead participant.
        let patient = |n| Run::new("three-phase-commit", n, mode).option("timeout", "30s");
        patient(4).assert_exact(18);
        patient(5).rounds(3).assert_exact(72);
    }
}

#[test]
fn paxos_takes_five_messages_another_process_or_as_learning_costs() {
    for mode in MODES {
        // A busy machine is no reason for another ballot.
        let patient = || Run::new("paxos", 5, mode).option("timeout", "30s");
        patient().rounds(2).assert_exact(40);
        patient().option("learn", "none").assert_exact(16);
        patient().option("learn", "broadcast").assert_exact(32);
    }
}

#[test]
fn the_original_lamport_script_gets_its_timestamps_in_every_mode() {
    for mode in MODES {
        let run = Run::new("lamport-clock", 3, mode).option("script", "original");
        let outcome = run.go();
        assert!(outcome.is_clean(), "{outcome:?}");
        assert_eq!(run.totals().all().handled, Messages::new(4));
        let ends = outcome.events.iter().filter(|e| e.outcome.phase.ends());
        let mut played: Vec<(u32, String)> = ends
            .map(|end| (end.node.0, end.field("timestamps").unwrap()))
            .collect();
        played.sort();
        let printed = [
            "PI_0_0(1) MS_0(2) PI_0_2(3) MR_1(5) MS_2(6)",
            "MR_3(2) MR_0(3) MS_1(4)",
            "MS_3(1) PI_2_9(2) MR_2(7)",
        ];
        let printed = printed.map(str::to_owned);
        let expected: Vec<(u32, String)> = (0..).zip(printed).collect();
        assert_eq!(played, expected);
    }
}

#[test]
fn a_snapshot_takes_a_marker_on_every_channel_beside_the_transfers_in_every_mode() {
    for mode in MODES {
        Run::new("chandy-lamport", 4, mode).assert_exact(12 + 40);
        let run = Run::new("chandy-lamport", 5, mode).option("transfers", "3");
        run.rounds(2).assert_exact(2 * (20 + 15));
    }
}

#[test]
fn greetings_floods_and_ring_elections_cost_their_formula_in_every_mode() {
    for mode in MODES {
        Run::new("distributed", 4, mode).assert_exact(6);
        let all = Run::new("distributed", 4, mode).option("greet", "all");
        all.rounds(2).assert_exact(2 * 24);
        Run::new("flooding", 5, mode).assert_exact(16);
        let tree = Run::new("flooding", 5, mode).option("topology", "tree");
        tree.rounds(3).assert_exact(12);
        let best = Run::new("chang-roberts", 5, mode).option("order", "ascending");
        best.assert_exact(9 + 5);
        let worst = Run::new("chang-roberts", 5, mode).option("order", "descending");
        worst.rounds(2).assert_exact(2 * (15 + 5));
    }
}

#[test]
fn walkers_make_the_hops_that_their_last_hosts_tell() {
    for mode in MODES {
        let run = Run::new("random-walk", 6, mode).rounds(3);
        let outcome = run.go();
        assert!(outcome.is_clean(), "{outcome:?}");
        let ends: Vec<_> = outcome.events.iter().collect();
        let ends = ends.iter().filter(|e| e.note() == Some("walker-ended"));
        let hops: u64 = ends.map(|e| e.field::<u64>("hops").unwrap()).sum();
        let walks = run.totals().kind("random-walk", "walk");
        assert_eq!((walks.attempted.get(), walks.handled.get()), (hops, hops));
        run.assert_formula(&outcome);
    }
}

/// The initiator has made its calls when others still have some to make.
#[test]
fn a_run_waits_until_processes_that_go_on_after_the_last_operation_have_come_to_rest() {
    for mode in MODES {
        let run = |gossip: &str| {
            let run = Run::new("gossip", 4, mode).option("mode", gossip);
            run.option("calls", "6").option("interval", "2ms").rounds(2)
        };
        run("push-pull").assert_exact(2 * 2 * 4 * 6);
        for gossip in ["push", "pull"] {
            let run = run(gossip);
            let outcome = run.go();
            assert!(outcome.is_clean(), "{outcome:?}");
            let all = run.totals().all();
            assert_eq!(all.attempted, all.handled);
            run.assert_formula(&outcome);
        }
    }
}

#[test]
fn an_absent_process_is_never_started_and_refuses_what_is_sent_to_it_in_every_mode() {
    let check = |mode| {
        // A stall as long as this would make another leader.
        let run = Run::new("bully", 5, mode)
            .option("ok-timeout", "5s")
            .option("coordinator-timeout", "15s");
        let fleet = run.spawn();
        let pids = fleet.pids();
        assert_eq!(pids.iter().position(|&pid| pid == 0), Some(4));
        let outcome = fleet.run(PLENTY, &NEVER);
        assert!(outcome.is_clean(), "{outcome:?}");
        let all = run.totals().all();
        let counts = [all.attempted, all.refused, all.sent, all.handled];
        assert_eq!(counts.map(Messages::get), [19, 4, 15, 15]);
        run.assert_formula(&outcome);
    };
    std::thread::scope(|scope| {
        for mode in MODES {
            scope.spawn(move || check(mode));
        }
    });
}

#[test]
fn three_members_join_with_six_messages_in_every_mode() {
    for mode in MODES {
        Run::new("centralized", 4, mode).assert_exact(6);
        Run::new("centralized", 4, mode).rounds(5).assert_exact(30);
    }
}

#[test]
fn a_token_takes_four_messages_a_round_in_every_mode() {
    for mode in MODES {
        Run::new("ring", 4, mode).assert_exact(4);
        Run::new("ring", 4, mode).rounds(25).assert_exact(100);
        Run::new("ring", 2, mode).rounds(3).assert_exact(6);
    }
}

#[test]
fn a_vote_no_aborts_in_every_mode() {
    for mode in MODES {
        let run = Run::new("two-phase-commit", 4, mode).option("vote-no", "2");
        run.assert_exact(10);
        assert_eq!(run.totals().kind("two-phase-commit", "abort").sent.get(), 2);
    }
}

#[test]
fn a_payload_is_in_every_body() {
    let bare = Run::new("two-phase-commit", 3, Connections::Persistent);
    bare.assert_exact(8);
    let mut padded = Run::new("two-phase-commit", 3, Connections::PerExchange);
    padded.config.payload = 100_000;
    padded.assert_exact(8);
    // 8 messages, of which 4 have an empty body that becomes a null; heads of 1 + 5 bytes.
    let growth = padded.totals().sent_bytes.get() - bare.totals().sent_bytes.get();
    assert_eq!(growth, 8 * (100_000 + 6) + 4);
}

#[test]
fn a_message_is_in_the_ledger_with_the_same_name_at_both_ends() {
    let run = Run::new("two-phase-commit", 4, Connections::Persistent).rounds(3);
    assert!(run.go().is_clean());
    let mut sent = Vec::new();
    let mut handled = Vec::new();
    for record in Reader::open(&run.ledger()).unwrap() {
        let record = record.unwrap();
        assert_eq!((record.run, record.incarnation), (RUN, 1));
        let name = |from, to| {
            (
                from,
                to,
                record.sequence,
                record.lamport,
                record.kind.clone(),
            )
        };
        match record.event {
            Event::Sent => sent.push(name(record.node, record.peer)),
            Event::Handled => handled.push(name(record.peer, record.node)),
            _ => {}
        }
    }
    sent.sort();
    handled.sort();
    assert_eq!(sent.len(), 36);
    assert_eq!(sent, handled);
    for channel in sent.chunk_by(|a, b| (a.0, a.1) == (b.0, b.1)) {
        let sequences: Vec<u64> = channel.iter().map(|name| name.2).collect();
        assert_eq!(sequences, (1..=sequences.len() as u64).collect::<Vec<_>>());
        assert!(
            channel.is_sorted_by(|a, b| a.3 < b.3),
            "timestamps follow the sending order"
        );
    }
}

#[test]
fn a_node_that_is_killed_ends_the_run_in_time_and_is_named() {
    let run = Run::new("ring", 4, Connections::Persistent).rounds(100_000_000);
    let fleet = run.spawn();
    let pids = fleet.pids();
    let (ledger, victim) = (run.ledger(), pids[2]);
    let killer = std::thread::spawn(move || {
        await_record(&ledger, Event::Handled);
        signal(victim, Signal::KILL);
    });
    let began = Instant::now();
    let outcome = fleet.run(PLENTY, &NEVER);
    killer.join().unwrap();
    assert_eq!(outcome.ending, Ending::Broken);
    assert!(
        began.elapsed() < PLENTY,
        "the death ended the run, not its limit"
    );
    let died = outcome.faults.iter().find_map(|fault| match fault {
        FleetFault::Died { node, status, .. } => Some((*node, status.clone())),
        _ => None,
    });
    let (node, status) = died.unwrap_or_else(|| panic!("{outcome:?}"));
    assert_eq!(node, ProcessId(2));
    assert!(status.contains("signal: 9"), "{status}");
    assert!(pids.iter().all(|&pid| !runs(pid)));
    Totals::read(&run.ledger(), RUN).expect("the ledger is readable");
}

#[test]
fn two_phase_commit_aborts_when_a_participant_is_dead() {
    for mode in MODES {
        let run = Run::new("two-phase-commit", 4, mode)
            .rounds(2)
            .option("vote-timeout", "300ms");
        let fleet = run.spawn();
        let victim = fleet.pids()[3];
        signal(victim, Signal::KILL);
        await_closed(run.config.peers[3]);
        let outcome = fleet.run(PLENTY, &NEVER);
        assert_eq!(outcome.ending, Ending::Complete, "{outcome:?}");
        assert!(outcome.quiescent, "{outcome:?}");
        let aborted = outcome
            .events
            .iter()
            .filter(|e| e.outcome.phase == Phase::Fail)
            .count();
        assert_eq!(aborted, 2);
        let died = |f: &FleetFault| {
            matches!(
                f,
                FleetFault::Died {
                    node: ProcessId(3),
                    ..
                }
            )
        };
        assert!(outcome.faults.iter().any(died), "{outcome:?}");
        run.assert_formula(&outcome);
        // Two vote requests and two aborts found a closed port.
        assert_eq!(run.totals().all().refused, Messages::new(4), "{mode:?}");
    }
}

#[test]
fn a_node_that_never_answers_is_named_when_the_limit_comes() {
    let mut run = Run::new("ring", 3, Connections::PerMessage);
    run.config.settle_limit = Duration::from_millis(500);
    let fleet = run.spawn();
    let pids = fleet.pids();
    signal(pids[1], Signal::STOP);
    let began = Instant::now();
    let outcome = fleet.run(Duration::from_millis(500), &NEVER);
    assert_eq!(outcome.ending, Ending::TimeLimit);
    assert!(!outcome.quiescent);
    let silent: Vec<_> = outcome
        .faults
        .iter()
        .filter_map(|fault| match fault {
            FleetFault::NeverAnswered { node, .. } => Some(node.0),
            _ => None,
        })
        .collect();
    assert_eq!(silent, [1], "{outcome:?}");
    assert!(pids.iter().all(|&pid| !runs(pid)));
    assert!(began.elapsed() < PLENTY);
}

#[test]
fn a_port_in_use_is_named_with_its_holder() {
    let run = Run::new("centralized", 3, Connections::Persistent);
    let taken = run.config.peers[1];
    let _holder = TcpListener::bind(taken).unwrap();
    match Fleet::spawn(&run.config, &NEVER).err() {
        Some(FleetError::PortInUse {
            node,
            address,
            holder,
        }) => {
            assert_eq!((node, address), (ProcessId(1), taken));
            if cfg!(target_os = "linux") {
                assert_eq!(holder.map(|holder| holder.pid), Some(std::process::id()));
            }
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn cancelling_leaves_no_node() {
    let run = Run::new("ring", 4, Connections::Persistent).rounds(100_000_000);
    let fleet = run.spawn();
    let pids = fleet.pids();
    let outcome = run.cancelled(fleet);
    assert_eq!(outcome.ending, Ending::Interrupted);
    assert!(!outcome.events.is_empty());
    assert_eq!(outcome.faults, []);
    assert!(pids.iter().all(|&pid| !runs(pid)));

    let cancelled = AtomicBool::new(true);
    assert!(matches!(
        Fleet::spawn(&run.config, &cancelled),
        Err(FleetError::Interrupted)
    ));
}

#[test]
fn dropping_a_fleet_kills_its_nodes() {
    let fleet = Run::new("centralized", 3, Connections::Persistent).spawn();
    let pids = fleet.pids();
    assert!(pids.iter().all(|&pid| runs(pid)));
    drop(fleet);
    assert!(pids.iter().all(|&pid| !runs(pid)));
}

#[test]
fn a_program_that_is_no_node_is_an_error_with_what_it_said() {
    let mut run = Run::new("centralized", 2, Connections::Persistent);
    run.config.node_command = vec!["sh".into(), "-c".into(), "echo no node >&2; exit 3".into()];
    match Fleet::spawn(&run.config, &NEVER).err() {
        Some(FleetError::Died { status, stderr, .. }) => {
            assert!(status.contains('3'), "{status}");
            assert_eq!(stderr, ["no node"]);
        }
        other => panic!("{other:?}"),
    }
    run.config.node_command = vec!["/nowhere/wirewatt".into()];
    assert!(matches!(
        Fleet::spawn(&run.config, &NEVER),
        Err(FleetError::Spawn { program, .. }) if program == "/nowhere/wirewatt"
    ));
    run.config.algorithm = "rung".into();
    assert!(matches!(
        Fleet::spawn(&run.config, &NEVER),
        Err(FleetError::Setup(_))
    ));
}

/// A node whose controller is the test itself, speaking plain lines.
struct ByHand {
    child: Child,
    stdin: Option<ChildStdin>,
    stdout: BufReader<ChildStdout>,
}

impl ByHand {
    fn start(algorithm: &str) -> Self {
        let mut child = Command::new(PROGRAM)
            .args(["node", algorithm, "--controlled"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let (stdin, stdout) = (child.stdin.take(), child.stdout.take().unwrap());
        Self {
            child,
            stdin,
            stdout: BufReader::new(stdout),
        }
    }

    fn say(&mut self, line: &str) {
        writeln!(self.stdin.as_mut().unwrap(), "{line}").unwrap();
    }

    fn hear(&mut self) -> serde_json::Value {
        let mut line = String::new();
        self.stdout.read_line(&mut line).unwrap();
        serde_json::from_str(&line).unwrap_or_else(|error| panic!("{error}: {line:?}"))
    }

    /// Process 1 of a ring of two, which listens for connections per message.
    fn listening(base: u16, ledger: &Path) -> Self {
        let mut node = Self::start("ring");
        node.configure_as(base, ledger, "per-message");
        assert_eq!(node.hear()["type"], "listening");
        node
    }

    fn configure_as(&mut self, base: u16, ledger: &Path, connections: &str) {
        self.configure_with("ring", base, ledger, connections, "{}");
    }

    fn configure_with(
        &mut self,
        algorithm: &str,
        base: u16,
        ledger: &Path,
        connections: &str,
        options: &str,
    ) {
        self.say(&format!(
            r#"{{"v":1,"type":"configure","protocol":"{algorithm}","id":1,"n":2,"peers":["127.0.0.1:{}","127.0.0.1:{}"],"run":5,"incarnation":1,"ledger":{:?},"connections":"{connections}","rounds":1,"options":{options}}}"#,
            base,
            base + 1,
            ledger
        ));
    }
}

/// A token of this run from process 0 to process 1, after docs/wire-format.md and by hand.
fn token(run: u64, sequence: u64) -> Vec<u8> {
    let mut frame = vec![0x57, 0xa7, 1, 0, 0, 0, 0, 0, 0, 2, 0, 1];
    frame.extend([0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 1]);
    for number in [run, 1, sequence, 1] {
        frame.extend(number.to_be_bytes());
    }
    frame.extend(b"\xa2\x65round\x01\x64hops\x01");
    frame[7] = frame.len() as u8;
    frame
}

/// A request (1) or release (3) of Lamport's algorithm from process 0 to process 1, by hand.
fn lamport(kind: u8, sequence: u64, timestamp: u8) -> Vec<u8> {
    let mut frame = vec![0x57, 0xa7, 1, 0, 0, 0, 0, 0, 0, 9, 0, kind];
    frame.extend([0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 1]);
    for number in [5, 1, sequence, 1] {
        frame.extend(u64::to_be_bytes(number));
    }
    frame.push(timestamp); // below 24 CBOR's unsigned integers are one byte
    frame[7] = frame.len() as u8;
    frame
}

fn assert_foreign(notice: &serde_json::Value, stranger: &TcpStream) {
    let address = stranger.local_addr().unwrap().to_string();
    assert_eq!(
        (&notice["type"], &notice["what"], &notice["address"]),
        (&"notice".into(), &"foreign".into(), &address.into()),
        "{notice}"
    );
}

#[test]
fn a_node_ignores_sigint_and_ends_with_its_controller() {
    let folder = tempfile::tempdir().unwrap();
    let mut node = ByHand::listening(free_ports(2), &folder.path().join("ledger.jsonl"));
    signal(node.child.id(), Signal::INT);
    node.say(r#"{"v":1,"type":"counters","poll":1}"#);
    assert_eq!(
        node.hear(),
        serde_json::json!({"v": 1, "type": "counters", "poll": 1, "timers": 0, "channels": []})
    );
    node.stdin = None;
    assert_eq!(node.child.wait().unwrap().code(), Some(2));
}

#[test]
fn what_arrives_before_the_start_waits_and_foreign_bytes_are_reported() {
    let folder = tempfile::tempdir().unwrap();
    let base = free_ports(2);
    let next = TcpListener::bind((Ipv4Addr::LOCALHOST, base)).unwrap();
    let mut node = ByHand::listening(base, &folder.path().join("ledger.jsonl"));

    let mut stranger = TcpStream::connect((Ipv4Addr::LOCALHOST, base + 1)).unwrap();
    stranger.write_all(b"GET / HTTP/1.1\r\n\r\n").unwrap();
    assert_foreign(&node.hear(), &stranger);

    let frame = token(5, 1);
    let mut sender = TcpStream::connect((Ipv4Addr::LOCALHOST, base + 1)).unwrap();
    sender.write_all(&frame).unwrap();
    sender.shutdown(Shutdown::Write).unwrap();
    // The receiver closes when it has read to the end: by then the message has arrived.
    assert_eq!(sender.read(&mut [0]).unwrap(), 0);
    node.say(r#"{"v":1,"type":"counters","poll":1}"#);
    let counts = &node.hear()["channels"][0];
    assert_eq!(
        (&counts["arrived"], &counts["handled"]),
        (&1.into(), &0.into())
    );
    node.say(r#"{"v":1,"type":"start"}"#);
    // The token goes on to process 0, which is played here: read to the end, no reset.
    let (mut onward, _) = next.accept().unwrap();
    let mut token = Vec::new();
    onward.read_to_end(&mut token).unwrap();
    assert_eq!(token[..2], [0x57, 0xa7]);
    drop(onward);
    node.say(r#"{"v":1,"type":"counters","poll":2}"#);
    let counts = &node.hear()["channels"][0];
    assert_eq!(
        (&counts["attempted"], &counts["handled"]),
        (&1.into(), &1.into())
    );
    node.say(r#"{"v":1,"type":"finish","without":[0]}"#);
    assert_eq!(node.hear()["type"], "finished");
    assert_eq!(node.child.wait().unwrap().code(), Some(0));
}

#[test]
fn a_node_refuses_what_it_cannot_read() {
    let mut node = ByHand::start("ring");
    node.say("dance");
    let error = node.hear();
    assert_eq!(
        (&error["type"], &error["what"]),
        (&"error".into(), &"control".into())
    );
    assert_eq!(node.child.wait().unwrap().code(), Some(2));
}

/// "19940 received, 19937 handled": nodes stopped handling what they had decoded when they were told
/// to finish.
#[test]
fn a_cancelled_run_has_handled_all_that_it_received() {
    for mode in MODES {
        let mut run = Run::new("centralized", 6, mode).rounds(1_000_000);
        run.config.history = Some(run.folder.path().join("history.jsonl"));
        let fleet = run.spawn();
        let outcome = run.cancelled(fleet);
        assert_eq!(outcome.ending, Ending::Interrupted);
        assert_eq!(outcome.faults, [], "{mode:?}");
        let all = run.totals().all();
        assert_eq!(
            (all.arrived, all.sent),
            (all.handled, all.handled),
            "{mode:?}"
        );
        assert_eq!(all.attempted, all.handled + all.refused, "{mode:?}");
        assert!(outcome.quiescent, "{mode:?}");

        // The file has what the outcome has, in the same order.
        let text = std::fs::read_to_string(run.folder.path().join("history.jsonl")).unwrap();
        let written: Vec<wirewatt::algorithm::Event> = text
            .lines()
            .map(|line| serde_json::from_str(line).unwrap())
            .collect();
        assert_eq!(written, outcome.events);
    }
}

/// The controller says `finish` before it hears of a point, and answers the point then. The node took
/// that answer for its controller's death.
#[test]
fn the_answer_to_a_point_may_come_after_finish() {
    let folder = tempfile::tempdir().unwrap();
    let base = free_ports(2);
    let ledger = folder.path().join("ledger.jsonl");
    let mut node = ByHand::start("ring");
    node.say(&format!(
        r#"{{"v":1,"type":"configure","protocol":"ring","id":1,"n":2,"peers":["127.0.0.1:{}","127.0.0.1:{}"],"run":5,"incarnation":1,"ledger":{ledger:?},"connections":"per-message","rounds":1,"options":{{}},"faults":{{"points":["has-token"]}}}}"#,
        base,
        base + 1,
    ));
    assert_eq!(node.hear()["type"], "listening");
    node.say(r#"{"v":1,"type":"start"}"#);
    let mut sender = TcpStream::connect((Ipv4Addr::LOCALHOST, base + 1)).unwrap();
    sender.write_all(&token(5, 1)).unwrap();
    let point = node.hear();
    assert_eq!(point["type"], "point", "{point}");
    node.say("{\"v\":1,\"type\":\"finish\"}\n{\"v\":1,\"type\":\"go-on\"}");
    // The node's FIN: it finishes, and reads on until the other end has closed too.
    assert_eq!(sender.read(&mut [0]).unwrap(), 0);
    sender.shutdown(Shutdown::Write).unwrap();
    let finished = node.hear();
    assert_eq!(finished["type"], "finished", "{finished}");
    assert_eq!(node.child.wait().unwrap().code(), Some(0));
}

#[test]
fn what_arrives_while_a_node_finishes_is_handled() {
    let folder = tempfile::tempdir().unwrap();
    let base = free_ports(2);
    let mut node = ByHand::listening(base, &folder.path().join("ledger.jsonl"));
    node.say(r#"{"v":1,"type":"start"}"#);
    let mut sender = TcpStream::connect((Ipv4Addr::LOCALHOST, base + 1)).unwrap();
    sender.write_all(&token(5, 1)).unwrap();
    await_record(&folder.path().join("ledger.jsonl"), Event::Handled);
    node.say(r#"{"v":1,"type":"finish"}"#);
    // The node's FIN: it has begun to close.
    assert_eq!(sender.read(&mut [0]).unwrap(), 0);
    for sequence in 2..=50 {
        sender.write_all(&token(5, sequence)).unwrap();
    }
    // Bytes of no frame: the fault is told though the node finishes.
    sender.write_all(b"gone").unwrap();
    let fault = node.hear();
    assert_eq!(
        (&fault["type"], &fault["what"], &fault["peer"]),
        (&"fault".into(), &"foreign".into(), &0.into())
    );
    let finished = node.hear();
    assert_eq!(finished["type"], "finished", "{finished}");
    let counts = &finished["channels"][0];
    assert_eq!(
        (&counts["arrived"], &counts["handled"]),
        (&50.into(), &50.into())
    );
    // Nobody listens for process 0, and while the node closes it dials nobody.
    assert_eq!(counts["attempted"], counts["refused"]);
    assert_eq!(node.child.wait().unwrap().code(), Some(0));
}

/// A node that had half-closed waited for ever on a connection that came after that, and its peer
/// dialled a new connection because of the half-close.
#[test]
fn a_connection_that_comes_while_a_node_finishes_is_closed_too() {
    let folder = tempfile::tempdir().unwrap();
    let base = free_ports(2);
    let mut node = ByHand::listening(base, &folder.path().join("ledger.jsonl"));
    // A connection of process 0's that stays open keeps the node from ending.
    let connect = || TcpStream::connect((Ipv4Addr::LOCALHOST, base + 1)).unwrap();
    let mut first = connect();
    first.write_all(&token(5, 1)).unwrap();
    await_record(&folder.path().join("ledger.jsonl"), Event::Arrived);
    node.say(r#"{"v":1,"type":"finish"}"#);
    // The node's FIN: it has begun to close.
    assert_eq!(first.read(&mut [0]).unwrap(), 0);
    let mut second = connect();
    second.write_all(&token(5, 2)).unwrap();
    assert_eq!(second.read(&mut [0]).unwrap(), 0);
    drop(second);
    drop(first);
    assert_eq!(node.hear()["type"], "finished");
    assert_eq!(node.child.wait().unwrap().code(), Some(0));
}

/// With both ends on their way out a late message goes over the connection that is there.
#[test]
fn no_connection_is_dialled_because_a_peer_finishes() {
    let folder = tempfile::tempdir().unwrap();
    let base = free_ports(2);
    let next = TcpListener::bind((Ipv4Addr::LOCALHOST, base)).unwrap();
    next.set_nonblocking(true).unwrap();
    let mut node = ByHand::start("ring");
    node.configure_as(base, &folder.path().join("ledger.jsonl"), "persistent");
    assert_eq!(node.hear()["type"], "listening");
    let mut link = TcpStream::connect((Ipv4Addr::LOCALHOST, base + 1)).unwrap();
    let address = link.local_addr().unwrap();
    node.say(&format!(
        r#"{{"v":1,"type":"start","links":[{{"peer":0,"address":"{address}"}}]}}"#
    ));
    node.say(r#"{"v":1,"type":"quiesce"}"#);
    node.say(r#"{"v":1,"type":"counters","poll":1}"#);
    assert_eq!(node.hear()["type"], "counters");
    link.write_all(&token(5, 1)).unwrap();
    link.shutdown(Shutdown::Write).unwrap();
    let mut header = [0; 56];
    link.read_exact(&mut header).unwrap();
    assert_eq!(header[..2], [0x57, 0xa7]);
    node.say(r#"{"v":1,"type":"finish"}"#);
    link.read_to_end(&mut Vec::new()).unwrap();
    assert_eq!(node.hear()["type"], "finished");
    assert_eq!(node.child.wait().unwrap().code(), Some(0));
    assert!(next.accept().is_err(), "a connection was dialled");
}

#[test]
fn strangers_are_named_and_waited_for_by_nobody() {
    let mut run = Run::new("centralized", 3, Connections::Persistent);
    // The idle one must not be what ends the nodes.
    run.config.settle_limit = PLENTY;
    let fleet = run.spawn();
    let idle = TcpStream::connect(run.config.peers[1]).unwrap();
    let scanner = TcpStream::connect(run.config.peers[2]).unwrap();
    let expected = [
        (ProcessId(1), idle.local_addr().unwrap()),
        (ProcessId(2), scanner.local_addr().unwrap()),
    ];
    drop(scanner);
    let began = Instant::now();
    let outcome = fleet.run(PLENTY, &NEVER);
    assert!(began.elapsed() < PLENTY);
    drop(idle);
    assert!(outcome.is_clean(), "{outcome:?}");
    let mut told: Vec<_> = outcome
        .notices
        .iter()
        .map(|notice| (notice.node, notice.notice.address))
        .collect();
    told.sort();
    assert_eq!(told, expected);
    let words = outcome.notices[0].to_string();
    assert!(
        words.contains("a connection from 127.0.0.1:") && words.contains("none of the run's"),
        "{words}"
    );
    assert_eq!(run.totals().all().handled, Messages::new(4));
}

#[test]
fn a_frame_of_another_run_is_a_notice_and_in_no_account() {
    let folder = tempfile::tempdir().unwrap();
    let base = free_ports(2);
    let mut node = ByHand::listening(base, &folder.path().join("ledger.jsonl"));
    node.say(r#"{"v":1,"type":"start"}"#);
    let mut stranger = TcpStream::connect((Ipv4Addr::LOCALHOST, base + 1)).unwrap();
    // Once a connection, however many come.
    stranger.write_all(&token(6, 1)).unwrap();
    stranger.write_all(&token(6, 2)).unwrap();
    assert_foreign(&node.hear(), &stranger);
    stranger.shutdown(Shutdown::Write).unwrap();
    assert_eq!(stranger.read(&mut [0]).unwrap(), 0);
    node.say(r#"{"v":1,"type":"counters","poll":1}"#);
    assert_eq!(
        node.hear(),
        serde_json::json!({"v": 1, "type": "counters", "poll": 1, "timers": 0, "channels": []})
    );
    node.say(r#"{"v":1,"type":"finish"}"#);
    assert_eq!(node.hear()["type"], "finished");
    assert_eq!(node.child.wait().unwrap().code(), Some(0));
    let ledger = std::fs::read(folder.path().join("ledger.jsonl")).unwrap();
    assert!(ledger.is_empty());
}

/// "--timeout 100ms" called healthy nodes dead that were still connecting.
#[test]
fn the_operations_limit_makes_no_node_a_dead_one() {
    for mode in [Connections::Persistent, Connections::PerMessage] {
        let run = Run::new("centralized", 8, mode).rounds(1_000_000);
        let outcome = run.spawn().run(Duration::ZERO, &NEVER);
        assert_eq!(outcome.ending, Ending::TimeLimit);
        assert_eq!(outcome.faults, []);
        assert!(outcome.quiescent);
        let all = run.totals().all();
        assert_eq!(all.arrived, all.handled);
    }
}

/// Nodes that are stopped while they connect are killed as nothing worse than late.
#[test]
fn an_interrupt_while_nodes_connect_makes_no_node_a_dead_one() {
    let mut run = Run::new("ring", 3, Connections::Persistent);
    run.config.settle_limit = Duration::from_millis(300);
    let fleet = run.spawn();
    let pids = fleet.pids();
    signal(pids[1], Signal::STOP);
    let outcome = fleet.run(PLENTY, &AtomicBool::new(true));
    assert_eq!(outcome.ending, Ending::Interrupted);
    assert_eq!(outcome.faults, []);
    assert_eq!(outcome.notices, []);
    assert!(pids.iter().all(|&pid| !runs(pid)));
}

/// A line that was no UTF-8 cut a node off: what it said after that was lost.
#[test]
fn lines_that_are_no_utf8_cut_no_node_off() {
    let mut run = Run::new("centralized", 3, Connections::Persistent);
    let script = r#"printf 'bad \377\n'; printf 'worse \376\n' >&2; exec "$0" "$@""#;
    run.config.node_command = ["sh", "-c", script, PROGRAM, "node"].map(Into::into).into();
    let outcome = run.go();
    assert_eq!(
        (outcome.ending, outcome.quiescent),
        (Ending::Complete, true)
    );
    assert_eq!(outcome.faults.len(), 3, "{outcome:?}");
    for fault in &outcome.faults {
        let FleetFault::Gibberish { detail, .. } = fault else {
            panic!("{fault:?}");
        };
        assert_eq!(detail, "'bad \u{fffd}' is not UTF-8");
    }
    for id in 0..3 {
        assert_eq!(outcome.stderr[&ProcessId(id)], ["worse \u{fffd}"]);
    }
    assert_eq!(run.totals().all().handled, Messages::new(4));
}

/// The history was kept in memory until the end.
#[test]
fn the_history_is_in_its_file_while_the_run_goes_on() {
    let mut run = Run::new("ring", 3, Connections::Persistent).rounds(100_000_000);
    let path = run.folder.path().join("history.jsonl");
    run.config.history = Some(path.clone());
    let fleet = run.spawn();
    let cancel = std::sync::Arc::new(AtomicBool::new(false));
    let reader = std::thread::spawn({
        let cancel = cancel.clone();
        move || {
            let limit = Instant::now() + PLENTY;
            // An operation that has ended: its two events and more are there before the run ends.
            while Instant::now() < limit
                && !std::fs::read_to_string(&path)
                    .unwrap()
                    .contains(r#""event":"ok""#)
            {
                std::thread::yield_now();
            }
            let found = Instant::now() < limit;
            cancel.store(true, Ordering::Relaxed);
            found
        }
    });
    let outcome = fleet.run(2 * PLENTY, &cancel);
    assert!(reader.join().unwrap());
    assert_eq!(outcome.ending, Ending::Interrupted);

    run.config.history = Some("/nowhere/history.jsonl".into());
    assert!(matches!(
        Fleet::spawn(&run.config, &NEVER),
        Err(FleetError::History { .. })
    ));
}

#[test]
fn every_mutex_is_exact_or_within_in_every_mode() {
    let algorithms = [
        "central-mutex",
        "lamport-mutex",
        "ricart-agrawala",
        "maekawa",
        "suzuki-kasami",
    ];
    for algorithm in algorithms {
        for mode in MODES {
            let run = Run::new(algorithm, 4, mode).rounds(2);
            let outcome = run.go();
            assert!(outcome.is_clean(), "{outcome:?}");
            assert_eq!(outcome.completed(), 8);
            let all = run.totals().all();
            assert_eq!((all.attempted, all.sent), (all.handled, all.arrived));
            assert_eq!(all.refused, Messages::ZERO);
            run.assert_formula(&outcome);
        }
    }
}

/// Messages come over two connections, the later one first: both are handled, in channel order.
#[test]
fn messages_of_a_fifo_channel_are_handled_in_the_order_of_sending() {
    let folder = tempfile::tempdir().unwrap();
    let base = free_ports(2);
    let next = TcpListener::bind((Ipv4Addr::LOCALHOST, base)).unwrap();
    let mut node = ByHand::start("lamport-mutex");
    let ledger = folder.path().join("ledger.jsonl");
    node.configure_with(
        "lamport-mutex",
        base,
        &ledger,
        "per-message",
        r#"{"contenders":"0"}"#,
    );
    assert_eq!(node.hear()["type"], "listening");
    node.say(r#"{"v":1,"type":"start"}"#);
    let send = |frame: &[u8]| {
        let mut sender = TcpStream::connect((Ipv4Addr::LOCALHOST, base + 1)).unwrap();
        sender.write_all(frame).unwrap();
        sender.shutdown(Shutdown::Write).unwrap();
        assert_eq!(sender.read(&mut [0]).unwrap(), 0);
    };
    let handled = || -> Vec<u64> {
        let records = Reader::open(&ledger).unwrap().map(Result::unwrap);
        let handled = records.filter(|record| record.event == Event::Handled);
        handled.map(|record| record.sequence).collect()
    };
    send(&lamport(3, 2, 3));
    send(&lamport(1, 1, 1));
    // The request is answered.
    let mut answer = next.accept().unwrap().0;
    answer.read_to_end(&mut Vec::new()).unwrap();
    drop(answer);
    let limit = Instant::now() + PLENTY;
    while handled().len() < 2 && Instant::now() < limit {
        std::thread::yield_now();
    }
    assert_eq!(handled(), [1, 2]);

    // Message 3 never comes: what is behind it is not handled, and the channel is told as broken.
    send(&lamport(3, 4, 6));
    node.say(r#"{"v":1,"type":"finish"}"#);
    let fault = node.hear();
    let told = (&fault["type"], &fault["what"], &fault["peer"]);
    assert_eq!(told, (&"fault".into(), &"gap".into(), &0.into()), "{fault}");
    let detail = fault["detail"].as_str().unwrap();
    assert!(
        detail.starts_with("message 3 of the channel never came: 1 after it"),
        "{detail}"
    );
    let finished = node.hear();
    assert_eq!(finished["channels"][0]["arrived"], 3, "{finished}");
    assert_eq!(node.child.wait().unwrap().code(), Some(0));
    assert_eq!(handled(), [1, 2]);
}
