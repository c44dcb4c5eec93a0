//! What the controller does to a run on purpose: kills, restarts and stops processes, splits them, and
//! tells nodes what to do to themselves. What happened is kept, with its time.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use serde::{Deserialize, Serialize};

use super::outcome::list;
use super::{A_YEAR, FleetFault, Inner, Member};
use crate::algorithm::ProcessId;
use crate::experiment::fault::{Fault, Storage, Target, When, Who};
use crate::node::control::{Command, DropRule, Injections};

/// What an injected fault did.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Injected {
    /// Which of the run's faults, from 0.
    pub fault: usize,
    /// To which process; none: to several.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub node: Option<ProcessId>,
    /// When, in nanoseconds since the nodes were told to start.
    pub after: u64,
    /// What.
    #[serde(flatten)]
    pub deed: Deed,
}

/// What an injected fault can do.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "deed", rename_all = "kebab-case")]
pub enum Deed {
    /// The process was killed.
    Killed {
        /// The point that it had reached, where it was killed at one.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        point: Option<String>,
    },
    /// It was started again and told to go on.
    Restarted {
        /// Its incarnation from then on.
        incarnation: u32,
        /// Whether what it had persisted was taken away.
        storage_lost: bool,
    },
    /// It was stopped.
    Stopped {
        /// The point that it had reached, where it was stopped at one.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        point: Option<String>,
    },
    /// It was let go on.
    Continued,
    /// Messages between these processes and the others were suppressed from now on.
    Split {
        /// The processes of one side.
        side: BTreeSet<ProcessId>,
    },
    /// They were not any more.
    Healed,
}

impl std::fmt::Display for Injected {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if let Some(node) = self.node {
            write!(f, "process {node} ")?;
        }
        let at = |f: &mut std::fmt::Formatter<'_>, point: &Option<String>| match point {
            Some(point) => write!(f, " at {point}"),
            None => Ok(()),
        };
        match &self.deed {
            Deed::Killed { point } => {
                f.write_str("killed")?;
                at(f, point)?;
            }
            Deed::Restarted {
                incarnation,
                storage_lost,
            } => {
                let storage = if *storage_lost { "without" } else { "with" };
                write!(
                    f,
                    "started again {storage} its stable storage as incarnation {incarnation}"
                )?;
            }
            Deed::Stopped { point } => {
                f.write_str("stopped")?;
                at(f, point)?;
            }
            Deed::Continued => f.write_str("let go on")?,
            Deed::Split { side } => {
                let side: Vec<ProcessId> = side.iter().copied().collect();
                write!(f, "processes {} split from the others", list(&side))?;
            }
            Deed::Healed => f.write_str("split healed")?,
        }
        write!(f, ", {:.1} ms after the start", self.after as f64 / 1e6)
    }
}

/// What an injected fault does, and when.
pub(super) struct Timed {
    pub at: Instant,
    pub fault: usize,
    pub act: Act,
}

pub(super) enum Act {
    Kill(ProcessId),
    Stop(ProcessId, Duration),
    Continue(ProcessId),
    Restart(ProcessId, Storage),
    Split(BTreeSet<ProcessId>),
    Heal,
}

/// A fault that waits for a point to be passed.
pub(super) struct AtPoint {
    pub fault: usize,
    pub who: Who,
    pub point: String,
    /// It comes when the point is passed this often more.
    pub left: u32,
}

impl Inner {
    /// What the node is to do to itself.
    pub(super) fn injections(&self, id: ProcessId) -> Injections {
        let mut injections = Injections {
            seed: self.config.seed,
            ..Injections::default()
        };
        let of_all = |of: &Option<ProcessId>| of.is_none_or(|of| of == id);
        for fault in &self.config.faults {
            match fault {
                Fault::Delay { by, of } if of_all(of) => {
                    let by = u64::try_from(by.as_nanos()).unwrap_or(u64::MAX);
                    injections.delay = injections.delay.saturating_add(by);
                }
                Fault::Drop {
                    share,
                    of,
                    kind,
                    most,
                } if of_all(of) => injections.drop.push(DropRule {
                    millionths: share.millionths,
                    kind: kind.clone(),
                    most: *most,
                }),
                _ => {}
            }
        }
        for waiting in &self.at_points {
            if !injections.points.contains(&waiting.point) {
                injections.points.push(waiting.point.clone());
            }
        }
        injections
    }

