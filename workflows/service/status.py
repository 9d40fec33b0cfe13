"""What runs and what is there: the service, steps under way, newest results.

In: a home. Out: lines and tables. Reads the store and the cluster; changes nothing.
"""

from rich.console import Console

from components.core.logs import format_duration, new_table
from components.core.store import Store, open_store
from workflows.cluster import local as cluster
from workflows.cluster.connect import connected, is_remote, run_there
from workflows.home import Home
from workflows.steps.state.layout import StepFolder
from workflows.steps.state.leases import looks_held, read_lease


def show_status(home: Home, address: str | None, console: Console) -> None:
    """Print the service and the steps of the store."""
    if is_remote(address):
        run_there(home, str(address), ["status"])
        return
    console.print(f"store     {home.store_uri}", highlight=False, soft_wrap=True)
    console.print(f"registry  {home.tracking_uri}", highlight=False, soft_wrap=True)
    _print_service(home, address, console)
    _print_steps(open_store(home.store_uri), console)


def _print_service(home: Home, address: str | None, console: Console) -> None:
    if address is None and cluster.kept_cluster(home.cluster_file) is None:
        console.print("service   none kept on this machine (a cluster elsewhere: --address)")
        return
    with connected(home, address):
        from components.serving.service import rollout
        from workflows.service.scale import service_row

        status = rollout.service_status()
    if status is None:
        console.print("service   the cluster runs, nothing is served")
        return
    row = service_row(status)
    console.print(
        f"service   {row['model']} version {row['version']} at {row['address']}, "
        f"{row['replicas']} replicas, {row['state']}",
        highlight=False,
    )


def _print_steps(store: Store, console: Console) -> None:
    table = new_table("Steps in the store")
    for column in ("step", "key", "state", "took", "by"):
        table.add_column(column, no_wrap=column not in ("state", "by"))
    num_rows = 0
    for step in sorted(store.list("")):
        for key in sorted(store.list(step)):
            row = _step_row(store, StepFolder(step, key))
            if row is not None:
                table.add_row(step, key, *row)
                num_rows += 1
    console.print(table if num_rows else "No step has run yet: lavaflow run tiny")


def _step_row(store: Store, folder: StepFolder) -> tuple[str, str, str] | None:
    if store.exists(folder.record):
        record = store.read_json(folder.record)
        maker = record["made_by"]
        who = f"{maker.get('host', '')} {maker.get('command', '')}".strip()
        return "done", format_duration(float(record["seconds"])), who
    if not store.exists(folder.payload):
        return None
    lease = read_lease(store, folder)
    if lease is not None and looks_held(lease):
        return "[yellow]running[/]", "", str(lease.owner)
    return "[red]stopped, resumes with the next run[/]", "", ""
