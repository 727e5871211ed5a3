"""The published VAE: the same numbers as its reference, and the laws that the reference breaks."""

import json

import numpy as np
import pytest
import torch

from ecgtwin.models.published.vae import PublishedVae
from ecgtwin.spec.model import PublishedVaeSpec
from ecgtwin.twin.published_keys import VAE
from tests.models.published import digest, filled_state, with_weights

TOLERANCE = 2e-5  # absolute; the largest value is about 3.5


def parameters(module):
    return sum(parameter.numel() for parameter in module.parameters())


@pytest.fixture(scope="module")
def parity(real_data):
    return real_data / "parity"


@pytest.fixture(scope="module")
def vae(parity):
    published = {
        f"{half}.{key}": tensor
        for half in ("encoder", "decoder")
        for key, tensor in filled_state(f"vae_{half}", 1, parity).items()
    }
    return with_weights(PublishedVae(PublishedVaeSpec()), VAE, published)


@pytest.fixture(scope="module")
def stored(parity):
    """A file's arrays as tensors, ECGs with leads before samples."""

    def read(name):
        with np.load(parity / f"{name}.npz") as file:
            arrays = {key: torch.from_numpy(file[key]) for key in file.files}
        return {key: _leads_first(value) for key, value in arrays.items()}

    return read


def _leads_first(value):
    return value.transpose(-1, -2) if value.shape[-2:] == (1024, 12) else value


def latents(seed=1):
    return 0.17 * torch.randn(2, 4, 128, generator=torch.Generator().manual_seed(seed))


def close(found, wanted, tolerance=TOLERANCE):
    torch.testing.assert_close(found, wanted, atol=tolerance, rtol=0)


def test_the_fill_rule_gives_the_weights_that_the_reference_had(parity):
    checks = json.loads((parity / "fill_check.json").read_text())
    for name, check in checks.items():
        assert digest(filled_state(name, 1, parity)) == check["sha256"], name


def test_halves_have_the_published_sizes():
    vae = PublishedVae(PublishedVaeSpec())
    assert parameters(vae.encoder) == 12_218_448
    assert parameters(vae.decoder) == 17_333_664


def test_encoder_gives_the_reference_posterior(vae, stored):
    known = stored("vae_encoder")
    mean, log_variance = vae.posterior(known["ecg"])
    close(mean, known["mean"])
    close(log_variance, known["logvar"])
    raw = mean + (log_variance / 2).exp() * known["noise"]
    close(raw * 0.18215, known["z"])
    close(vae.encode(known["ecg"]), known["mean"] * 0.18215)


def test_decoder_gives_the_reference_ecgs(vae, stored):
    known = stored("vae_decoder")
    close(vae.decode(known["z"]), known["ecg"])
    close(vae.decode_raw(known["z"] / 0.18215), known["ecg"])


def test_decoder_ends_the_reference_chain(vae, stored):
    known = stored("pipeline")
    close(vae.decode(known["latent"]), known["ecg"])
    close(vae.decode(known["ref_latent"][None])[0], known["ref_ecg"])


def test_decoding_twice_gives_the_same_and_leaves_its_argument(vae):
    latent = latents()
    first = vae.decode(latent)
    assert torch.equal(latent, latents())
    assert torch.equal(vae.decode(latent), first)


def test_decoding_has_the_gradient_that_differences_show(vae):
    double = PublishedVae(PublishedVaeSpec()).double()
    double.load_state_dict(vae.state_dict())
    double.requires_grad_(False)
    weight = torch.randn(1, 12, 1024, generator=torch.Generator().manual_seed(2)).double()
    latent, direction = latents(1)[:1].double(), latents(3)[:1].double()

    def total(step):
        return (double.decode(latent + step * direction) * weight).sum()

    latent.requires_grad_()
    (gradient,) = torch.autograd.grad(total(0.0), latent)
    with torch.no_grad():
        slope = (total(1e-5) - total(-1e-5)) / 2e-5
    torch.testing.assert_close((gradient * direction).sum(), slope, rtol=1e-6, atol=0)


def test_only_the_norms_of_the_attention_blocks_take_no_part():
    vae = PublishedVae(PublishedVaeSpec())
    mean, log_variance = vae.posterior(torch.randn(1, 12, 64))
    (vae.decode(mean).square().sum() + log_variance.sum()).backward()
    idle = {name for name, parameter in vae.named_parameters() if parameter.grad is None}
    halves = ("encoder.13", "decoder.3")
    assert idle == {f"{half}.norm.{key}" for half in halves for key in ("weight", "bias")}


@pytest.mark.parametrize(("bias", "bound"), [(1e3, 20.0), (-1e3, -30.0)])
def test_log_variance_stays_in_its_range(vae, bias, bound):
    extreme = PublishedVae(PublishedVaeSpec()).requires_grad_(False)
    extreme.load_state_dict(vae.state_dict())
    extreme.encoder[-1].bias[4:] = bias
    mean, log_variance = extreme.posterior(torch.zeros(1, 12, 64))
    assert (log_variance == bound).all()
    assert mean.abs().max() < 10


def test_the_latent_factor_scales_codes_and_leaves_ecgs(vae):
    plain = PublishedVae(PublishedVaeSpec(latent_factor=1.0)).eval().requires_grad_(False)
    buffers = {key: plain.state_dict()[key] for key in ("latent_mean_C1", "latent_scale_C1")}
    plain.load_state_dict(vae.state_dict() | buffers)
    ecgs = torch.randn(1, 12, 64, generator=torch.Generator().manual_seed(4))
    close(vae.encode(ecgs), 0.18215 * plain.encode(ecgs))
    close(vae.decode(vae.encode(ecgs)), plain.decode(plain.encode(ecgs)))