    /// Plans the faults that come at a time.
    pub(super) fn schedule(&mut self, start: Instant) {
        for (i, fault) in self.config.faults.iter().enumerate() {
            let timed = |after: Duration, act| Timed {
                // Beyond what the clock can tell it never comes.
                at: start.checked_add(after).unwrap_or(start + A_YEAR),
                fault: i,
                act,
            };
            match fault {
                Fault::Kill {
                    target:
                        Target {
                            who: Who::Process(id),
                            when: When::Time(after),
                        },
                    ..
                } => self.timed.push(timed(*after, Act::Kill(*id))),
                Fault::Stop {
                    target:
                        Target {
                            who: Who::Process(id),
                            when: When::Time(after),
                        },
                    time,
                } => self.timed.push(timed(*after, Act::Stop(*id, *time))),
                Fault::Split { side, at, time } => {
                    self.timed.push(timed(*at, Act::Split(side.clone())));
                    if let Some(time) = time {
                        self.timed.push(timed(at.saturating_add(*time), Act::Heal));
                    }
                }
                _ => {}
            }
        }
    }

    /// Does what is due.
    pub(super) fn inject_due(&mut self) {
        let now = Instant::now();
        while let Some(next) = self.timed.iter().position(|timed| timed.at <= now) {
            let Timed { fault, act, .. } = self.timed.swap_remove(next);
            match act {
                Act::Kill(id) => self.kill(id, fault, None),
                Act::Stop(id, time) => self.stop(id, fault, time, None),
                Act::Continue(id) => self.let_go_on(id, fault),
                Act::Restart(id, storage) => self.restart(id, fault, storage),
                Act::Split(side) => {
                    self.split = Some(side.clone());
                    self.separate();
                    self.record(fault, None, Deed::Split { side });
                }
                Act::Heal => {
                    self.split = None;
                    self.separate();
                    self.record(fault, None, Deed::Healed);
                }
            }
        }
    }

    fn record(&mut self, fault: usize, node: Option<ProcessId>, deed: Deed) {
        let after = self.start.map_or(Duration::ZERO, |start| start.elapsed());
        self.injected.push(Injected {
            fault,
            node,
            after: u64::try_from(after.as_nanos()).unwrap_or(u64::MAX),
            deed,
        });
    }

    /// A node has announced a point: it is killed or stopped there, or told to go on.
    pub(super) fn reached(&mut self, id: ProcessId, point: &str) {
        let mut roles = self.algorithm.points.iter();
        let plays = |role: &str| roles.any(|p| p.name == point && p.role == role);
        let mut plays = plays;
        let mut due = None;
        for waiting in self.at_points.iter_mut().filter(|w| w.point == point) {
            let is_meant = match &waiting.who {
                Who::Process(meant) => *meant == id,
                Who::Role(role) => plays(role),
            };
            if is_meant && waiting.left > 0 {
                waiting.left -= 1;
                if waiting.left == 0 {
                    due.get_or_insert(waiting.fault);
                }
            }
        }
        let fault = due.filter(|_| !self.over);
        match fault.map(|fault| (fault, self.config.faults[fault].clone())) {
            Some((fault, Fault::Kill { .. })) => self.kill(id, fault, Some(point)),
            Some((fault, Fault::Stop { time, .. })) => {
                self.stop(id, fault, time, Some(point));
                self.tell(id, Command::GoOn);
            }
            _ => self.tell(id, Command::GoOn),
        }
    }

    fn kill(&mut self, id: ProcessId, fault: usize, point: Option<&str>) {
        let member = &mut self.members[id.index()];
        // Who is dying already is killed no second time: the first fault says how it comes back.
        if member.ended || member.silent || member.incarnation_killed {
            return;
        }
        let restart = match &self.config.faults[fault] {
            Fault::Kill { restart, .. } => *restart,
            _ => None,
        };
        member.killed = true;
        member.incarnation_killed = true;
        member.stopped = false;
        member.coming_back = None;
        member.comes_back = restart.map(|restart| (fault, restart));
        member.kill.notify_one();
        let point = point.map(str::to_owned);
        self.record(fault, Some(id), Deed::Killed { point });
    }

