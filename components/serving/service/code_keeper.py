"""The code of replicas, kept on the cluster for as long as they may have to be started again.

In: the runtime environment of the job that deploys. Out: the environment that the Serve application
is given, and a detached actor that holds on to it. Ray deletes an uploaded working_dir when the
last job or actor that uses it ends; a service outlives its job, and its last replica may die and
have to be started anew.
"""

import contextlib

import ray

NAMESPACE = "lavaflow"
KEEPER = "lavaflow-code-keeper"


def code_environment() -> dict[str, object]:
    """Return what a replica needs to import this project: the code this job brought, if any."""
    current = ray.get_runtime_context().runtime_env
    return {
        name: current[name]
        for name in ("working_dir", "py_modules", "env_vars")
        if current.get(name)
    }


class _Keeper:
    """Does nothing, but its runtime environment counts as used."""


def keep_code(environment: dict[str, object]) -> str | None:
    """Keep the job's uploaded code on the cluster; returns the name of its keeper, if it needs one.

    Ray deletes an uploaded working_dir when the last job or actor that uses it ends. Without a
    keeper a service whose job has ended could not start another replica after its last one died.
    """
    uri = environment.get("working_dir")
    if not isinstance(uri, str) or not uri.startswith("gcs://"):
        return None
    name = f"{KEEPER}-{uri.rpartition('/')[2]}"
    ray.remote(_Keeper).options(
        num_cpus=0,
        name=name,
        namespace=NAMESPACE,
        lifetime="detached",
        get_if_exists=True,
        max_restarts=-1,
        runtime_env={"working_dir": uri},
    ).remote()
    return name


def end_keepers(but: str | None = None) -> None:
    """End all keepers, or all but one: code that no replica runs any more need not stay."""
    for actor in ray.util.list_named_actors(all_namespaces=True):
        name = actor["name"]
        if actor["namespace"] != NAMESPACE or not name.startswith(KEEPER) or name == but:
            continue
        with contextlib.suppress(ValueError):  # it has just ended by itself
            ray.kill(ray.get_actor(name, namespace=NAMESPACE))
