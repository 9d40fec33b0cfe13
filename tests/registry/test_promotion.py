"""Promote and roll back on a real registry and a real ledger, also when killed or at once."""

import itertools
from concurrent.futures import ThreadPoolExecutor

import pytest

from components.core.errors import GateRefused, RegistryError
from components.core.store import Store
from components.registry import names
from components.registry.gate import GateConfig
from components.registry.ledger import Ledger
from components.registry.promotion import promote, rollback
from components.registry.scores import ScoreRow
from components.registry.versions import Registration, Registry

numbers = itertools.count()
GATE = GateConfig()


class House:
    """A registry, a ledger and one model."""

    def __init__(self, tracking_uri: str, store: Store, model: str) -> None:
        self.registry = Registry(tracking_uri)
        self.ledger = Ledger(store)
        self.model = model

    def register(self, *percents: float) -> None:
        for percent in percents:
            score = ScoreRow(
                benchmark="pope", percent=percent, ci_low=percent - 1, ci_high=percent + 1
            )
            self.registry.register(
                self.model,
                Registration(checkpoint_uri="/store/x", checkpoint_digest="d", scores=(score,)),
            )

    def promote(self, version: int | None = None, **more):
        more = {"gate": GATE, "who": "ada", **more}
        return promote(self.registry, self.ledger, self.model, version, **more)

    def rollback(self, to: int | None = None, **more):
        return rollback(self.registry, self.ledger, self.model, to, **more)

    @property
    def aliases(self) -> dict[str, int]:
        return {
            alias: each.version
            for each in self.registry.versions(self.model)
            for alias in each.aliases
        }

    @property
    def actions(self) -> list[tuple[str, int]]:
        return [(each.action, each.version) for each in self.ledger.entries(self.model)]


@pytest.fixture
def house(tracking_uri, tmp_path):
    return House(tracking_uri, Store(str(tmp_path / "store")), f"promoted-{next(numbers)}")


def test_the_first_version_becomes_champion(house):
    house.register(80.0)
    done = house.promote()
    assert done.changed
    assert house.aliases == {"champion": 1}
    assert house.actions == [("promote", 1)]
    tags = house.registry.resolve(f"{house.model}@champion").tags
    assert "by ada; ledger 1" in tags[names.PROMOTED]
    assert "| pope | 80.0 |" in tags[names.GATE]


def test_the_former_champion_stays_at_hand(house):
    house.register(80.0, 85.0)
    house.promote(1)
    done = house.promote()
    assert (done.champion.version, done.previous.version) == (2, 1)
    assert house.aliases == {"champion": 2, "previous": 1}


def test_promoting_the_champion_again_changes_nothing(house):
    house.register(80.0)
    house.promote()
    again = house.promote()
    assert not again.changed
    assert house.actions == [("promote", 1)]


def test_a_worse_version_is_refused_and_that_is_written_down(house):
    house.register(80.0, 60.0)
    house.promote(1)
    with pytest.raises(GateRefused, match=r"(?s)the gate refuses .*/2 against champion .*pope: 60"):
        house.promote(2)
    assert house.aliases == {"champion": 1, "candidate": 2}
    assert house.actions == [("promote", 1), ("refuse", 2)]
    assert house.ledger.entries(house.model)[-1].report.passed is False


def test_force_overrules_the_gate_and_is_written_down(house):
    house.register(80.0, 60.0)
    house.promote(1)
    house.promote(2, force=True, reason="demo tonight")
    last = house.ledger.entries(house.model)[-1]
    assert (last.forced, last.reason, last.report.passed) == (True, "demo tonight", False)
    assert house.aliases["champion"] == 2


def test_scores_can_come_from_elsewhere(house):
    house.register(80.0, 80.0)
    house.promote(1)
    bad = ScoreRow(benchmark="pope", percent=10.0)
    with pytest.raises(GateRefused):
        house.promote(2, scores=lambda each: [bad] if each.version == 2 else each.scores)


def test_rolling_back_twice_goes_back_two_champions(house):
    house.register(80.0, 81.0, 82.0)
    for version in (1, 2, 3):
        house.promote(version)
    assert house.rollback(reason="answers in French").champion.version == 2
    assert house.aliases == {"champion": 2, "previous": 1}
    tags = house.registry.version(house.model, 3).tags
    assert "answers in French; back to version 2" in tags[names.ROLLED_BACK]
    assert house.rollback().champion.version == 1
    assert house.aliases == {"champion": 1}
    with pytest.raises(RegistryError, match="there is no champion before version 1"):
        house.rollback()


def test_rolling_back_to_a_named_version(house):
    house.register(80.0, 81.0, 82.0)
    for version in (1, 2, 3):
        house.promote(version)
    house.rollback(to=1)
    assert house.aliases == {"champion": 1}
    assert not house.rollback(to=1).changed


def test_without_a_champion_there_is_nothing_to_roll_back(house):
    house.register(80.0)
    with pytest.raises(RegistryError, match="has no champion"):
        house.rollback()


def test_unknown_versions_and_models_are_named(house):
    house.register(80.0)
    with pytest.raises(RegistryError, match="has no version 9; versions: 1"):
        house.promote(9)
    with pytest.raises(RegistryError, match="no model named 'nothing'"):
        promote(house.registry, house.ledger, "nothing", gate=GATE)


class Killed(BaseException):
    """Stands for the process ending here."""


@pytest.mark.parametrize("at", ["set_alias", "remove_alias", "set_tags"])
def test_a_promotion_that_was_cut_off_is_completed_by_the_same_command(house, monkeypatch, at):
    house.register(80.0)

    def die(*_arguments) -> None:
        raise Killed

    with monkeypatch.context() as patch:
        patch.setattr(house.registry, at, die)
        with pytest.raises(Killed):
            house.promote()
    house.promote(1)
    assert house.aliases["champion"] == 1
    assert house.actions == [("promote", 1)]


def test_a_rollback_that_was_cut_off_goes_back_once(house, monkeypatch):
    house.register(80.0, 81.0, 82.0)
    for version in (1, 2, 3):
        house.promote(version)

    def die(*_arguments) -> None:
        raise Killed

    with monkeypatch.context() as patch:
        patch.setattr(house.registry, "set_alias", die)
        with pytest.raises(Killed):
            house.rollback()
    house.rollback()
    assert house.aliases == {"champion": 2, "previous": 1}
    assert house.actions[-1] == ("rollback", 2)
    assert len(house.actions) == 4


def test_promotions_at_the_same_moment_come_one_after_the_other(house):
    house.register(80.0, 80.1, 80.2, 80.3)
    house.promote(1)
    with ThreadPoolExecutor(3) as pool:
        assert all(done.changed for done in pool.map(house.promote, (2, 3, 4)))
    entries = house.ledger.entries(house.model)
    assert sorted(each.version for each in entries) == [1, 2, 3, 4]
    assert house.aliases["champion"] == entries[-1].version
    assert house.aliases["previous"] == entries[-2].version
