//! A simulated run's report: what happened, held against formula and properties, and the traffic
//! that the wire-cost model predicts, in the form in which captured traffic is reported.

use std::time::Duration;

use super::fault::{Fault, FaultError, Storage, When, Who};
use crate::algorithm::{Expected, Judgement, Phase, PropertyKind, SetupError};
use crate::audit;
use crate::energy::{DEFAULT_GRID, Gas, HEADLINE_MODEL};
use crate::report::Models;
use crate::report::simulation::{
    Promise, SIMULATION_SCHEMA, SimulatedOperations, SimulatedRow, SimulationReport, predicted,
};
use crate::simulation::wire::{IP_HEADER, RST_HEADER, SYN_HEADER, TCP_HEADER};
use crate::simulation::{self, End, Network, Order, Run, Scenario, Watch, WireCost};
use crate::tally::ProtocolTally;
use crate::tally::{BytesByClass, Excess, LayerBytes, Operations, PacketCounts, Projection};
use crate::units::{
    IpBytes, IpHeaderBytes, LinkHeaderBytes, Messages, Mtu, Packets, TransportHeaderBytes,
    WireBytes,
};
use crate::{algorithm::Algorithm, node::control::Connections};

/// Link-layer header that `lo` shows on each packet.
const LINK_HEADER: u64 = 14;

/// Simulates one run and reports on it, unless it is stopped.
///
/// # Errors
///
/// [`SetupError`] where the algorithm cannot be built so.
pub fn simulate(
    algorithm: &'static Algorithm,
    scenario: &Scenario,
    models: &Models,
    watch: &Watch,
) -> Result<Option<SimulationReport>, SetupError> {
    let run = simulation::run_watched(algorithm, scenario, watch)?;
    Ok(run.map(|run| report(&run, models)))
}

/// Faults of `--fault` as the simulation has them.
///
/// # Errors
///
/// [`FaultError`] where one cannot be read, names what there is not, or is none that can be simulated.
pub fn simulated_faults(
    algorithm: &Algorithm,
    n: u32,
    texts: &[String],
) -> Result<Vec<simulation::Fault>, FaultError> {
    let processes = (algorithm.processes)(n);
    let simulated = |text: &String| {
        let fault = Fault::read(text)?;
        let wrong = |problem: String| FaultError {
            place: format!("--fault '{text}'"),
            problem,
        };
        fault.check(algorithm, processes).map_err(wrong)?;
        simulated_fault(&fault).map_err(|problem| wrong(problem.to_owned()))
    };
    texts.iter().map(simulated).collect()
}

fn simulated_fault(fault: &Fault) -> Result<simulation::Fault, &'static str> {
    match fault {
        Fault::Kill { target, restart } => {
            let Who::Process(node) = target.who else {
                return Err("a simulation needs the process's id, as in kill=0@after-votes");
            };
            let at = match &target.when {
                When::Time(time) => simulation::Moment::Time(*time),
                When::Point { name, pass: 1 } => simulation::Moment::Point(name.clone()),
                When::Point { .. } => {
                    return Err("a simulation knows the first time only that a point is passed");
                }
            };
            let lost = restart.is_some_and(|restart| restart.storage == Storage::Lost);
            Ok(simulation::Fault::Crash {
                node,
                at,
                back: restart.map(|restart| restart.after),
                storage: match lost {
                    true => simulation::Storage::Lost,
                    false => simulation::Storage::Kept,
                },
            })
        }
        Fault::Split { side, at, time } => Ok(simulation::Fault::Partition {
            side: side.iter().copied().collect(),
            from: *at,
            until: time.map_or(Duration::MAX, |time| at.saturating_add(time)),
        }),
        _ => Err("a simulation has kill and split, and --loss, --duplicate and --delay"),
    }
}