    fn stop(&mut self, id: ProcessId, fault: usize, time: Duration, point: Option<&str>) {
        let member = &mut self.members[id.index()];
        let gone = member.ended || member.silent || member.incarnation_killed;
        if gone || !send_signal(member.pid, Signal::STOP) {
            return;
        }
        member.stopped = true;
        let now = Instant::now();
        self.timed.push(Timed {
            at: now.checked_add(time).unwrap_or(now + A_YEAR),
            fault,
            act: Act::Continue(id),
        });
        let point = point.map(str::to_owned);
        self.record(fault, Some(id), Deed::Stopped { point });
    }

    fn let_go_on(&mut self, id: ProcessId, fault: usize) {
        let member = &mut self.members[id.index()];
        if std::mem::take(&mut member.stopped) && send_signal(member.pid, Signal::CONT) {
            self.record(fault, Some(id), Deed::Continued);
        }
    }

    /// Starts a new incarnation of a process that is gone.
    fn restart(&mut self, id: ProcessId, fault: usize, storage: Storage) {
        let incarnation = self.member(id).incarnation + 1;
        match self.start_node(id) {
            Ok(fresh) => {
                let member = &mut self.members[id.index()];
                let state = match storage {
                    Storage::Kept => member.state.take(),
                    Storage::Lost => None,
                };
                *member = Member {
                    incarnation,
                    state,
                    killed: true,
                    coming_back: Some((fault, storage)),
                    counters: std::mem::take(&mut member.counters),
                    stderr: std::mem::take(&mut member.stderr),
                    connected: true,
                    ..fresh
                };
                if storage == Storage::Lost {
                    self.members[id.index()].state = self.state_file(id, incarnation);
                }
                let configure = Command::Configure(self.configuration(id));
                self.tell(id, configure);
            }
            Err(error) => self.faults.push(FleetFault::NoRestart {
                node: id,
                detail: error.to_string(),
            }),
        }
    }

    /// A process that came back listens: it recovers. It dials whom it needs.
    pub(super) fn go_on_again(&mut self, id: ProcessId, fault: usize, storage: Storage) {
        if self.split.is_some() {
            let from = self.other_side(id);
            self.tell(id, Command::Separate { from });
        }
        self.tell(id, Command::Start { links: Vec::new() });
        if self.over {
            self.tell(id, Command::Quiesce);
        }
        let deed = Deed::Restarted {
            incarnation: self.member(id).incarnation,
            storage_lost: storage == Storage::Lost,
        };
        self.record(fault, Some(id), deed);
    }

    /// Tells every node whom it is split from.
    fn separate(&self) {
        for id in self.live() {
            let from = self.other_side(id);
            self.tell(id, Command::Separate { from });
        }
    }

    fn other_side(&self, id: ProcessId) -> Vec<ProcessId> {
        let Some(side) = &self.split else {
            return Vec::new();
        };
        let here = side.contains(&id);
        self.ids().filter(|id| side.contains(id) != here).collect()
    }

    /// Nothing is injected any more, and who was stopped goes on: it has to answer.
    pub(super) fn end_faults(&mut self) {
        self.over = true;
        for timed in std::mem::take(&mut self.timed) {
            if let Act::Continue(id) = timed.act {
                self.let_go_on(id, timed.fault);
            }
        }
        for member in &mut self.members {
            member.comes_back = None;
        }
    }
}

pub(super) fn at_point((fault, what): (usize, &Fault)) -> Option<AtPoint> {
    let (Fault::Kill { target, .. } | Fault::Stop { target, .. }) = what else {
        return None;
    };
    match &target.when {
        When::Time(_) => None,
        When::Point { name, pass } => Some(AtPoint {
            fault,
            who: target.who.clone(),
            point: name.clone(),
            left: *pass,
        }),
    }
}

/// Whether the process was there to take it.
fn send_signal(pid: u32, signal: Signal) -> bool {
    let pid = i32::try_from(pid).ok().and_then(Pid::from_raw);
    pid.is_some_and(|pid| kill_process(pid, signal).is_ok())
}
