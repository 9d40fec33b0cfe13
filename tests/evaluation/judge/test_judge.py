"""The judge over real HTTP: replies, rate limits, silence, nonsense, and what is kept."""

import logging
import os
import pickle
import signal
import socket
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest

from components.core.errors import ConfigError, EndpointError
from components.evaluation.benchmark import Question, get_benchmark
from components.evaluation.config import EvaluationConfig, JudgeConfig
from components.evaluation.judge import judge as judge_module
from components.evaluation.judge.judge import Judge
from tests.conftest import BUCKET
from tests.evaluation.judge_server import Fault, JudgeServer, Named, serve, until

KEY = "sk-very-secret"
MM_VET = get_benchmark("mm_vet")


def asked(number: int) -> Question:
    meta = {"question": f"Which {number}?", "capability": ["rec"]}
    return Question(f"v1_{number}", "mm_vet", f"Which {number}?", "a dog", meta=meta)


def config(url: str, **changes: Any) -> JudgeConfig:
    patience = {"max_retries": 3, "first_wait_s": 0.01, "timeout_s": 5.0, "max_concurrency": 2}
    return JudgeConfig(**{"base_url": url, "model": "judge-1", **patience, **changes})


def judge_all(judge: Judge, count: int = 3, answer: str | None = "a cat") -> list[Any]:
    questions = [asked(number) for number in range(count)]
    answers = {"plain": {question.id: answer for question in questions}}
    found = judge.judge(MM_VET, {"plain": questions}, answers)["plain"]
    return [found[question.id] for question in questions]


def test_every_answer_is_judged_and_the_reply_is_kept_as_it_came() -> None:
    with serve(lambda body: "0.3") as server:
        found = judge_all(Judge(config(server.url), KEY))
    for (judgement,) in found:
        assert (judgement.model, judgement.replies, judgement.error) == ("judge-1", ("0.3",), "")
        assert judgement.prompt == "mm-vet_evaluator.py@acde843"
    body = server.bodies[0]
    assert (body["model"], body["temperature"], body["max_tokens"]) == ("judge-1", 0.0, 3)
    assert {header["authorization"] for header in server.headers} == {f"Bearer {KEY}"}


def test_a_missing_answer_is_not_put_to_the_judge() -> None:
    with serve(lambda body: "0.3") as server:
        judge = Judge(config(server.url))
        assert judge.judge(MM_VET, {"plain": [asked(0)]}, {"plain": {"v1_0": None}}) == {
            "plain": {}
        }
    assert server.bodies == []