fn report(run: &Run, models: &Models) -> SimulationReport {
    let scenario = &run.scenario;
    let ended = |phase| {
        run.case()
            .completed()
            .filter(|end| end.phase == phase)
            .count() as u64
    };
    let operations = SimulatedOperations {
        wanted: (run.algorithm.operations)(scenario.n, scenario.rounds, &scenario.options),
        succeeded: ended(Phase::Ok),
        failed: ended(Phase::Fail),
        unknown: ended(Phase::Info),
        open: run.case().open(),
    };
    let connections = scenario
        .wire
        .map_or(Connections::default(), |wire| wire.connections);
    SimulationReport {
        schema: SIMULATION_SCHEMA,
        tool: SimulationReport::this_tool(),
        algorithm: run.algorithm.name.to_owned(),
        processes: scenario.n,
        rounds: scenario.rounds,
        seed: scenario.seed,
        command: scenario.command(run.algorithm) + &energy_options(models),
        conditions: conditions(scenario),
        cut: run.ended == End::Limit,
        virtual_time: u64::try_from(run.time.as_nanos()).unwrap_or(u64::MAX),
        operations,
        rows: rows(run),
        promises: promises(run),
        crashed: run.crashed.iter().map(|id| id.0).collect(),
        connections: connections.to_string(),
        undecided_acks: run
            .wire
            .as_ref()
            .map_or(Packets::ZERO, |wire| wire.undecided),
        predicted: predicted(&tally(run), models, operations.succeeded),
    }
}

/// The options that choose these models, where they are not those that need none. Files of the user's own
/// are to be named besides.
fn energy_options(models: &Models) -> String {
    let Models { headline, grid, .. } = models;
    let mut options = Vec::new();
    if headline.name != HEADLINE_MODEL {
        options.push(("model", headline.name.clone()));
        options.extend(headline.hops.map(|hops| ("hops", hops.to_string())));
    }
    if headline.pue != 1.0 {
        options.push(("pue", headline.pue.to_string()));
    }
    match grid.gas {
        // It was given as a rate.
        Gas::Unspecified => options.push(("grid", grid.grams_per_kwh.to_string())),
        _ if grid.name == DEFAULT_GRID => {}
        _ => options.push(("grid", grid.name.clone())),
    }
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
    let words = options.into_iter().map(|(name, value)| {
        match !value.is_empty() && value.chars().all(plain) {
            true => format!(" --{name} {value}"),
            false => format!(" --{name} '{}'", value.replace('\'', r"'\''")),
        }
    });
    words.collect()
}

fn conditions(scenario: &Scenario) -> String {
    let Network {
        delay,
        loss_per_mille,
        duplicate_per_mille,
        order,
    } = &scenario.network;
    let mut words = vec![format!(
        "delays {} to {}",
        time(*delay.start()),
        time(*delay.end())
    )];
    match order {
        Order::Declared => {}
        Order::Fifo => words.push("FIFO channels".to_owned()),
        Order::Any => words.push("unordered channels".to_owned()),
    }
    let mut fails = Vec::new();
    if *loss_per_mille > 0 {
        fails.push(format!("{loss_per_mille} of 1,000 messages lost"));
    }
    if *duplicate_per_mille > 0 {
        fails.push(format!(
            "{duplicate_per_mille} of 1,000 messages come twice"
        ));
    }
    match scenario.faults.len() {
        0 => {}
        1 => fails.push("1 fault".to_owned()),
        more => fails.push(format!("{more} faults")),
    }
    if fails.is_empty() {
        fails.push("nothing fails".to_owned());
    }
    words.extend(fails);
    words.join(", ")
}

fn time(duration: Duration) -> String {
    format!("{duration:?}")
}

fn rows(run: &Run) -> Vec<SimulatedRow> {
    let expectations = (run.algorithm.expected)(&run.case());
    let row = |expectation: crate::algorithm::Expectation| {
        let counts = run
            .counts
            .get(expectation.kind)
            .copied()
            .unwrap_or_default();
        let attempted = Messages::new(counts.attempted);
        SimulatedRow {
            kind: expectation.kind.to_owned(),
            formula: expectation.formula.to_owned(),
            expected: match expectation.count {
                Expected::Exactly(number) => audit::Expected::Number(number),
                Expected::Between { low, high } => audit::Expected::Interval { low, high },
            },
            attempted,
            refused: Messages::new(counts.refused),
            lost: Messages::new(counts.lost),
            duplicated: Messages::new(counts.duplicated),
            handled: Messages::new(counts.handled),
            admitted: expectation.count.admits(attempted),
        }
    };
    expectations.into_iter().map(row).collect()
}

