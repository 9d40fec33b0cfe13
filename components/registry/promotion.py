"""Moves the alias `champion`: promote after the gate, roll back to the former champion.

In: registry, ledger, a version. Out: the aliases `champion` and `previous` in MLflow and an entry
in the ledger. It does not touch the running service; workflows rolls that over afterwards.

The ledger entry is written first and decides; the aliases follow it. A process killed in between
leaves an entry whose alias was not moved: the same command again completes it. Two people who
promote at the same moment get two entries in order, each judged against the champion it replaces.
"""

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

from components.core.errors import GateRefused, RegistryError
from components.registry import names
from components.registry.gate import GateConfig, GateReport, decide
from components.registry.ledger import Ledger, LedgerEntry, champions
from components.registry.scores import ScoreRow
from components.registry.versions import Registry, ResolvedVersion

log = logging.getLogger(__name__)

# Each lost race means that somebody else succeeded; more than this is not a race.
RACES = 20

Scores = Callable[[ResolvedVersion], Sequence[ScoreRow]]


@dataclass(frozen=True)
class Promotion:
    """What a promotion or rollback did."""

    champion: ResolvedVersion
    previous: ResolvedVersion | None
    changed: bool
    """False when the version was champion already."""
    report: GateReport | None = None
    entry: LedgerEntry | None = None


def find_candidate(registry: Registry, model: str, version: int | None = None) -> ResolvedVersion:
    """Return the version to promote: the named one, else the candidate, else the newest."""
    if version is not None:
        return registry.version(model, version)
    versions = registry.versions(model)
    for each in versions:
        if names.CANDIDATE in each.aliases:
            return each
    if not versions:
        raise RegistryError(f"model {model} has no version yet; register one first")
    return versions[0]


def promote(
    registry: Registry,
    ledger: Ledger,
    model: str,
    version: int | None = None,
    *,
    gate: GateConfig,
    who: str = "",
    reason: str = "",
    force: bool = False,
    scores: Scores | None = None,
) -> Promotion:
    """Make a version champion if the gate lets it pass; the former champion becomes `previous`.

    `version=None` takes the candidate. `scores` reads a version's scores, by default those it was
    registered with (hand in one that adds per-question scores for the paired comparison).
    A version that is champion already is left as it is. Raises GateRefused with the reasons, which
    are also entered in the ledger; `force` overrules the gate and is entered too.
    """
    read_scores = scores or (lambda each: each.scores)
    candidate = find_candidate(registry, model, version)
    for _ in range(RACES):
        entries = ledger.entries(model)
        champion = registry.alias(model, names.CHAMPION)
        if champion is not None and champion.version == candidate.version:
            previous = registry.alias(model, names.PREVIOUS)
            return Promotion(champion, previous, changed=False)
        if _unfinished(entries, champion, "promote") == candidate.version:
            return _apply(registry, ledger, entries[-1])
        report = decide(read_scores(candidate), read_scores(champion) if champion else None, gate)
        entry = LedgerEntry(
            number=len(entries) + 1,
            model=model,
            action="promote" if report.passed or force else "refuse",
            version=candidate.version,
            previous_version=champion.version if champion else None,
            who=who,
            reason=reason,
            forced=force and not report.passed,
            report=report,
        )
        if not ledger.append(entry):
            continue
        if entry.action == "refuse":
            raise GateRefused(_refusal(candidate, champion, report))
        return _apply(registry, ledger, entry)
    raise RegistryError(f"{model}: the ledger keeps changing; somebody promotes in a loop")


