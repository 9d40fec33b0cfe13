"""The worker between event loop and model: batches, ends, cancellation, failures."""

import asyncio
import threading
from collections.abc import Callable, Iterator, Sequence

import pytest

from components.serving.engine.batching import Batcher, Generation, Prompt, Sampling

END = 0


class Counting:
    """Row i of a batch yields the ids of its prompt in turn, then the end token."""

    def __init__(self) -> None:
        self.batches: list[int] = []
        self.steps_taken = 0
        self.go = threading.Event()
        self.go.set()

    def steps(
        self,
        prompts: Sequence[Prompt],
        sampling: Sequence[Sampling],
        alive: Callable[[], list[bool]],
    ) -> Iterator[list[int]]:
        self.batches.append(len(prompts))
        for step in range(10_000):
            self.go.wait(10)
            self.steps_taken += 1
            if prompts[0].ids == [13]:
                raise RuntimeError("unlucky")
            yield [row.ids[step] if step < len(row.ids) else END for row in prompts]


@pytest.fixture
def decoder() -> Counting:
    return Counting()


@pytest.fixture
def batcher(decoder: Counting) -> Iterator[Batcher]:
    batcher = Batcher(decoder, [END], max_batch_size=4, batch_wait_s=0.05)
    yield batcher
    decoder.go.set()
    batcher.close()


def ask(batcher: Batcher, ids: list[int], limit: int = 100) -> Generation:
    return batcher.submit(Prompt(ids, None), Sampling(max_new_tokens=limit))


async def read(generation: Generation) -> list[int]:
    return [token async for token in generation]


def test_rows_of_one_batch_end_on_their_own(batcher: Batcher, decoder: Counting) -> None:
    async def main() -> None:
        rows = [ask(batcher, [1, 2, 3]), ask(batcher, [4]), ask(batcher, [5, 6, 7, 8], limit=2)]
        assert await asyncio.gather(*map(read, rows)) == [[1, 2, 3], [4], [5, 6]]
        assert [row.finish for row in rows] == ["stop", "stop", "length"]

    asyncio.run(main())
    assert decoder.batches == [3]


def test_more_requests_than_a_batch_holds_wait_for_the_next(
    batcher: Batcher, decoder: Counting
) -> None:
    async def main() -> None:
        rows = [ask(batcher, [i, i]) for i in range(1, 8)]
        assert await asyncio.gather(*map(read, rows)) == [[i, i] for i in range(1, 8)]

    asyncio.run(main())
    assert decoder.batches == [4, 3]


def test_a_batch_whose_clients_left_stops_computing(batcher: Batcher, decoder: Counting) -> None:
    async def main() -> None:
        long = ask(batcher, [1] * 5000, limit=5000)
        tokens = aiter(long)
        assert await anext(tokens) == 1
        long.cancel()
        assert await read(ask(batcher, [2])) == [2]

    asyncio.run(main())
    assert decoder.steps_taken < 5000


def test_a_request_whose_client_left_in_the_queue_is_never_computed(
    batcher: Batcher, decoder: Counting
) -> None:
    decoder.go.clear()

    async def main() -> None:
        first = ask(batcher, [1])
        await asyncio.sleep(0.2)  # the first batch has been gathered and waits for `go`
        gone = ask(batcher, [2])
        gone.cancel()
        decoder.go.set()
        assert await read(first) == [1]
        assert await read(ask(batcher, [3])) == [3]

    asyncio.run(main())
    assert decoder.batches == [1, 1]


def test_a_failed_batch_fails_its_requests_and_no_others(batcher: Batcher) -> None:
    async def main() -> None:
        with pytest.raises(RuntimeError, match="unlucky"):
            await read(ask(batcher, [13]))
        assert await read(ask(batcher, [1])) == [1]

    asyncio.run(main())
    assert batcher.is_alive


def test_a_closed_event_loop_does_not_hurt_the_worker(batcher: Batcher, decoder: Counting) -> None:
    decoder.go.clear()

    async def leave() -> None:
        ask(batcher, [1, 2, 3])

    asyncio.run(leave())
    decoder.go.set()

    async def later() -> list[int]:
        return await read(ask(batcher, [4]))

    assert asyncio.run(later()) == [4]
