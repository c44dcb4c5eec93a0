//! A server: follower, candidate and leader. The rules are those of Figure 2, quoted beside the code
//! that obeys them.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};
use serde_json::json;

use super::log::{Entry, Log};
use super::store::{Answer, Command, Store};
use super::{
    APPEND_ACCEPTED, APPEND_ENTRIES, APPEND_REJECTED, Accepted, AppendEntries, ELECTION, HEARTBEAT,
    HEARTBEAT_REPLY, HEARTBEATS, Heartbeat, REQUEST_VOTE, Rejected, RequestVote, Settings, Term,
    VOTE_DENIED, VOTE_GRANTED,
};
use crate::algorithm::{
    Body, KindNumber, Message, OperationId, Phase, Process, ProcessId, ProtocolError, Step, TimerId,
};

/// A server's state (Figure 2).
#[derive(Debug, Clone, Hash)]
pub struct Server {
    id: ProcessId,
    n: u32,
    /// How many commands there are.
    rounds: u32,
    settings: Settings,
    // "Persistent state on all servers: updated on stable storage before responding to RPCs"
    current_term: u64,
    voted_for: Option<ProcessId>,
    log: Log,
    // "Volatile state on all servers"
    commit_index: u64,
    last_applied: u64,
    store: Store,
    role: Role,
    quiescing: bool,
}

#[derive(Debug, Clone, Hash)]
enum Role {
    Follower,
    Candidate {
        /// Who has voted for it, itself included.
        votes: BTreeSet<ProcessId>,
    },
    Leader(Leader),
}

/// "Volatile state on leaders: reinitialized after election", and the clients.
#[derive(Debug, Clone, Hash)]
struct Leader {
    next_index: BTreeMap<ProcessId, u64>,
    match_index: BTreeMap<ProcessId, u64>,
    /// The log's last index when the last heartbeats went out: who does not hold that much at the
    /// next has missed something.
    sent_index: u64,
    /// The next command to propose.
    next_number: u64,
    /// Commands up to this number have ended.
    ended: u32,
    /// What each client waits for, by its index in the log.
    clients: Vec<Option<u64>>,
}

/// What is on stable storage.
#[derive(Debug, Serialize, Deserialize)]
struct Stable {
    current_term: u64,
    voted_for: Option<ProcessId>,
    log: Vec<Entry>,
}

/// Why a follower does not take entries.
#[derive(Debug, Clone, Copy)]
enum Refusal {
    StaleTerm,
    LogMismatch,
}

/// The id of the operation that the leader of `term` proposes as command `number`: there is one such
/// leader and it proposes each command once.
fn operation(term: u64, number: u32) -> OperationId {
    OperationId(term * 10_000_000_000 + u64::from(number))
}

impl Server {
    /// A server that has never run.
    pub fn new(id: ProcessId, n: u32, rounds: u32, settings: Settings) -> Self {
        Self {
            id,
            n,
            rounds,
            settings,
            current_term: 0,
            voted_for: None,
            log: Log::default(),
            commit_index: 0,
            last_applied: 0,
            store: Store::default(),
            role: Role::Follower,
            quiescing: false,
        }
    }

    fn others(&self) -> impl Iterator<Item = ProcessId> + use<> {
        let me = self.id;
        (0..self.n).map(ProcessId).filter(move |&id| id != me)
    }

    fn is_majority(&self, servers: usize) -> bool {
        servers > self.n as usize / 2
    }

    fn persist(&self, step: &mut Step<'_>) {
        let stable = Stable {
            current_term: self.current_term,
            voted_for: self.voted_for,
            log: self.log.entries().to_vec(),
        };
        step.persist(Body::encode(&stable).as_bytes().to_vec());
    }

    /// "Election timeouts are chosen randomly from a fixed interval" (§5.2).
    fn restart_election_timer(&self, step: &mut Step<'_>) {
        let least = self.settings.election_timeout;
        let spread = self.settings.election_spread;
        let drawn = least * step.choose(spread) / spread;
        step.set_timer(ELECTION, least + drawn);
    }

    /// "If RPC request or response contains term T > currentTerm: set currentTerm = T, convert to
    /// follower (§5.1)"
    fn observe(&mut self, term: u64, step: &mut Step<'_>) {
        if term > self.current_term {
            self.current_term = term;
            self.voted_for = None;
            self.persist(step);
            self.become_follower(step);
        }
    }

