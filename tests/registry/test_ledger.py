"""The ledger: numbered, append-only, one winner per number."""

import threading

import pytest

from components.core.errors import RegistryError
from components.core.store import Store
from components.registry.ledger import Ledger, LedgerEntry, champions, history


def entry(number: int, version: int = 1, action: str = "promote", **more) -> LedgerEntry:
    return LedgerEntry(number=number, model="tiny", action=action, version=version, **more)


@pytest.fixture
def ledger(tmp_path):
    return Ledger(Store(str(tmp_path / "store")))


def test_entries_come_back_in_order(ledger):
    written = [entry(number, version=number) for number in range(1, 12)]
    assert all(ledger.append(each) for each in written)
    assert ledger.entries("tiny") == written


def test_a_model_without_a_past(ledger):
    assert ledger.entries("tiny") == []


def test_a_number_is_given_once(ledger):
    assert ledger.append(entry(1, version=1))
    assert not ledger.append(entry(1, version=2))
    assert [each.version for each in ledger.entries("tiny")] == [1]


def test_the_same_entry_sent_twice_is_one(ledger):
    once = entry(1)
    assert ledger.append(once)
    assert ledger.append(once)
    assert len(ledger.entries("tiny")) == 1


def test_many_writers_at_once_leave_no_gap_and_lose_nothing(ledger):
    def write(writer: int) -> None:
        for _ in range(5):
            while not ledger.append(
                entry(len(ledger.entries("tiny")) + 1, version=1, who=str(writer))
            ):
                pass

    threads = [threading.Thread(target=write, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    entries = ledger.entries("tiny")
    assert [each.number for each in entries] == list(range(1, 21))
    assert sorted(each.who for each in entries) == sorted("0123" * 5)


def test_an_entry_of_another_schema_is_refused_in_words(ledger):
    ledger.append(entry(1))
    ledger.store.write_json("ledger/tiny/000001.json", {"schema_version": 99})
    with pytest.raises(RegistryError, match=r"000001\.json: ledger entry of schema 99"):
        ledger.entries("tiny")


@pytest.mark.parametrize(
    ("moves", "stack"),
    [
        ([], []),
        ([("promote", 1), ("promote", 2)], [1, 2]),
        ([("promote", 1), ("refuse", 2)], [1]),
        ([("promote", 1), ("promote", 2), ("rollback", 1)], [1]),
        ([("promote", 1), ("promote", 2), ("promote", 3), ("rollback", 1)], [1]),
        ([("promote", 1), ("promote", 2), ("rollback", 1), ("promote", 3)], [1, 3]),
        ([("promote", 5), ("rollback", 4)], [4]),
    ],
)
def test_the_champions_that_entries_lead_to(moves, stack):
    entries = [
        entry(number, version, action) for number, (action, version) in enumerate(moves, start=1)
    ]
    assert champions(entries) == stack


def test_the_history_is_readable():
    text = history(
        [
            entry(
                1,
                version=3,
                who="ada",
                when="2026-11-01T10:00:00+00:00",
                previous_version=2,
                forced=True,
                reason="demo",
            )
        ]
    )
    assert text == (
        "   1  2026-11-01T10:00:00+00:00  promote   version 3 (was 2)  by ada  forced  demo"
    )
