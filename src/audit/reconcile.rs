//! The rules by which accounts agree or do not.
//!
//! For every message kind, with W for complete messages on the wire:
//!
//! 1. `attempted = sent + suppressed + refused + unknown`: the ledger adds up.
//! 2. `attempted` is what the formula says.
//! 3. `sent <= W <= sent + unknown`: the wire shows what the kernel took.
//! 4. `received = W`, and `handled = received`.
//!
//! A rule that is broken makes a mismatch unless evidence is at hand. *Fewer* on the wire than in
//! an account is evidence of nothing while the capture is not proven complete: inconclusive. *More*
//! on the wire is a mismatch always: no loss of packets invents a message.
//!
//! Where messages are [matched one to one](super::matching), that decides in place of rules 3 and
//! 4 and of evidence for refusals: a lost message and a doubled one do not cancel.

use std::collections::{BTreeMap, BTreeSet};

use super::matching::{Finding, Matching};
use super::{Account, Audit, Expected, Row, Verdict};
use crate::analysis::CompletenessState;
use crate::tally::ProtocolTally;
use crate::units::Messages;

/// The kind's name where a framing knows no kinds and all accounts of a protocol are one row.
const ALL_KINDS: &str = "all";

/// Holds the accounts against what the wire showed. Tallies of protocols that no account names are
/// left aside, and so are streams on a protocol's ports that were not the protocol's (`foreign`).
pub fn reconcile(
    accounts: &[Account],
    tallies: &[ProtocolTally],
    completeness: CompletenessState,
) -> Audit {
    reconcile_all(accounts, tallies, completeness, None)
}

/// The same for the one protocol of a run whose messages were matched one to one.
pub fn reconcile_matched(
    accounts: &[Account],
    tallies: &[ProtocolTally],
    completeness: CompletenessState,
    matching: &Matching,
) -> Audit {
    let mut audit = reconcile_all(accounts, tallies, completeness, Some(matching));
    let worst = matching
        .audit
        .findings
        .iter()
        .map(|found| found.verdict)
        .max();
    audit.verdict = worst.map_or(audit.verdict, |worst| audit.verdict.max(worst));
    audit.messages = Some(matching.audit.clone());
    audit
}

fn reconcile_all(
    accounts: &[Account],
    tallies: &[ProtocolTally],
    completeness: CompletenessState,
    matching: Option<&Matching>,
) -> Audit {
    let mut rows = Vec::new();
    let mut remarks = Vec::new();
    let mut seen = BTreeSet::new();
    for account in accounts {
        if seen.insert(account.protocol.as_str()) {
            let name = account.protocol.as_str();
            let own: Vec<_> = accounts.iter().filter(|a| a.protocol == name).collect();
            let wire = Wire::of(name, tallies);
            rows.extend(reconcile_protocol(&own, &wire, completeness, matching));
            remarks.extend(wire.remarks(&own, matching));
        }
    }
    Audit {
        verdict: rows
            .iter()
            .map(|row| row.verdict)
            .max()
            .unwrap_or(Verdict::Inconclusive),
        rows,
        remarks,
        messages: None,
        identities: Vec::new(),
    }
}

/// What the capture shows of one protocol.
#[derive(Debug, Default)]
struct Wire<'a> {
    protocol: &'a str,
    messages: u64,
    by_kind: BTreeMap<&'a str, u64>,
    acknowledged: BTreeMap<&'a str, u64>,
    refused_connections: u64,
    incomplete_messages: u64,
    /// The approximate framing's name, where it is one.
    approximate: Option<&'a str>,
    foreign_streams: u64,
}

impl<'a> Wire<'a> {
    fn of(protocol: &'a str, tallies: &'a [ProtocolTally]) -> Self {
        let mut wire = Self {
            protocol,
            ..Self::default()
        };
        for tally in tallies.iter().filter(|tally| tally.name == protocol) {
            wire.refused_connections += tally.refused_connections.get();
            if tally.foreign {
                wire.foreign_streams += tally.connections.get();
                continue;
            }
            wire.messages += tally.messages.get();
            wire.incomplete_messages += tally.incomplete_messages.get();
            for (kind, messages) in &tally.messages_by_kind {
                *wire.by_kind.entry(kind).or_default() += messages.get();
            }
            for (kind, messages) in &tally.acknowledged_by_kind {
                *wire.acknowledged.entry(kind).or_default() += messages.get();
            }
            if tally.approximate {
                wire.approximate = Some(&tally.framing);
            }
        }
        wire
    }