    fn become_follower(&mut self, step: &mut Step<'_>) {
        let role = std::mem::replace(&mut self.role, Role::Follower);
        let Role::Leader(leader) = role else {
            return;
        };
        step.cancel_timer(HEARTBEATS);
        self.restart_election_timer(step);
        // Its successor may commit these entries or overwrite them.
        for (slot, index) in (0..).zip(leader.clients) {
            if let Some(entry) = index.and_then(|index| self.log.get(index)) {
                let told = entry.command.told(self.client(entry.term, slot), None);
                step.report(Phase::Info, operation(entry.term, entry.number), told);
            }
        }
    }

    // Candidates (§5.2)

    /// "On conversion to candidate, start election: increment currentTerm, vote for self, reset
    /// election timer, send RequestVote RPCs to all other servers"
    fn become_candidate(&mut self, step: &mut Step<'_>) {
        self.current_term += 1;
        self.voted_for = Some(self.id);
        self.persist(step);
        self.restart_election_timer(step);
        self.role = Role::Candidate {
            votes: BTreeSet::from([self.id]),
        };
        step.point("after-candidacy");
        let term = self.current_term;
        step.note(
            "became-candidate",
            OperationId::NONE,
            json!({ "term": term }),
        );
        let body = Body::encode(&RequestVote {
            term,
            last_index: self.log.last_index(),
            last_term: self.log.last_term(),
        });
        for server in self.others() {
            step.send(server, REQUEST_VOTE, OperationId::NONE, body.clone());
        }
    }

    /// RequestVote RPC, receiver implementation.
    fn answer_candidate(
        &mut self,
        message: &Message,
        step: &mut Step<'_>,
    ) -> Result<(), ProtocolError> {
        let request: RequestVote = message.read()?;
        self.observe(request.term, step);
        let candidate = message.from;
        // "1. Reply false if term < currentTerm (§5.1)"
        // "2. If votedFor is null or candidateId, and candidate's log is at least as up-to-date as
        // receiver's log, grant vote (§5.2, §5.4)"
        let free = self.voted_for.is_none_or(|voted| voted == candidate);
        // "If the logs have last entries with different terms, then the log with the later term is
        // more up-to-date. If the logs end with the same term, then whichever log is longer" (§5.4.1)
        let up_to_date = (request.last_term, request.last_index)
            >= (self.log.last_term(), self.log.last_index());
        let granted = request.term == self.current_term && free && up_to_date;
        if granted {
            self.voted_for = Some(candidate);
            self.persist(step);
            self.restart_election_timer(step);
            step.point("after-vote");
            step.note(
                "voted",
                OperationId::NONE,
                json!({ "term": self.current_term, "candidate": candidate }),
            );
        }
        let kind = if granted { VOTE_GRANTED } else { VOTE_DENIED };
        self.answer_with_term(message, kind, step);
        Ok(())
    }

    fn answer_with_term(&self, message: &Message, kind: KindNumber, step: &mut Step<'_>) {
        let body = Body::encode(&Term {
            term: self.current_term,
        });
        step.send(message.from, kind, message.operation, body);
    }

    /// "If votes received from majority of servers: become leader"
    fn count_vote(&mut self, from: ProcessId, step: &mut Step<'_>) {
        let Role::Candidate { votes } = &mut self.role else {
            return;
        };
        votes.insert(from);
        let elected = votes.len();
        // A new leader's heartbeats would be spontaneous.
        if self.is_majority(elected) && !self.quiescing {
            self.become_leader(step);
        }
    }

    // Leaders (§5.3, §5.4)

    fn become_leader(&mut self, step: &mut Step<'_>) {
        let last = self.log.last_index();
        let ended = self.log.ended();
        step.cancel_timer(ELECTION);
        self.role = Role::Leader(Leader {
            // "initialized to leader last log index + 1"
            next_index: self.others().map(|id| (id, last + 1)).collect(),
            // "initialized to 0, increases monotonically"
            match_index: self.others().map(|id| (id, 0)).collect(),
            sent_index: last,
            next_number: u64::from(ended) + 1,
            ended,
            clients: vec![None; self.settings.pipeline as usize],
        });
        step.note(
            "became-leader",
            OperationId::NONE,
            json!({ "term": self.current_term, "last_index": last, "terms": self.log.terms() }),
        );
        step.point("after-election");
        // "Upon election: send initial empty AppendEntries RPCs (heartbeat) to each server; repeat
        // during idle periods to prevent election timeouts (§5.2)"
        self.send_heartbeats(step);
        self.propose(step);
    }