def rollback(
    registry: Registry,
    ledger: Ledger,
    model: str,
    to: int | None = None,
    *,
    who: str = "",
    reason: str = "",
) -> Promotion:
    """Make the former champion champion again, without a gate; `to` names another version.

    The version before that, as the ledger knows it, becomes `previous`. Raises RegistryError when
    there is nothing to go back to.
    """
    for _ in range(RACES):
        entries = ledger.entries(model)
        champion = registry.alias(model, names.CHAMPION)
        if champion is None:
            raise RegistryError(f"model {model} has no champion; promote a version first")
        unfinished = _unfinished(entries, champion, "rollback")
        if unfinished is not None and to in (None, unfinished):
            return _apply(registry, ledger, entries[-1])
        target = registry.version(model, to) if to else registry.alias(model, names.PREVIOUS)
        if target is None:
            raise RegistryError(
                f"model {model}: there is no champion before version {champion.version}; "
                "name the version to go back to"
            )
        if target.version == champion.version:
            return Promotion(champion, registry.alias(model, names.PREVIOUS), changed=False)
        entry = LedgerEntry(
            number=len(entries) + 1,
            model=model,
            action="rollback",
            version=target.version,
            previous_version=champion.version,
            who=who,
            reason=reason,
        )
        if ledger.append(entry):
            return _apply(registry, ledger, entry)
    raise RegistryError(f"{model}: the ledger keeps changing; somebody promotes in a loop")


def _unfinished(
    entries: Sequence[LedgerEntry],
    champion: ResolvedVersion | None,
    action: Literal["promote", "rollback"],
) -> int | None:
    """Return the version of the last move when its alias still stands where it stood before."""
    moves = [entry for entry in entries if entry.action != "refuse"]
    if not moves or moves[-1] is not entries[-1] or moves[-1].action != action:
        return None
    standing = champion.version if champion else None
    return moves[-1].version if standing == moves[-1].previous_version else None


def _apply(registry: Registry, ledger: Ledger, entry: LedgerEntry) -> Promotion:
    """Set the aliases as the ledger says, until its last move is the one that was applied."""
    model = entry.model
    mine = entry
    while True:
        entries = [each for each in ledger.entries(model) if each.action != "refuse"]
        stack = champions(entries)
        if len(stack) == 1 and entry.action == "promote" and entry.previous_version:
            stack.insert(0, entry.previous_version)  # a champion from before the ledger
        former = stack[-2] if len(stack) > 1 else None
        registry.set_alias(model, names.CHAMPION, entry.version)
        if former is None:
            registry.remove_alias(model, names.PREVIOUS)
        else:
            registry.set_alias(model, names.PREVIOUS, former)
        _write_down(registry, entry)
        last = ledger.entries(model)
        moves = [each for each in last if each.action != "refuse"]
        if moves[-1].number == entry.number:
            break
        entry = moves[-1]
    champion = registry.version(model, entry.version)
    previous = registry.version(model, former) if former is not None else None
    return Promotion(champion, previous, changed=True, report=mine.report, entry=mine)


def _write_down(registry: Registry, entry: LedgerEntry) -> None:
    """Mirror the entry on the version, where MLflow's page of the version shows it."""
    model, version = entry.model, entry.version
    words = f"{entry.when} by {entry.who or 'unknown'}; ledger {entry.number}"
    words += f"; {entry.reason}" if entry.reason else ""
    if entry.action == "rollback":
        words = f"{words}; back to version {version}"
        if entry.previous_version:
            registry.set_tags(model, entry.previous_version, {names.ROLLED_BACK: words})
        return
    tags = {names.PROMOTED: words + ("; forced" if entry.forced else "")}
    if entry.report is not None:
        tags[names.GATE] = entry.report.table()
    registry.set_tags(model, version, tags)
    candidate = registry.alias(model, names.CANDIDATE)
    if candidate is not None and candidate.version == version:
        registry.remove_alias(model, names.CANDIDATE)


def _refusal(
    candidate: ResolvedVersion, champion: ResolvedVersion | None, report: GateReport
) -> str:
    against = f" against champion {champion.reference}" if champion else ""
    reasons = "\n".join(f"  {reason}" for reason in report.reasons)
    return (
        f"the gate refuses {candidate.reference}{against}:\n{reasons}\n"
        "the champion stays; overrule with force and a reason if this is meant"
    )