    fn remarks(&self, accounts: &[&Account], matching: Option<&Matching>) -> Vec<String> {
        let mut remarks = Vec::new();
        let refused: u64 = accounts.iter().map(|account| account.refused.get()).sum();
        let stray = match matching {
            Some(matching) => matching.stray_refusals,
            None => self.refused_connections.saturating_sub(refused),
        };
        if stray > 0 {
            remarks.push(format!(
                "{}: {stray} refused connections on the wire belong to no attempt of the ledger",
                self.protocol,
            ));
        }
        if self.foreign_streams > 0 {
            remarks.push(format!(
                "{}: {} connections on its ports were not its own and are in no row",
                self.protocol, self.foreign_streams
            ));
        }
        remarks
    }
}

fn reconcile_protocol(
    accounts: &[&Account],
    wire: &Wire<'_>,
    completeness: CompletenessState,
    matching: Option<&Matching>,
) -> Vec<Row> {
    let mut evidence = Evidence {
        completeness,
        approximate: wire.approximate,
        refused_connections: wire.refused_connections,
        incomplete_messages: wire.incomplete_messages,
        matching,
    };
    let kindless = wire.by_kind.is_empty() && wire.messages > 0;
    if kindless {
        let whole = sum_of_kinds(accounts);
        return vec![judge(&whole, wire.messages, 0, &mut evidence)];
    }
    let mut rows: Vec<Row> = accounts
        .iter()
        .map(|account| {
            let count = |of: &BTreeMap<&str, u64>| of.get(&*account.kind).copied().unwrap_or(0);
            let (on_wire, acknowledged) = (count(&wire.by_kind), count(&wire.acknowledged));
            judge(account, on_wire, acknowledged, &mut evidence)
        })
        .collect();
    for (kind, messages) in &wire.by_kind {
        if *messages > 0 && accounts.iter().all(|account| account.kind != *kind) {
            let acknowledged = wire.acknowledged.get(kind).copied().unwrap_or(0);
            rows.push(unaccounted(wire.protocol, kind, *messages, acknowledged));
        }
    }
    let with_kind: u64 = wire.by_kind.values().sum();
    if wire.messages > with_kind {
        rows.push(unaccounted(
            wire.protocol,
            "(no kind)",
            wire.messages - with_kind,
            0,
        ));
    }
    rows
}

fn sum_of_kinds(accounts: &[&Account]) -> Account {
    let sum = |of: fn(&Account) -> Messages| accounts.iter().map(|account| of(account)).sum();
    Account {
        protocol: accounts[0].protocol.clone(),
        kind: ALL_KINDS.to_owned(),
        expected: accounts
            .iter()
            .map(|account| account.expected)
            .reduce(|sum, next| Some(sum?.plus(next?)))
            .flatten(),
        formula: None,
        outside_formula: accounts.iter().find_map(|one| one.outside_formula.clone()),
        attempted: sum(|account| account.attempted),
        suppressed: sum(|account| account.suppressed),
        refused: sum(|account| account.refused),
        sent: sum(|account| account.sent),
        unknown: sum(|account| account.unknown),
        received: sum(|account| account.received),
        handled: sum(|account| account.handled),
    }
}

/// What may explain differences of a protocol's rows. Counts are used up as rows draw on them.
struct Evidence<'a> {
    completeness: CompletenessState,
    approximate: Option<&'a str>,
    refused_connections: u64,
    incomplete_messages: u64,
    /// Messages one by one: better than all of these numbers.
    matching: Option<&'a Matching>,
}

impl Evidence<'_> {
    /// Whether what the capture does not show did not happen.
    fn proves_absence(&self) -> bool {
        self.completeness == CompletenessState::Proven
    }

    /// The verdict on fewer messages on the wire than an account has, and why not a mismatch.
    fn fewer(&self) -> (Verdict, &'static str) {
        if self.proves_absence() {
            (Verdict::Mismatch, "on a capture that is proven complete")
        } else {
            (
                Verdict::Inconclusive,
                "on a capture that is not known to be complete",
            )
        }
    }
}

/// What was found on one row: the worst finding is its verdict, all are its explanation.
struct Findings(Vec<(Verdict, String)>);

impl Findings {
    fn add(&mut self, verdict: Verdict, explanation: String) {
        self.0.push((verdict, explanation));
    }

    fn into_verdict(self) -> (Verdict, String) {
        let verdict = self.0.iter().map(|(verdict, _)| *verdict).max();
        let explanations: Vec<_> = self.0.into_iter().map(|(_, words)| words).collect();
        (verdict.unwrap_or(Verdict::Exact), explanations.join("; "))
    }
}

