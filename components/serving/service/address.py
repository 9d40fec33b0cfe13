"""Where the service listens: whether it can, and how it is called.

In: host and port, a connected cluster. Out: an error before Serve is started on a port that is
taken, and the URL of the head node's proxy.
"""

import socket

import ray
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from components.core.errors import ServingError


def base_url(host: str, port: int) -> str:
    """Return the URL under which the head node answers."""
    # 0.0.0.0 is an address to listen on, not to call; the head node runs a proxy in any case.
    host = _head_node()["NodeManagerAddress"] if host in ("0.0.0.0", "::") else host
    return f"http://{f'[{host}]' if ':' in host else host}:{port}"


def check_port(host: str, port: int) -> None:
    """Raise ServingError when the proxy could not listen; binding is the only honest test."""
    head = _head_node()["NodeID"]
    if ray.get_runtime_context().get_node_id() == head:
        problem = _bind(host, port)
    else:
        on_head = NodeAffinitySchedulingStrategy(head, soft=False)
        task = ray.remote(_bind).options(num_cpus=0, scheduling_strategy=on_head)
        problem = ray.get(task.remote(host, port))
    if problem:
        raise ServingError(
            f"the service cannot listen on {host}:{port}: {problem}. Another program may hold "
            "the port; "
            "end it or choose another one with --port 8001"
        )


def _bind(host: str, port: int) -> str:
    """Try to listen; returns what is wrong, or an empty text."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as listener:
        # As the proxy does, so that a connection in TIME_WAIT does not count as a listener.
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind((host, port))
            listener.listen()
        except OSError as error:
            return error.strerror or str(error)
    return ""


def _head_node() -> dict[str, str]:
    for node in ray.nodes():
        if node["Alive"] and "node:__internal_head__" in node["Resources"]:
            return node
    raise ServingError("the Ray cluster has no head node that is alive")
