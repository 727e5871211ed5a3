"""The published CLIP and classifier: the numbers of the reference, and what their parts do."""

import numpy as np
import pytest
import torch
from torch import nn

from ecgtwin.errors import SpecificationError
from ecgtwin.models.published.classifier import DiagnosisClassifier
from ecgtwin.models.published.clip import EcgTextClip
from ecgtwin.models.published.net1d import Net1D, SameConv, Stage
from ecgtwin.twin.published_keys import CLASSIFIER, CLIP
from tests.models.published import filled_state, with_weights

TOLERANCE = 1e-5  # absolute; the largest value is about 4


def parameters(module):
    return sum(parameter.numel() for parameter in module.parameters())


def ecgs(num=2, num_samples=64, seed=1):
    return torch.randn(num, 12, num_samples, generator=torch.Generator().manual_seed(seed))


def idle_after_backward(module):
    return {name for name, parameter in module.named_parameters() if parameter.grad is None}


@pytest.fixture(scope="module")
def parity(real_data):
    return real_data / "parity"


@pytest.fixture(scope="module")
def clip(parity):
    return with_weights(EcgTextClip(), CLIP, filled_state("clip", 1, parity))


@pytest.fixture(scope="module")
def classifier(parity):
    return with_weights(DiagnosisClassifier(2), CLASSIFIER, filled_state("classifier", 1, parity))


def stored(parity, name):
    with np.load(parity / f"{name}.npz") as file:
        known = {key: torch.from_numpy(file[key]) for key in file.files}
    return known | {"ecg": known["ecg"].transpose(1, 2)}


def close(found, wanted):
    torch.testing.assert_close(found, wanted, atol=TOLERANCE, rtol=0)


def test_clip_has_the_published_size():
    clip = EcgTextClip()
    assert parameters(clip.trunk) == 18_660_992
    assert parameters(clip.ecg_projector) == 65_600
    assert parameters(clip.text_projector) == 1_706_048
    assert parameters(clip) == 20_432_641


def test_classifier_has_the_published_size():
    classifier = DiagnosisClassifier(2)
    assert parameters(classifier.trunk) == 3_363_072
    assert parameters(classifier.head) == 1_026


def test_clip_gives_the_reference_features(clip, parity):
    known = stored(parity, "clip")
    found = clip(known["ecg"], known["text"])
    close(found.ecg_embedding_BD, known["ecg_embedding"])
    close(found.ecg_features_BP, known["ecg_features"])
    close(found.text_features_BP, known["text_features"])
    close(found.logits_per_signal_BB, known["logits_per_signal"])
    close(clip.ecg_features(known["ecg"]), known["ecg_features"])
    close(clip.text_features(known["text"]), known["text_features"])


def test_classifier_gives_the_reference_probabilities(classifier, parity):
    known = stored(parity, "classifier")
    close(classifier.features(known["ecg"]), known["features"])
    close(classifier(known["ecg"]), known["logits"])
    close(classifier.probabilities(known["ecg"]), known["probabilities"])


def test_every_ecg_meets_every_text(clip):
    signals, texts = ecgs(3, 256), torch.randn(2, 768, generator=torch.Generator().manual_seed(2))
    logits = clip(signals, texts).logits_per_signal_BB
    for row, signal in enumerate(signals):
        for column, text in enumerate(texts):
            alone = clip(signal[None], text[None]).logits_per_signal_BB
            close(alone[0, 0], logits[row, column])
    assert logits.std() > 0.01


def test_logits_are_cosines_over_the_temperature():
    clip = EcgTextClip().eval()
    found = clip(ecgs(2, 256), torch.randn(2, 768))
    cosines = nn.functional.cosine_similarity(
        found.ecg_features_BP[:, None], found.text_features_BP[None], dim=-1
    )
    close(found.logits_per_signal_BB, cosines / 0.07)
    assert clip.logit_scale.shape == (1,)


def test_an_evaluated_ecg_ignores_its_batch_mates_and_is_the_same_twice(classifier):
    batch = ecgs(3)
    assert torch.equal(classifier(batch), classifier(batch))
    close(classifier(batch[1:2]), classifier(batch)[1:2])


def test_training_drops_half_of_every_activation_but_the_first():
    trunk = Net1D([Stage(64, 2), Stage(128, 2)])
    kept = []

    def count(_, __, output):
        kept.append((output != 0).double().mean().item())

    for module in trunk.modules():
        if isinstance(module, nn.Dropout):
            module.register_forward_hook(count)
    trunk(ecgs(2, 512))
    assert len(kept) == 3 * 4 - 1
    assert kept == pytest.approx([0.5] * len(kept), abs=0.03)


@pytest.mark.parametrize("network", [EcgTextClip, lambda: DiagnosisClassifier(2)])
def test_only_the_norm_behind_the_stem_takes_no_part(network):
    network = network()
    inputs = (ecgs(2, 256), torch.randn(2, 768))
    output = network(*inputs) if isinstance(network, EcgTextClip) else network(inputs[0])
    logits = output.logits_per_signal_BB if isinstance(network, EcgTextClip) else output
    logits.diag().sum().backward()
    assert idle_after_backward(network) == {
        "trunk.stages.0.0.norm_1.weight",
        "trunk.stages.0.0.norm_1.bias",
    }


def test_an_odd_padding_has_its_extra_sample_at_the_end():
    convolution = SameConv(1, 1, stride=1)
    with torch.no_grad():
        convolution.conv.weight.zero_()
        convolution.conv.bias.zero_()
        convolution.conv.weight[0, 0, 7] = 1  # 7 samples stand before this tap, 8 behind
    signal = torch.arange(1.0, 33).view(1, 1, 32)
    assert torch.equal(convolution(signal), signal)


@pytest.mark.parametrize("shape", [(1, 11, 1024), (1, 12, 1000), (1, 1024, 12)])
def test_other_leads_and_lengths_are_refused(shape):
    with pytest.raises(SpecificationError, match=r"12 leads and a multiple of 32 samples"):
        DiagnosisClassifier(2)(torch.zeros(shape))
