"""Benchmarks are found by file name, and a limit never cuts a group."""

import pytest

from components.core.errors import ConfigError
from components.evaluation.benchmark import Question, benchmark_names, get_benchmark, limited


def test_every_file_holds_a_benchmark_of_its_name() -> None:
    names = benchmark_names()
    assert {"pope", "vqav2", "gqa", "textvqa", "mme", "mmbench", "grocery"} <= set(names)
    assert {"vizwiz", "scienceqa", "mmbench_cn", "seed"} <= set(names)
    for name in names:
        benchmark = get_benchmark(name)
        assert benchmark.name == name
        assert benchmark.max_new_tokens > 0


def test_an_unknown_name_is_answered_with_the_nearest() -> None:
    with pytest.raises(ConfigError, match="did you mean textvqa"):
        get_benchmark("text_vqa")


def test_limit_takes_whole_groups_in_the_files_order() -> None:
    questions = [
        Question(str(number), "mme", "?", "yes", group=f"g{number // 4}") for number in range(40)
    ]
    taken = limited(questions, 10, seed=0)
    assert len(taken) == 12
    assert [q.id for q in taken] == sorted((q.id for q in taken), key=int)
    sizes = {group: sum(q.group == group for q in taken) for group in {q.group for q in taken}}
    assert set(sizes.values()) == {4}
    assert limited(questions, 10, seed=0) == taken
    assert limited(questions, 0, seed=0) == limited(questions, 40, seed=0) == questions
    assert {q.group for q in limited(questions, 10, seed=1)} != {q.group for q in taken}
