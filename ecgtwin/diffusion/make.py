"""From a specification to a sampler, or to the reason why there is none."""

from ecgtwin.diffusion.ddpm import (
    TIME_OF_DATA,
    DdimSampler,
    DdpmSampler,
    leading_steps,
    signals_of,
)
from ecgtwin.diffusion.flow import shifted_times
from ecgtwin.diffusion.samplers import EulerSampler, HeunSampler, Sampler
from ecgtwin.errors import SpecificationError
from ecgtwin.spec.process import DdpmSpec, Process
from ecgtwin.spec.sampling import PROCESS_OF, SamplingSpec

_OF_FLOW: dict[str, type[EulerSampler] | type[HeunSampler]] = {
    "euler": EulerSampler,
    "heun": HeunSampler,
}
_OF_CHAIN: dict[str, type[DdpmSampler] | type[DdimSampler]] = {
    "ddpm": DdpmSampler,
    "ddim": DdimSampler,
}


def make_sampler(process: Process, sampling: SamplingSpec) -> Sampler:
    """Return the sampler that ``sampling`` names, over the times of ``process``.

    Raises SpecificationError where the two do not fit.
    """
    check_fit(process, sampling)
    if isinstance(process, DdpmSpec):
        steps = leading_steps(process, sampling.num_steps)
        times = (*(float(step) for step in steps), TIME_OF_DATA)
        return _OF_CHAIN[sampling.sampler](
            times, signals_of(process, steps), clip_sample=sampling.clip_sample
        )
    return _OF_FLOW[sampling.sampler](
        tuple(shifted_times(sampling.num_steps, shift=sampling.time_shift))
    )


def check_fit(process: Process, sampling: SamplingSpec) -> None:
    """Raise SpecificationError where ``sampling`` does not follow the process of the networks."""
    if PROCESS_OF[sampling.sampler] != process.kind:
        fitting = ", ".join(name for name, kind in PROCESS_OF.items() if kind == process.kind)
        raise SpecificationError(
            f"sampling.sampler: {sampling.sampler!r} does not follow the process {process.kind!r} "
            f"of these networks; take one of {fitting}"
        )
    if isinstance(process, DdpmSpec) and sampling.time_shift != 1:
        raise SpecificationError(
            f"sampling.time_shift: {sampling.time_shift} has no meaning for sampler "
            f"{sampling.sampler!r}, whose steps are evenly spaced; leave it out"
        )
    if not isinstance(process, DdpmSpec) and sampling.clip_sample:
        raise SpecificationError(
            f"sampling.clip_sample has no meaning for sampler {sampling.sampler!r}; leave it out"
        )
