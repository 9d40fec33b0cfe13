"""Reaches the cluster that a daily command is about: kept here, named by address, or behind a
dashboard.

In: a home and an address, or none. Out: a connected Ray, or the command run as a job where the
service is.
"""

import contextlib
from collections.abc import Iterator, Sequence

import typer

from components.core.errors import ClusterError
from workflows.cluster import local as cluster
from workflows.home import Home, secrets


def is_remote(address: str | None) -> bool:
    """Whether an address takes jobs (a dashboard) in place of connections."""
    return address is not None and address.startswith(("http://", "https://"))


def run_there(
    home: Home, address: str, arguments: Sequence[str], *, addresses: bool = True
) -> None:
    """Run `lavaflow ARGUMENTS --address auto` as a job on the cluster and exit with its status."""
    from workflows.cluster.submit import run_remote

    options = ["--store", home.store_uri, "--tracking-uri", home.tracking_uri] if addresses else []
    code = run_remote([*arguments, *options, "--address", "auto"], address, env_vars=secrets())
    if code:
        raise typer.Exit(code)


@contextlib.contextmanager
def connected(home: Home, address: str | None, *, required: bool = True) -> Iterator[bool]:
    """Connect to the cluster of the address, else to the kept one, else to this machine's; yields
    whether it did.

    Raises ClusterError when `required` and there is none.

    """
    kept = cluster.kept_cluster(home.cluster_file) if address is None else None
    where = kept or address or "auto"
    try:
        cluster.ensure_cluster(where, env_vars=secrets())
    except ClusterError as error:
        if required:
            if address is None:
                raise ClusterError(
                    "no cluster runs on this machine; start a service with `lavaflow deploy`, "
                    "or name the cluster with --address"
                ) from error
            raise
        yield False
        return
    import ray

    try:
        yield True
    finally:
        ray.shutdown()