fn promises(run: &Run) -> Vec<Promise> {
    let mut promises = Vec::new();
    for identity in run.algorithm.identities {
        let open = (!run.failure_free()).then_some("something failed");
        let holds = identity.holds(|kind| run.attempted(kind));
        promises.push(Promise {
            name: identity.text.to_owned(),
            kind: "identity",
            about: identity.text.to_owned(),
            holds: open.is_none().then_some(holds),
            why: open.map(str::to_owned),
        });
    }
    for error in run.protocol_errors().iter().take(3) {
        promises.push(Promise {
            name: "protocol".to_owned(),
            kind: "safety",
            about: "no message comes that the algorithm has no place for".to_owned(),
            holds: Some(false),
            why: Some(format!("at process {}: {}", error.0, error.1)),
        });
    }
    let execution = run.execution();
    for property in run.algorithm.properties {
        let liveness = property.kind == PropertyKind::Liveness;
        let total = run.total();
        let failures = run.algorithm.failures;
        let (died, came_back) = (!run.died.is_empty(), run.died.len() > run.crashed.len());
        let open = match () {
            () if liveness && run.ended == End::Limit => Some("the run was cut at its limit"),
            () if liveness && total.lost > 0 => Some("messages were lost"),
            () => failures.broken_assumption(property.kind, died, came_back),
        };
        let (holds, why) = match open {
            Some(open) => (None, Some(open.to_owned())),
            None => match property.judge(&execution) {
                Judgement::Holds => (Some(true), None),
                Judgement::Broken(why) => (Some(false), Some(why)),
                Judgement::NotJudged(why) => (None, Some(why.to_owned())),
            },
        };
        promises.push(Promise {
            name: property.name.to_owned(),
            kind: if liveness { "liveness" } else { "safety" },
            about: property.about.to_owned(),
            holds,
            why,
        });
    }
    promises
}

/// The predicted traffic as a capture's tally would have it. Directions, pairs and times are not
/// predicted.
pub fn tally(run: &Run) -> ProtocolTally {
    let protocol = run.algorithm.protocol();
    let none = WireCost::default();
    let cost = run.wire.as_ref().unwrap_or(&none);
    let mtu = run.scenario.wire.map_or(Mtu::default(), |wire| wire.mtu);
    let packets = cost.packets();
    let payload = cost.payload();
    let ip_header = packets.get() * IP_HEADER;
    let options = cost.teardown.get() - cost.resets.get();
    let class = |bytes: u64| IpBytes::new(bytes);
    ProtocolTally {
        name: protocol.name.clone(),
        ports: format!("{}-{}", protocol.ports.start(), protocol.ports.end()),
        framing: "wirewatt".to_owned(),
        connections: cost.connections,
        refused_connections: cost.refused_connections,
        messages: cost.messages,
        packets: PacketCounts {
            total: packets,
            handshake: cost.handshake,
            data: cost.data,
            pure_ack: cost.pure_ack,
            teardown: cost.teardown,
            ..PacketCounts::default()
        },
        bytes_by_class: BytesByClass {
            handshake: class(cost.handshake.get() * (IP_HEADER + SYN_HEADER)),
            data: class(cost.data.get() * (IP_HEADER + TCP_HEADER) + payload.get()),
            pure_ack: class(cost.pure_ack.get() * (IP_HEADER + TCP_HEADER)),
            teardown: class(
                options * (IP_HEADER + TCP_HEADER) + cost.resets.get() * (IP_HEADER + RST_HEADER),
            ),
            ..BytesByClass::default()
        },
        bytes: LayerBytes {
            message: cost.message_bytes,
            framing: cost.framing_bytes,
            payload,
            transport_header: TransportHeaderBytes::new(cost.ip.get() - ip_header - payload.get()),
            ip_header: IpHeaderBytes::new(ip_header),
            ip: cost.ip,
            link_header: LinkHeaderBytes::new(packets.get() * LINK_HEADER),
            wire: WireBytes::new(cost.ip.get() + packets.get() * LINK_HEADER),
            ..LayerBytes::default()
        },
        operations: Operations::counted(run.completed(), protocol.operation.clone()),
        projection: projection(mtu, cost, packets),
        ..ProtocolTally::default()
    }
}

fn projection(mtu: Mtu, cost: &WireCost, packets: Packets) -> Projection {
    let mut excess = Excess::default();
    let headers = |tcp: u64| (IP_HEADER + tcp) as u32;
    for &(payload, count) in &cost.segments {
        let payload = u32::try_from(payload.get()).unwrap_or(u32::MAX);
        excess.add_packets(mtu, headers(TCP_HEADER), payload, count);
    }
    excess.add_packets(mtu, headers(RST_HEADER), 0, cost.resets);
    Projection::of(mtu, packets, cost.ip, excess)
}