fn judge(account: &Account, wire: u64, acknowledged: u64, evidence: &mut Evidence<'_>) -> Row {
    let mut findings = Findings(Vec::new());
    ledger_adds_up(account, &mut findings);
    formula_holds(account, &mut findings);
    match evidence.matching {
        Some(matching) => {
            let before_wire = findings.0.len();
            messages_match(account, wire, matching, &mut findings);
            let told = findings.0[before_wire..].iter();
            if told.map(|(verdict, _)| *verdict).max() <= Some(Verdict::Explained) {
                doubt_equality(evidence, &mut findings);
            }
        }
        None => numbers_agree(account, wire, acknowledged, evidence, &mut findings),
    }
    let (verdict, explanation) = findings.into_verdict();
    Row {
        protocol: account.protocol.clone(),
        kind: account.kind.clone(),
        expected: account.expected,
        attempted: account.attempted,
        suppressed: account.suppressed,
        refused: account.refused,
        sent: account.sent,
        unknown: account.unknown,
        acknowledged: Messages::new(acknowledged),
        received: account.received,
        handled: account.handled,
        wire: Messages::new(wire),
        verdict,
        explanation,
        formula: account.formula.clone(),
    }
}

/// What was found of the kind's messages, one by one.
fn messages_match(account: &Account, wire: u64, matching: &Matching, findings: &mut Findings) {
    let found = matching.by_kind.get(&account.kind).into_iter().flatten();
    for (finding, messages) in found {
        let mut words = format!("{messages} {}", finding.words());
        if *finding == Finding::RefusedUnseen
            && let Some(reasons) = matching.reasons.get(&account.kind)
        {
            let reasons: Vec<&str> = reasons.iter().map(String::as_str).collect();
            words.push_str(&format!(" ({})", reasons.join(", ")));
        }
        findings.add(finding.verdict(), words);
    }
    let looked_at = matching.on_wire.get(&account.kind).copied().unwrap_or(0);
    if wire != looked_at {
        findings.add(
            Verdict::Mismatch,
            format!("{wire} on the wire, {looked_at} of them between the run's processes"),
        );
    }
}

/// Rules 3 and 4, and evidence of what was withheld, by numbers of messages alone.
fn numbers_agree(
    account: &Account,
    wire: u64,
    acknowledged: u64,
    evidence: &mut Evidence<'_>,
    findings: &mut Findings,
) {
    withheld_is_evident(account, evidence, findings);
    let before_wire = findings.0.len();
    wire_shows_sent(account, wire, evidence, findings);
    receivers_agree(account, wire, acknowledged, evidence, findings);
    if findings.0.len() == before_wire {
        doubt_equality(evidence, findings);
    } else if let Some(framing) = evidence.approximate {
        doubt_difference(framing, &mut findings.0[before_wire..]);
    }
    if account.received != account.handled {
        findings.add(
            Verdict::Mismatch,
            format!("{} received, {} handled", account.received, account.handled),
        );
    }
}

fn ledger_adds_up(account: &Account, findings: &mut Findings) {
    let outcomes = account.sent + account.suppressed + account.refused + account.unknown;
    if account.attempted != outcomes {
        findings.add(
            Verdict::Mismatch,
            format!(
                "the ledger has {} attempted and {outcomes} outcomes (sent, suppressed, refused, \
                 killed)",
                account.attempted
            ),
        );
    }
}

fn formula_holds(account: &Account, findings: &mut Findings) {
    if let Some(happened) = &account.outside_formula {
        let told = format!("no formula was held against it: none has a case for the {happened}");
        findings.add(Verdict::Exact, told);
        return;
    }
    let Some(expected) = account.expected else {
        return;
    };
    if !expected.contains(account.attempted) {
        let told = format!(
            "the formula says {expected}, {} attempted",
            account.attempted
        );
        findings.add(Verdict::Mismatch, told);
    } else if matches!(expected, Expected::Interval { .. }) {
        findings.add(
            Verdict::Within,
            format!("{} is within {expected}", account.attempted),
        );
    }
}

/// Suppressed messages explain themselves: the ledger declares its own injected drops. Refused ones
/// need refused connections that the capture saw.
fn withheld_is_evident(account: &Account, evidence: &mut Evidence<'_>, findings: &mut Findings) {
    if account.suppressed > Messages::ZERO {
        findings.add(
            Verdict::Explained,
            format!("{} withheld by an injected drop", account.suppressed),
        );
    }
    let refused = account.refused.get();
    if refused == 0 {
        return;
    }
    let shown = refused.min(evidence.refused_connections);
    evidence.refused_connections -= shown;
    if shown > 0 {
        findings.add(
            Verdict::Explained,
            format!("{shown} refused: the wire shows the refused connections"),
        );
    }
    if shown < refused {
        let (verdict, why) = evidence.fewer();
        findings.add(
            verdict,
            format!(
                "{} refused by the ledger without a refused connection {why}",
                refused - shown
            ),
        );
    }
}