    fn send_heartbeats(&mut self, step: &mut Step<'_>) {
        let Role::Leader(leader) = &mut self.role else {
            return;
        };
        let term = self.current_term;
        step.set_timer(HEARTBEATS, self.settings.heartbeat);
        step.note(
            "heartbeat-round",
            OperationId::NONE,
            json!({ "term": term }),
        );
        for (&server, &match_index) in &leader.match_index {
            let body = Body::encode(&Heartbeat {
                term,
                commit: self.commit_index.min(match_index),
            });
            step.send(server, HEARTBEAT, OperationId::NONE, body);
        }
        // "If followers crash or run slowly, or if network packets are lost, the leader retries
        // AppendEntries RPCs indefinitely" (§5.3)
        let due = std::mem::replace(&mut leader.sent_index, self.log.last_index());
        let held = leader.match_index.iter();
        let behind: Vec<ProcessId> = held
            .filter(|(_, index)| **index < due)
            .map(|(server, _)| *server)
            .collect();
        for server in behind {
            self.retry(server, OperationId::NONE, step);
        }
    }

    /// The client in this place of the pipeline of the leader of `term`.
    fn client(&self, term: u64, slot: u64) -> u64 {
        (term - 1) * u64::from(self.settings.pipeline) + slot
    }

    /// "If command received from client: append entry to local log, respond after entry applied to
    /// state machine (§5.3)": each client that waits for nothing asks for the next command.
    fn propose(&mut self, step: &mut Step<'_>) {
        loop {
            let term = self.current_term;
            let last = self.log.last_index();
            let (rounds, quiescing) = (u64::from(self.rounds), self.quiescing);
            let Role::Leader(leader) = &mut self.role else {
                return;
            };
            let free = leader.clients.iter().position(Option::is_none);
            let Some(slot) = free.filter(|_| leader.next_number <= rounds && !quiescing) else {
                return;
            };
            let Ok(number) = u32::try_from(leader.next_number) else {
                return;
            };
            leader.next_number += 1;
            leader.clients[slot] = Some(last + 1);
            let entry = Entry {
                term,
                number,
                ended: leader.ended,
                command: Command::numbered(number),
            };
            let operation = operation(term, number);
            let told = entry.command.told(self.client(term, slot as u64), None);
            step.report(Phase::Invoke, operation, told);
            let index = self.log.push(entry);
            self.persist(step);
            step.point("after-append");
            self.send_round(index, operation, step);
        }
    }

    /// One round of AppendEntries: to every other server.
    fn send_round(&self, index: u64, operation: OperationId, step: &mut Step<'_>) {
        let (term, digest) = (self.current_term, self.log.digest(index));
        step.note(
            "append-round",
            operation,
            json!({ "term": term, "index": index, "digest": digest }),
        );
        for server in self.others() {
            self.send_entries(server, operation, step);
        }
    }

    /// "If last log index >= nextIndex for a follower: send AppendEntries RPC with log entries
    /// starting at nextIndex"
    fn send_entries(&self, server: ProcessId, operation: OperationId, step: &mut Step<'_>) {
        let Role::Leader(leader) = &self.role else {
            return;
        };
        let next = leader.next_index[&server];
        let body = Body::encode(&AppendEntries {
            term: self.current_term,
            prev_index: next - 1,
            prev_term: self.log.term(next - 1).unwrap_or_default(),
            entries: self.log.from(next).to_vec(),
            commit: self.commit_index,
        });
        step.send(server, APPEND_ENTRIES, operation, body);
    }

    /// Sends one follower again what it has missed or could not take.
    fn retry(&self, server: ProcessId, operation: OperationId, step: &mut Step<'_>) {
        if !self.quiescing {
            step.note(
                "append-retry",
                operation,
                json!({ "term": self.current_term, "to": server }),
            );
            self.send_entries(server, operation, step);
        }
    }

    fn accepted(&mut self, message: &Message, step: &mut Step<'_>) -> Result<(), ProtocolError> {
        let reply: Accepted = message.read()?;
        self.observe(reply.term, step);
        let Role::Leader(leader) = &mut self.role else {
            return Ok(());
        };
        if reply.term != self.current_term {
            return Ok(());
        }
        // "If successful: update nextIndex and matchIndex for follower (§5.3)"
        let matched = leader.match_index.entry(message.from).or_default();
        *matched = reply.match_index.max(*matched);
        let next = *matched + 1;
        leader.next_index.insert(message.from, next);
        self.commit(step);
        self.propose(step);
        Ok(())
    }