def test_the_key_may_come_from_a_function_and_goes_nowhere_else(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    with serve(lambda body: Fault(400, f"bad key {KEY}")) as server:
        judge = Judge(config(server.url), lambda: KEY, str(tmp_path))
        with pytest.raises(ConfigError, match="not one of 3 judgements") as error:
            judge_all(judge)
        server.reply = lambda body: "1.0"
        judge_all(judge)
    kept = "".join(path.read_text() for path in tmp_path.rglob("*.json"))
    assert "judge-1" in kept
    assert KEY not in kept + caplog.text + str(error.value) + repr(judge)
    with pytest.raises(TypeError, match="not pickled"):
        pickle.dumps(judge)


def test_a_rate_limit_is_waited_out(monkeypatch: pytest.MonkeyPatch) -> None:
    waits: list[float] = []
    monkeypatch.setattr(judge_module, "sleep_using_event", lambda stop: waits.append)
    refusals = iter([Fault(429, retry_after="90"), Fault(500), Fault(429)])
    with serve(lambda body: next(refusals, "0.5")) as server:
        found = judge_all(Judge(config(server.url, max_concurrency=1)), count=2)
    assert [each[0].replies for each in found] == [("0.5",), ("0.5",)]
    assert len(server.bodies) == 5
    assert waits[0] == 90, "Retry-After is kept to"
    assert 0.01 < waits[1] < waits[2] < 0.1, "without one the waits double"


def test_one_that_fails_for_good_is_counted_and_the_others_go_on() -> None:
    def reply(body: dict[str, Any]) -> Any:
        return Fault(503, "overloaded") if "Which 1?" in body["messages"][-1]["content"] else "1.0"

    with serve(reply) as server:
        found = judge_all(Judge(config(server.url)), count=4)
    assert [bool(each[0].error) for each in found] == [False, True, False, False]
    assert "overloaded" in found[1][0].error
    assert sum("Which 1?" in prompt for prompt in server.prompts) == 4, "one try, three retries"


def test_a_request_that_is_refused_is_not_repeated() -> None:
    def reply(body: dict[str, Any]) -> Any:
        return Fault(400, "filtered") if "Which 0?" in body["messages"][-1]["content"] else "1.0"

    with serve(reply) as server:
        found = judge_all(Judge(config(server.url)), count=2)
    assert "filtered" in found[0][0].error
    assert len(server.bodies) == 2


@pytest.mark.parametrize(
    "fault", [Fault(401), Fault(403), Fault(404), Fault(429, code="insufficient_quota")], ids=str
)
def test_a_refused_key_or_name_stops_at_once(fault: Fault) -> None:
    with serve(lambda body: fault) as server, pytest.raises(ConfigError, match="check its address"):
        judge_all(Judge(config(server.url, max_concurrency=1)), count=5)
    assert len(server.bodies) == 1


def test_an_unreachable_judge_is_said_and_may_be_tried_again() -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{free.getsockname()[1]}/v1"
    with pytest.raises(EndpointError, match="not one of 3 judgements") as error:
        judge_all(Judge(config(url, max_retries=1)))
    assert error.value.retryable
    with pytest.raises(EndpointError, match="20 times in a row"):
        judge_all(Judge(config(url, max_retries=1)), count=60)


def test_a_slow_judge_is_given_up_after_its_time() -> None:
    slow = threading.Event()

    def reply(body: dict[str, Any]) -> str:
        if "Which 0?" in body["messages"][-1]["content"]:
            slow.wait(20)
        return "0.9"

    with serve(reply) as server:
        found = judge_all(Judge(config(server.url, timeout_s=0.3, max_retries=1)))
        slow.set()
    assert [each[0].replies for each in found] == [(), ("0.9",), ("0.9",)]
    assert "timed out" in found[0][0].error


@pytest.mark.parametrize("page", [b"<html>gateway</html>", b"{}", b'{"choices": []}'], ids=str)
def test_a_page_that_is_no_reply_is_tried_again(page: bytes) -> None:
    pages = iter([page])
    with serve(lambda body: next(pages, "0.1")) as server:
        assert judge_all(Judge(config(server.url)), count=1)[0][0].replies == ("0.1",)


def test_a_judge_that_names_the_limit_otherwise_is_asked_its_way() -> None:
    def reply(body: dict[str, Any]) -> Any:
        return Fault(400, param="max_tokens") if "max_tokens" in body else "0.4"

    with serve(reply) as server:
        found = judge_all(Judge(config(server.url, max_concurrency=1)))
    assert [each[0].replies for each in found] == [("0.4",)] * 3
    assert len(server.bodies) == 4
    assert server.bodies[-1]["max_completion_tokens"] == 3


def test_nonsense_is_asked_again_as_the_official_script_does_then_counted() -> None:
    def reply(body: dict[str, Any]) -> Any:
        if "Which 0?" not in body["messages"][-1]["content"]:
            return "0.7"
        return None if body["temperature"] == 0.5 else "good answer"

    with serve(reply) as server:
        found = judge_all(Judge(config(server.url, max_concurrency=1)), count=2)
    bad = [body for body in server.bodies if "Which 0?" in body["messages"][-1]["content"]]
    assert [body["temperature"] for body in bad] == [0.0, 0.0, 0.5, 1.0, 1.5]
    insisting = [body["messages"][-1]["content"].endswith("(digit): ") for body in bad]
    assert insisting == [False, True, True, True, True]
    assert found[0][0].replies == ("good answer", "good answer", "", "good answer", "good answer")
    assert MM_VET.grade(found[0], asked(0)) is None
    with serve(lambda body: "fine") as server, pytest.raises(ConfigError, match="gave no grade"):
        judge_all(Judge(config(server.url)))


def test_equal_requests_are_asked_once_in_all_passes_and_runs_are_told_apart() -> None:
    question = asked(0)
    passes = {"plain": [question], "blind": [question], "text_only": [question]}
    answers = {"plain": {"v1_0": "x"}, "blind": {"v1_0": "x"}, "text_only": {"v1_0": "y"}}
    with serve(lambda body: "1.0") as server:
        judge = Judge(config(server.url, num_runs=3))
        found = judge.judge(MM_VET, passes, answers)
    assert len(server.bodies) == 2 * 3
    assert {name: len(each["v1_0"]) for name, each in found.items()} == dict.fromkeys(passes, 3)


def test_kept_replies_are_not_asked_again_whatever_the_address(tmp_path: Path) -> None:
    with serve(lambda body: "0.5") as server:
        first = judge_all(Judge(config(server.url), KEY, str(tmp_path)))
    with serve(lambda body: "0.9") as server:
        moved = config(server.url, cache_uri=str(tmp_path))
        assert judge_all(Judge(moved)) == first
        assert server.bodies == []
        judge_all(Judge(config(server.url, model="judge-2", cache_uri=str(tmp_path))))
        assert len(server.bodies) == 3, "another judge is asked anew"
        damaged = sorted(tmp_path.glob("*.json"))
        for path in damaged:
            path.write_text(path.read_text()[:40])
        judge_all(Judge(moved))
        assert len(server.bodies) == 6, "damaged files are asked again"


def test_failures_are_not_kept(tmp_path: Path) -> None:
    fault: list[Any] = [Fault(400)]
    with serve(lambda body: fault[0] if "Which 0?" in str(body) else "0.5") as server:
        judge = Judge(config(server.url), KEY, str(tmp_path))
        assert judge_all(judge)[0][0].error
        fault[0] = "0.2"
        assert judge_all(judge)[0][0].replies == ("0.2",)
    assert len(server.bodies) == 4


def test_the_name_that_the_endpoint_gives_itself_is_remembered() -> None:
    with serve(lambda body: Named("1.0", "judge-1-2024")) as server:
        assert judge_all(Judge(config(server.url)), 1)[0][0].answered_by == "judge-1-2024"


KILLED = """
import sys
from tests.evaluation.judge.test_judge import Judge, config, judge_all
judge_all(Judge(config(sys.argv[1], max_concurrency=1), None, sys.argv[2]), count=8)
"""


def test_a_killed_run_asks_no_judgement_twice(tmp_path: Path) -> None:
    hold = threading.Event()

    def reply(body: dict[str, Any]) -> str:
        if len(server.bodies) > 5:
            hold.wait(60)
        return "0.5"

    server: JudgeServer
    with serve(reply) as server:
        process = subprocess.Popen(
            [sys.executable, "-c", KILLED, server.url, str(tmp_path)], cwd=Path(__file__).parents[3]
        )
        until(lambda: len(server.bodies) == 6)
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
        hold.set()
        answered = server.prompts[:5]
        found = judge_all(Judge(config(server.url, max_concurrency=1), None, str(tmp_path)), 8)
    assert len(found) == 8
    assert len(set(answered)) == 5
    assert len(server.bodies) == 6 + 3, "the one in flight and the two that were left"
    assert not set(answered) & set(server.prompts[6:])


def test_an_interrupt_ends_though_a_retry_is_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    """The wait is far longer than the time that a test may take."""

    def interrupt() -> None:
        until(lambda: len(server.bodies) == 2)
        os.kill(os.getpid(), signal.SIGINT)

    monkeypatch.setattr(judge_module, "_LONGEST_WAIT_S", 7200.0)
    # What a shell starts with `&` ignores interrupts.
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        with serve(lambda body: Fault(503)) as server:
            judge = Judge(config(server.url, first_wait_s=7200.0))
            threading.Thread(target=interrupt).start()
            with pytest.raises(KeyboardInterrupt):
                judge_all(judge)
    finally:
        signal.signal(signal.SIGINT, before)


def test_the_address_holds_no_key() -> None:
    from components.core.config import parse

    for url in ("https://user:pw@host/v1", "https://host/v1?key=1", "host/v1", "ftp://host"):
        with pytest.raises(ConfigError, match="base_url"):
            parse(JudgeConfig, {"base_url": url, "model": "m"})


def test_other_benchmarks_do_not_depend_on_the_judge() -> None:
    judged = EvaluationConfig(judge=config("http://host/v1"))
    assert judged.for_benchmark("gqa") == EvaluationConfig().for_benchmark("gqa")
    assert judged.for_benchmark("mm_vet").judge == judged.judge


def test_kept_replies_may_lie_in_an_object_store(s3_environment: str) -> None:
    with serve(lambda body: "0.5") as server:
        kept_at = f"s3://{BUCKET}/evaluation/judge"
        first = judge_all(Judge(config(server.url), KEY, kept_at))
        assert judge_all(Judge(config(server.url), KEY, kept_at)) == first
        assert len(server.bodies) == 3
