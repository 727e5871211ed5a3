"""Start the ranks of this machine through torch's elastic agent, which is what torchrun runs."""

import ctypes
import logging
import os
import signal
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from types import FrameType
from typing import Any

from ecgtwin.errors import SpecificationError

_log = logging.getLogger(__name__)

_LOOPBACK = "127.0.0.1"
_MEETING_S = 900
_PARTING_S = 60  # until the ranks of all machines have ended
_INHERITED = {
    "OMP_NUM_THREADS": "1",
    # SIGTERM is ours: the agent would kill the ranks half a minute later.
    "TORCHELASTIC_SIGNALS_TO_HANDLE": "SIGINT,SIGHUP,SIGQUIT",
}
_AGENT = "torch.distributed.elastic"
_SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGQUIT)
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
    from torch.distributed.elastic.rendezvous import RendezvousError

    try:
        with _signals_restored(), _environment(_INHERITED), _quiet_agent():
            return _run_agent(_agent(num_processes, words, machines))
    except SignalException as ended:
        if ended.sigval == signal.SIGINT:
            raise KeyboardInterrupt from None
        if ended.sigval == signal.SIGTERM:
            _log.warning("ended by SIGTERM before a rank was started; the same command begins")
            return 0
        return 128 + int(ended.sigval)
    except (DistError, RendezvousError) as error:
        said = str(error).strip().partition("\n")[0]
        raise SpecificationError(
            f"--rendezvous {machines.rendezvous}: {machines.num_nodes} machines did not meet there "
            f"({said}); give an address and a free port of the first, which all of them can reach"
        ) from error


def end_with_launcher() -> None:
    """Get a SIGTERM when the process that started this one dies: no rank goes on by itself.

    On Linux; elsewhere nothing happens.
    """
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, int(signal.SIGTERM), 0, 0, 0)


def _agent(num_processes: int, words: Sequence[str], machines: Machines) -> Any:  # noqa: ANN401
    """Return torch's LocalElasticAgent for the ranks of this machine."""
    from torch.distributed.elastic.agent.server.api import WorkerSpec
    from torch.distributed.elastic.agent.server.local_elastic_agent import LocalElasticAgent
    from torch.distributed.elastic.multiprocessing import DefaultLogsSpecs
    from torch.distributed.elastic.rendezvous import RendezvousParameters
    from torch.distributed.elastic.rendezvous.registry import get_rendezvous_handler

    backend, endpoint = "c10d", f"{_LOOPBACK}:0"
    options: dict[str, Any] = {"local_addr": _LOOPBACK}
    if machines.num_nodes > 1:
        backend, endpoint = "static", machines.rendezvous or ""
        options = {"rank": machines.node_rank, "timeout": _MEETING_S}
    meeting = RendezvousParameters(
        backend, endpoint, "ecgtwin", machines.num_nodes, machines.num_nodes, **options
    )
    spec = WorkerSpec(
        role="rank",
        local_world_size=num_processes,
        entrypoint=sys.executable,
        args=("-m", "ecgtwin", *words),
        rdzv_handler=get_rendezvous_handler(meeting),
        max_restarts=0,
        local_addr=options.get("local_addr"),
    )
    logs = DefaultLogsSpecs(log_dir=os.devnull)
    return LocalElasticAgent(spec, logs, exit_barrier_timeout=_PARTING_S)


def _run_agent(agent: Any) -> int:  # noqa: ANN401  (LocalElasticAgent)
    """Run the ranks to their end, and pass on each SIGTERM; return the exit code."""
    from torch.distributed.elastic.multiprocessing import SignalException

    told_to_end = False

    def pass_on(number: int, frame: FrameType | None) -> None:
        nonlocal told_to_end
        told_to_end = True
        started = [rank.id for rank in agent.get_worker_group().workers if rank.id is not None]
        if not started:
            raise SignalException("no rank is started yet", signal.SIGTERM)
        for process in started:
            with suppress(ProcessLookupError):
                os.kill(process, signal.SIGTERM)

    signal.signal(signal.SIGTERM, pass_on)
    result = agent.run()
    agent.get_worker_group().spec.rdzv_handler.shutdown()
    if not result.is_failed():
        return 0
    rank, failure = min(result.failures.items(), key=lambda item: item[1].timestamp)
    if failure.exitcode >= 0:
        return int(failure.exitcode)  # the rank has said why
    if told_to_end and failure.exitcode == -signal.SIGTERM:
        return 0  # before it could note the signal
    _log.error("rank %d was killed by signal %d, the others were stopped", rank, -failure.exitcode)
    return 128 - int(failure.exitcode)


@contextmanager
def _signals_restored() -> Iterator[None]:
    """Put back the handlers that are changed for the ranks."""
    before = {number: signal.getsignal(number) for number in _SIGNALS}
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