    fn rejected(&mut self, message: &Message, step: &mut Step<'_>) -> Result<(), ProtocolError> {
        let reply: Rejected = message.read()?;
        self.observe(reply.term, step);
        let Role::Leader(leader) = &mut self.role else {
            return Ok(());
        };
        let next = leader.next_index[&message.from];
        // Several messages may have been on their way: only the answer to the last guess counts.
        if reply.term != self.current_term || reply.prev_index + 1 != next {
            return Ok(());
        }
        // "If AppendEntries fails because of log inconsistency: decrement nextIndex and retry
        // (§5.3)", by more than one where the follower says so.
        let least = leader.match_index[&message.from] + 1;
        let back = reply.next_index.min(next.saturating_sub(1)).max(least);
        if back >= next {
            // It has lost what it said to hold, which stable storage does not.
            return Ok(());
        }
        leader.next_index.insert(message.from, back);
        self.retry(message.from, message.operation, step);
        Ok(())
    }

    /// "If there exists an N such that N > commitIndex, a majority of matchIndex[i] >= N, and
    /// log[N].term == currentTerm: set commitIndex = N (§5.3, §5.4)"
    fn commit(&mut self, step: &mut Step<'_>) {
        let Role::Leader(leader) = &self.role else {
            return;
        };
        let mut held: Vec<u64> = leader.match_index.values().copied().collect();
        held.push(self.log.last_index());
        held.sort_unstable_by(|a, b| b.cmp(a));
        // The greatest index that a majority holds.
        let index = held[self.n as usize / 2];
        if index <= self.commit_index || self.log.term(index) != Some(self.current_term) {
            return;
        }
        self.commit_index = index;
        step.note(
            "committed",
            OperationId::NONE,
            json!({ "term": self.current_term, "index": index }),
        );
        self.apply(step);
        step.point("after-commit");
    }

    // Followers (§5.2, §5.3)

    /// "If election timeout elapses without receiving AppendEntries RPC from current leader or
    /// granting vote to candidate: convert to candidate"; a candidate follows the leader of its term.
    fn hear_leader(&mut self, step: &mut Step<'_>) {
        self.role = Role::Follower;
        self.restart_election_timer(step);
    }

    /// Whether the sender is, or claims to be, the leader that this server is to follow.
    fn is_to_follow(&self, term: u64) -> bool {
        // Two leaders of a term there are not (election safety): a second one is not heard.
        term == self.current_term && !matches!(self.role, Role::Leader(_))
    }

    fn hear_heartbeat(
        &mut self,
        message: &Message,
        step: &mut Step<'_>,
    ) -> Result<(), ProtocolError> {
        let heartbeat: Heartbeat = message.read()?;
        self.observe(heartbeat.term, step);
        if self.is_to_follow(heartbeat.term) {
            self.hear_leader(step);
            self.commit_up_to(heartbeat.commit, step);
        }
        self.answer_with_term(message, HEARTBEAT_REPLY, step);
        Ok(())
    }

    /// AppendEntries RPC, receiver implementation.
    fn append(&mut self, message: &Message, step: &mut Step<'_>) -> Result<(), ProtocolError> {
        let request: AppendEntries = message.read()?;
        self.observe(request.term, step);
        // "1. Reply false if term < currentTerm (§5.1)"
        if !self.is_to_follow(request.term) {
            self.refuse(message, &request, Refusal::StaleTerm, step);
            return Ok(());
        }
        self.hear_leader(step);
        // "2. Reply false if log doesn't contain an entry at prevLogIndex whose term matches
        // prevLogTerm (§5.3)"
        if self.log.term(request.prev_index) != Some(request.prev_term) {
            self.refuse(message, &request, Refusal::LogMismatch, step);
            return Ok(());
        }
        let match_index = request.prev_index + request.entries.len() as u64;
        let mut changed = false;
        for (index, entry) in (request.prev_index + 1..).zip(request.entries) {
            // "3. If an existing entry conflicts with a new one (same index but different terms),
            // delete the existing entry and all that follow it (§5.3)"
            if self.log.term(index).is_some_and(|term| term != entry.term) {
                self.log.truncate(index);
            }
            // "4. Append any new entries not already in the log"
            if self.log.last_index() < index {
                self.log.push(entry);
                changed = true;
            }
        }
        if changed {
            self.persist(step);
            step.point("after-accept");
            let (term, digest) = (self.log.term(match_index), self.log.digest(match_index));
            step.note(
                "appended",
                message.operation,
                json!({ "term": term, "index": match_index, "digest": digest }),
            );
        }
        // "5. If leaderCommit > commitIndex, set commitIndex = min(leaderCommit, index of last new
        // entry)"
        self.commit_up_to(request.commit.min(match_index), step);
        let body = Body::encode(&Accepted {
            term: self.current_term,
            match_index,
        });
        step.send(message.from, APPEND_ACCEPTED, message.operation, body);
        Ok(())
    }