fn wire_shows_sent(
    account: &Account,
    wire: u64,
    evidence: &mut Evidence<'_>,
    findings: &mut Findings,
) {
    let (sent, unknown) = (account.sent.get(), account.unknown.get());
    if wire > sent + unknown {
        findings.add(
            Verdict::Mismatch,
            format!(
                "{} more on the wire than the senders know of",
                wire - sent - unknown
            ),
        );
    } else if wire >= sent {
        match (unknown, evidence.proves_absence() || wire == sent + unknown) {
            (0, _) => {}
            (_, true) => findings.add(
                Verdict::Explained,
                format!(
                    "{unknown} without an outcome when the sender was killed: the wire shows {} of \
                     them",
                    wire - sent
                ),
            ),
            (_, false) => findings.add(
                Verdict::Inconclusive,
                format!(
                    "{unknown} without an outcome when the sender was killed, {} of them on a \
                     capture that is not known to be complete",
                    wire - sent
                ),
            ),
        }
    } else {
        let mut missing = sent - wire;
        if evidence.proves_absence() {
            let cut = missing.min(evidence.incomplete_messages);
            evidence.incomplete_messages -= cut;
            missing -= cut;
            if cut > 0 {
                findings.add(
                    Verdict::Explained,
                    format!("{cut} cut off in the middle: the wire shows a part of them"),
                );
            }
        }
        if missing > 0 {
            let (verdict, why) = evidence.fewer();
            findings.add(
                verdict,
                format!("{missing} sent and not on the wire, {why}"),
            );
        }
    }
}

fn receivers_agree(
    account: &Account,
    wire: u64,
    acknowledged: u64,
    evidence: &Evidence<'_>,
    findings: &mut Findings,
) {
    let received = account.received.get();
    if received > wire {
        let (verdict, why) = evidence.fewer();
        findings.add(
            verdict,
            format!("{} received and not on the wire, {why}", received - wire),
        );
    } else if received < wire {
        let missing = wire - received;
        let unacknowledged = wire.saturating_sub(acknowledged);
        if missing > unacknowledged {
            findings.add(
                Verdict::Mismatch,
                format!(
                    "{missing} on the wire and not received, {} of them acknowledged by the \
                     receiver's TCP",
                    missing - unacknowledged
                ),
            );
        } else if evidence.proves_absence() {
            findings.add(
                Verdict::Explained,
                format!("{missing} not received: the receiver's TCP never acknowledged them"),
            );
        } else {
            findings.add(
                Verdict::Inconclusive,
                format!(
                    "{missing} on the wire and not received; whether they were acknowledged a \
                     capture that is not known to be complete cannot tell"
                ),
            );
        }
    }
}

/// Equal counts prove little where packets are known to be missing: a message may be missing both
/// from the accounts and from the capture. An approximate framing may be right by chance.
fn doubt_equality(evidence: &Evidence<'_>, findings: &mut Findings) {
    if matches!(
        evidence.completeness,
        CompletenessState::Incomplete | CompletenessState::Unknown
    ) {
        findings.add(
            Verdict::Inconclusive,
            "equal as far as the capture shows, and the capture is not complete".to_owned(),
        );
    } else if let Some(framing) = evidence.approximate {
        findings.add(
            Verdict::Explained,
            format!("equal, by `{framing}`, which only approximates messages"),
        );
    }
}

/// A framing that only approximates messages proves no difference either.
fn doubt_difference(framing: &str, findings: &mut [(Verdict, String)]) {
    for (verdict, words) in findings {
        if *verdict == Verdict::Mismatch {
            *verdict = Verdict::Inconclusive;
            words.push_str(&format!(
                " (by `{framing}`, which only approximates messages)"
            ));
        }
    }
}

fn unaccounted(protocol: &str, kind: &str, wire: u64, acknowledged: u64) -> Row {
    Row {
        protocol: protocol.to_owned(),
        kind: kind.to_owned(),
        expected: None,
        attempted: Messages::ZERO,
        suppressed: Messages::ZERO,
        refused: Messages::ZERO,
        sent: Messages::ZERO,
        unknown: Messages::ZERO,
        acknowledged: Messages::new(acknowledged),
        received: Messages::ZERO,
        handled: Messages::ZERO,
        wire: Messages::new(wire),
        verdict: Verdict::Mismatch,
        explanation: "on the wire, and in no other account".to_owned(),
        formula: None,
    }
}

#[cfg(test)]
mod tests;
