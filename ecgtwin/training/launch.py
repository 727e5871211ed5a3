"""Start one rank per process on this machine through torchrun."""

import os
import subprocess
import sys
from collections.abc import Sequence


def launch_ranks(num_processes: int, words: Sequence[str]) -> int:
    """Run ``python -m ecgtwin WORDS`` on ``num_processes`` ranks; return the exit code.

    Ranks meet on a loopback address. Each has one thread unless OMP_NUM_THREADS says otherwise.
    Ctrl-C and SIGTERM reach torchrun, which passes them on.
    """
    command = [
        *(sys.executable, "-m", "torch.distributed.run"),
        *("--nnodes", "1", "--nproc-per-node", str(num_processes)),
        *("--rdzv-backend", "c10d", "--rdzv-endpoint", "127.0.0.1:0", "--local-addr", "127.0.0.1"),
        *("-m", "ecgtwin", *words),
    ]
    environment = {"OMP_NUM_THREADS": "1", **os.environ}
    process = subprocess.Popen(command, env=environment)
    try:
        return process.wait()
    except BaseException:
        process.terminate()
        process.wait()
        raise