    fn refuse(
        &self,
        message: &Message,
        request: &AppendEntries,
        why: Refusal,
        step: &mut Step<'_>,
    ) {
        let (reason, next_index) = match why {
            Refusal::StaleTerm => ("stale-term", request.prev_index + 1),
            // "the follower can include the term of the conflicting entry and the first index it
            // stores for that term" (end of §5.3)
            Refusal::LogMismatch if self.log.last_index() >= request.prev_index => {
                ("log-mismatch", self.log.first_of_term(request.prev_index))
            }
            Refusal::LogMismatch => ("log-mismatch", self.log.last_index() + 1),
        };
        step.note(
            "append-refused",
            message.operation,
            json!({ "term": self.current_term, "reason": reason }),
        );
        let body = Body::encode(&Rejected {
            term: self.current_term,
            prev_index: request.prev_index,
            next_index,
        });
        step.send(message.from, APPEND_REJECTED, message.operation, body);
    }

    fn commit_up_to(&mut self, index: u64, step: &mut Step<'_>) {
        if index > self.commit_index {
            self.commit_index = index;
            self.apply(step);
        }
    }

    /// "If commitIndex > lastApplied: increment lastApplied, apply log[lastApplied] to state machine
    /// (§5.3)". The leader answers its clients.
    fn apply(&mut self, step: &mut Step<'_>) {
        while self.last_applied < self.commit_index {
            let index = self.last_applied + 1;
            let Some(entry) = self.log.get(index) else {
                return;
            };
            let (term, number) = (entry.term, entry.number);
            let command = entry.command.clone();
            self.last_applied = index;
            let answer = self.store.apply(&command);
            step.note(
                "applied",
                operation(term, number),
                json!({ "index": index, "digest": self.log.digest(index) }),
            );
            let Role::Leader(leader) = &mut self.role else {
                continue;
            };
            let Some(slot) = leader.clients.iter().position(|c| *c == Some(index)) else {
                continue;
            };
            leader.clients[slot] = None;
            leader.ended = number;
            let phase = match answer {
                Answer::Refused => Phase::Fail,
                Answer::Done | Answer::Value(_) => Phase::Ok,
            };
            let told = command.told(self.client(term, slot as u64), Some(answer));
            step.report(phase, operation(term, number), told);
        }
    }
}

impl Process for Server {
    fn start(&mut self, step: &mut Step<'_>) {
        self.restart_election_timer(step);
    }

    fn receive(&mut self, message: &Message, step: &mut Step<'_>) -> Result<(), ProtocolError> {
        match message.kind {
            REQUEST_VOTE => self.answer_candidate(message, step)?,
            VOTE_GRANTED | VOTE_DENIED => {
                let vote: Term = message.read()?;
                self.observe(vote.term, step);
                if message.kind == VOTE_GRANTED && vote.term == self.current_term {
                    self.count_vote(message.from, step);
                }
            }
            HEARTBEAT => self.hear_heartbeat(message, step)?,
            HEARTBEAT_REPLY => {
                let reply: Term = message.read()?;
                self.observe(reply.term, step);
            }
            APPEND_ENTRIES => self.append(message, step)?,
            APPEND_ACCEPTED => self.accepted(message, step)?,
            APPEND_REJECTED => self.rejected(message, step)?,
            _ => return Err(message.unexpected()),
        }
        Ok(())
    }

    fn timer(&mut self, id: TimerId, step: &mut Step<'_>) {
        match (id, &self.role) {
            (HEARTBEATS, Role::Leader(_)) => self.send_heartbeats(step),
            (ELECTION, Role::Follower | Role::Candidate { .. }) => self.become_candidate(step),
            _ => {}
        }
    }

    /// A server that was down is a follower of the term that it remembers. What is committed it
    /// learns anew, and applies from the beginning.
    fn recover(&mut self, bytes: &[u8], step: &mut Step<'_>) {
        let stable: Result<Stable, _> = Body::from_bytes(bytes.to_vec()).decode();
        if let Ok(stable) = stable {
            self.current_term = stable.current_term;
            self.voted_for = stable.voted_for;
            self.log = stable.log.into_iter().collect();
        }
        step.note(
            "recovered",
            OperationId::NONE,
            json!({ "term": self.current_term, "last_index": self.log.last_index() }),
        );
        self.start(step);
    }

    fn quiesce(&mut self) {
        self.quiescing = true;
    }
}
