"""Builds the tiny base: `python -m workflows.tiny_base.build [OUTPUT] [--set KEY=VALUE]`.

In: the recipe `tiny_base`, with overrides. Out: a folder with `vision_tower/`, `language_model/`
and `figures.json` (what was measured on scenes of the evaluation split). Needs no network and no
GPU; about an hour on two cores. Without OUTPUT it writes to `build/tiny_base`; the shipped
folders lie beside this file.
"""

import argparse
import json
import logging
import time
from collections.abc import Callable
from pathlib import Path

from components.core.config import override
from workflows.tiny_base.config import TinyBaseConfig
from workflows.tiny_base.recipe import tiny_base

log = logging.getLogger(__name__)

VISION_TOWER = "vision_tower"
LANGUAGE_MODEL = "language_model"
MAX_BYTES = 10_000_000
"""Limit of the two folders together: they are part of the repository."""

Report = Callable[[str, int, dict[str, float]], None]


def build_tiny_base(
    output_path: str | Path, config: TinyBaseConfig, report: Report | None = None
) -> dict[str, dict[str, float]]:
    """Train both parts, write their folders and return the figures measured on evaluation scenes.

    `report` is called with the part's name, the step and its metrics.
    """
    from workflows.tiny_base.language import train_language_model
    from workflows.tiny_base.vision import probe_accuracy, train_vision_tower

    path = Path(output_path)
    tell = report or _log_metrics
    figures: dict[str, dict[str, float]] = {}

    def tell_language(step: int, metrics: dict[str, float]) -> None:
        if "mean" in metrics:
            figures[LANGUAGE_MODEL] = metrics
        tell(LANGUAGE_MODEL, step, metrics)

    started = time.monotonic()
    tower = train_vision_tower(
        config.vision, path / VISION_TOWER, config.seed, lambda step, m: tell(VISION_TOWER, step, m)
    )
    figures[VISION_TOWER] = probe_accuracy(tower, config.seed)
    log.info("Vision tower done in %.0f s: %s", time.monotonic() - started, figures[VISION_TOWER])
    train_language_model(config.language, path / LANGUAGE_MODEL, config.seed, tell_language)
    log.info("Language model done after %.0f s", time.monotonic() - started)
    (path / "figures.json").write_text(json.dumps(figures, indent=2) + "\n", encoding="utf-8")
    size = sum(file.stat().st_size for file in path.rglob("*") if file.is_file())
    if size > MAX_BYTES:
        log.warning("%s: %d bytes; at most %d may be shipped", path, size, MAX_BYTES)
    return figures


def main(arguments: list[str] | None = None) -> None:
    """Read the command line and build."""
    parser = argparse.ArgumentParser(prog="python -m workflows.tiny_base.build")
    parser.add_argument("output", nargs="?", default="build/tiny_base", help="folder to write to")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", dest="changes")
    options = parser.parse_args(arguments)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    build_tiny_base(options.output, override(tiny_base(), options.changes))


def _log_metrics(part: str, step: int, metrics: dict[str, float]) -> None:
    log.info("%s %d %s", part, step, {name: round(value, 3) for name, value in metrics.items()})


if __name__ == "__main__":
    main()
