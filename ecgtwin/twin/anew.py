"""Some networks of a twin kept, the others begun anew: untrained, and perhaps of another kind."""

from collections.abc import Sequence

from ecgtwin.errors import SpecificationError
from ecgtwin.spec.model import TwinSpec
from ecgtwin.twin.checkpoint import NETWORKS
from ecgtwin.twin.twin import EcgTwin

# The fields of a specification that a network is built by, or learns by.
_BUILT_BY = {
    "vae": ("sampling_rate_hz", "vae"),
    "base_extractor": ("sampling_rate_hz", "vae", "text", "base_extractor"),
    "denoiser": ("sampling_rate_hz", "vae", "text", "process", "denoiser"),
}


def begun_anew(twin: EcgTwin, spec: TwinSpec, networks: Sequence[str], *, seed: int) -> EcgTwin:
    """Return a twin of ``spec`` whose ``networks`` are untrained, a function of ``seed``.

    The others are those of ``twin`` itself, not copies. Raises SpecificationError where ``spec``
    makes another network of one that is kept.
    """
    kept = [name for name in NETWORKS if name not in networks]
    for name in kept:
        _check_kept(name, twin.spec, spec)
    begun = EcgTwin.untrained(spec, seed=seed).to(twin.device)
    for name in kept:
        setattr(begun, name, twin.get_submodule(name))
    begun.provenance = twin.provenance
    return begun


def _check_kept(name: str, old: TwinSpec, new: TwinSpec) -> None:
    differing = [field for field in _BUILT_BY[name] if getattr(old, field) != getattr(new, field)]
    if name == "denoiser" and old.base_extractor.base_width != new.base_extractor.base_width:
        differing.append("base_extractor.base_width")
    if differing:
        raise SpecificationError(
            f"the {name} of preset {old.preset!r} is not one of {new.preset!r}: "
            f"{', '.join(differing)} differ; begin it anew as well, or take another checkpoint"
        )
