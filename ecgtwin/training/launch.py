"""Start the ranks of this machine through torch's elastic agent, which torchrun is made of."""

import ctypes
import logging
import os
import signal
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from ecgtwin.errors import SpecificationError

_log = logging.getLogger(__name__)

_LOOPBACK = "127.0.0.1"
_MEETING_S = 900
_INHERITED = {
    "OMP_NUM_THREADS": "1",
    # Of a step and its checkpoint. Whoever sends SIGTERM has a limit of his own, and SIGKILL.
    "TORCH_ELASTIC_SHUTDOWN_TIMEOUT": "3600",
}
_AGENT = "torch.distributed.elastic"
_AGENTS_SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGQUIT)
_PR_SET_PDEATHSIG = 1  # linux/prctl.h


@dataclass(frozen=True, slots=True)
class Machines:
    """The machines of a training: how many, which one this is, and ``HOST:PORT`` of the first.

    All of them are started with the same command but for ``node_rank``, which is 0 on the first.
    """

    num_nodes: int = 1
    node_rank: int = 0
    rendezvous: str | None = None


def launch_ranks(
    num_processes: int,
    words: Sequence[str],
    machines: Machines = Machines(),
) -> int:
    """Run ``python -m ecgtwin WORDS`` on ``num_processes`` ranks here; return the exit code.

    It is 0 where all ranks ended well, and after a SIGTERM, which is passed on to the ranks and
    waited for; else that of the rank which failed first, 128 + N for one killed by signal N. Each
    rank has one thread unless OMP_NUM_THREADS says otherwise. Raises SpecificationError where the
    machines do not meet within a quarter of an hour.
    """
    from torch.distributed import DistError
    from torch.distributed.elastic.multiprocessing import SignalException
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
    from torch.distributed.elastic.rendezvous import RendezvousError
    from torch.distributed.launcher.api import elastic_launch

    try:
        with _default_signals(), _environment(_INHERITED), _quiet_agent():
            launch = elastic_launch(_agents_settings(num_processes, machines), sys.executable)
            launch("-m", "ecgtwin", *words)
    except SignalException as ended:
        if ended.sigval == signal.SIGINT:
            raise KeyboardInterrupt from None
        return 0 if ended.sigval == signal.SIGTERM else 128 + ended.sigval
    except ChildFailedError as failed:
        rank, failure = failed.get_first_failure()
        return _exit_code(rank, failure.exitcode)
    except (DistError, RendezvousError) as error:
        said = str(error).strip().partition("\n")[0]
        raise SpecificationError(
            f"--rendezvous {machines.rendezvous}: {machines.num_nodes} machines did not meet there "
            f"({said}); give an address and a free port of the first, which all of them can reach"
        ) from error
    return 0


def end_with_launcher() -> None:
    """Get a SIGTERM when the process that started this one dies: no rank goes on by itself.

    On Linux; elsewhere nothing happens.
    """
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, int(signal.SIGTERM), 0, 0, 0)


def _agents_settings(num_processes: int, machines: Machines) -> Any:  # noqa: ANN401  (LaunchConfig)
    from torch.distributed.elastic.multiprocessing import DefaultLogsSpecs
    from torch.distributed.launcher.api import LaunchConfig

    meeting: dict[str, Any] = {
        "rdzv_backend": "c10d",
        "rdzv_endpoint": f"{_LOOPBACK}:0",
        "local_addr": _LOOPBACK,
    }
    if machines.num_nodes > 1:
        meeting = {
            "rdzv_backend": "static",
            "rdzv_endpoint": machines.rendezvous,
            "rdzv_configs": {"rank": machines.node_rank, "timeout": _MEETING_S},
        }
    return LaunchConfig(
        min_nodes=machines.num_nodes,
        max_nodes=machines.num_nodes,
        nproc_per_node=num_processes,
        run_id="ecgtwin",
        max_restarts=0,
        logs_specs=DefaultLogsSpecs(log_dir=os.devnull),
        **meeting,
    )


def _exit_code(rank: int, code: int) -> int:
    if code >= 0:
        return code  # the rank has said why
    _log.error("rank %d was killed by signal %d, the others were stopped", rank, -code)
    return 128 - code


@contextmanager
def _default_signals() -> Iterator[None]:
    """Let a SIGTERM end us until the agent can pass it on; put back what the agent changes."""
    before = {number: signal.getsignal(number) for number in _AGENTS_SIGNALS}
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextmanager
def _environment(defaults: Mapping[str, str]) -> Iterator[None]:
    """Set the variables that are not set, and forget them afterwards, the agent's own ones too."""
    before = set(os.environ)
    for name, value in defaults.items():
        os.environ.setdefault(name, value)
    try:
        yield
    finally:
        for name in set(os.environ) - before:
            del os.environ[name]


@contextmanager
def _quiet_agent() -> Iterator[None]:
    """Leave it to the ranks to say what went wrong: the agent says it again, at length."""
    names = [name for name in logging.root.manager.loggerDict if name.startswith(_AGENT)]
    loggers = [one for one in map(logging.getLogger, names) if not one.disabled]
    for logger in loggers:
        logger.disabled = True
    try:
        yield
    finally:
        for logger in loggers:
            logger.disabled = False
