"""The process that holds a kept cluster: `python -m workflows.cluster.host STATE_FILE NUM_CPUS`.

In: where to write the state, and a number of CPUs (0: all). Out: a running cluster until SIGTERM,
or until the state file is gone. Started by `workflows.cluster.local.keep_cluster`, not by people.
"""

import sys
from pathlib import Path

from workflows.cluster.local import host_cluster

if __name__ == "__main__":
    host_cluster(Path(sys.argv[1]), int(sys.argv[2]) or None)
