"""Promotes a version: the gate, the alias, the ledger, and the running service rolled over.

In: a home, a model, a version or none for the candidate. Out: the champion alias moved, an entry in
the ledger, and the service (when one runs) answering with the new champion without a dropped
request.
"""

from rich.console import Console
from rich.markup import escape

from components.core.store import open_store
from components.registry.ledger import Ledger
from components.registry.promotion import Promotion, find_candidate, promote
from components.registry.versions import Registry
from workflows.cluster.connect import connected, is_remote, run_there
from workflows.home import Home
from workflows.registration.references import only_model
from workflows.registration.register import scores_with_questions, user_name
from workflows.registration.settings import settings_of


def promote_version(
    home: Home,
    model: str | None,
    version: int | None,
    *,
    address: str | None,
    reason: str,
    force: bool,
    recipe: str | None,
    console: Console,
) -> None:
    """Promote and roll over. Raises GateRefused when a benchmark is clearly below the champion's.

    An `http://` address runs the same command as a job on that cluster, where the service is.
    """
    if is_remote(address):
        arguments = ["promote", *([str(version)] if version else [])]
        arguments += [*(["--model", model] if model else []), *(["--force"] if force else [])]
        arguments += ["--reason", reason] if reason else []
        arguments += ["--recipe", recipe] if recipe else []
        run_there(home, str(address), arguments)
        return
    registry = Registry(home.tracking_uri)
    name = model or only_model(registry)
    store = open_store(home.store_uri)
    candidate = find_candidate(registry, name, version)
    done = promote(
        registry,
        Ledger(store),
        name,
        candidate.version,
        gate=settings_of(candidate, recipe).gate,
        who=user_name(),
        reason=reason,
        force=force,
        scores=lambda each: scores_with_questions(each, store),
    )
    _say(done, name, console)
    _roll_over(home, done, name, address, recipe, console)


def _say(done: Promotion, name: str, console: Console) -> None:
    if not done.changed:
        console.print(f"{name} version {done.champion.version} is champion already")
        return
    before = f" (before: version {done.previous.version})" if done.previous else ""
    console.print(f"[bold]{name} version {done.champion.version} is champion[/]{before}")
    if done.report is not None:
        for row in done.report.rows:
            numbers = "" if row.difference is None else f" {row.difference:+.1f}"
            console.print(f"  {escape(row.benchmark):10} {row.verdict}{numbers}", highlight=False)


def _roll_over(
    home: Home,
    done: Promotion,
    name: str,
    address: str | None,
    recipe: str | None,
    console: Console,
) -> None:
    from components.serving.service import rollout

    with connected(home, address, required=address is not None) as found:
        running = rollout.service_status() if found else None
        if running is None:
            console.print("no service runs; lavaflow deploy starts one")
            return
        if running.endpoint.model_name != name:
            console.print(
                f"the service answers with another model ({running.endpoint.model_name}); "
                "left as it is"
            )
            return
        if running.endpoint.version == str(done.champion.version):
            console.print(f"the service answers with version {done.champion.version} already")
            return
        config = settings_of(done.champion, recipe).serving
        endpoint = rollout.roll_over(done.champion.uri, str(done.champion.version), config)
    console.print(f"{endpoint.url} now answers with version {endpoint.version}", highlight=False)
