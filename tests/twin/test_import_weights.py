"""The published files, imported: the same numbers as the published networks, or nothing at all."""

import json
import os
import shutil
from dataclasses import replace
from hashlib import sha256

import numpy as np
import pytest
import torch

from ecgtwin.errors import CheckpointError, CommitConflictError, SpecificationError
from ecgtwin.models.condition_tokens import ConditionBatch
from ecgtwin.spec.presets import preset
from ecgtwin.twin.evaluation_networks import load_classifier, load_clip
from ecgtwin.twin.import_weights import import_weights
from ecgtwin.twin.twin import EcgTwin
from tests.models.published import filled_state
from tests.twin.published_folder import OWN, linked, write_files, write_vae

RELATIVE = 1e-4


@pytest.fixture(autouse=True)
def leave_nothing_large(tmp_path):
    yield
    shutil.rmtree(tmp_path)


@pytest.fixture(scope="module")
def parity(real_data):
    return real_data / "parity"


@pytest.fixture(scope="module")
def source(parity, tmp_path_factory):
    """All published files but the U-Net's."""
    folder = tmp_path_factory.mktemp("published")
    write_vae(folder, parity)
    write_files(folder, parity, (*OWN, "clip", "classifier"))
    yield folder
    shutil.rmtree(folder)


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """Where large results may lie for as long as this module runs."""
    folder = tmp_path_factory.mktemp("imported")
    yield folder
    shutil.rmtree(folder)


@pytest.fixture(scope="module")
def imported(source, place):
    """Folder and summary of one import; read only."""
    return place / "twin", import_weights(str(source), str(place / "twin"))


@pytest.fixture(scope="module")
def twin(imported):
    return EcgTwin.load(str(imported[0]))


@pytest.fixture(scope="module")
def stored(parity):
    def read(name):
        with np.load(parity / f"{name}.npz") as file:
            return {key: torch.from_numpy(file[key]) for key in file.files}

    return read


def assert_near(found, wanted):
    assert found.shape == wanted.shape
    assert (found - wanted).abs().max() <= RELATIVE * wanted.abs().max()


def names_in(folder):
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


def modified(folder):
    return {name: (folder / name).stat().st_mtime_ns for name in names_in(folder)}


def predicted(twin, known, tokens, mask=None):
    batch = ConditionBatch.published(known[tokens], known["p"], mask)
    conditioning = twin.denoiser.embed(known["base_vector"], batch)
    return twin.denoiser(known["x"], known["t"].float(), conditioning)


def test_the_loaded_twin_gives_the_published_numbers(twin, stored):
    assert twin.spec == preset("paper")
    known = stored("vae_decoder")
    assert_near(twin.vae.decode(known["z"]).transpose(1, 2), known["ecg"])
    known = stored("vae_encoder")
    mean, log_variance = twin.vae.posterior(known["ecg"].transpose(1, 2))
    assert_near(mean, known["mean"])
    assert_near(log_variance, known["logvar"])
    known = stored("dit_ecgtwin")
    assert_near(predicted(twin, known, "tokens"), known["eps_nomask"])
    assert_near(predicted(twin, known, "tokens_padded", known["mask"]), known["eps_masked"])
    known = stored("ibe")
    latent = known["latent"].transpose(1, 2)
    condition = ConditionBatch.published(known["tokens"], known["p"])
    assert_near(twin.base_extractor(latent, condition), known["b_nomask"])
    nobody = torch.zeros(3, dtype=torch.bool)
    assert_near(twin.base_extractor(latent, condition, is_told_B=nobody), known["b_classfree"])


def test_evaluation_networks_lie_beside_it_and_give_the_published_numbers(imported, stored):
    url = str(imported[0])
    known = stored("clip")
    output = load_clip(url)(known["ecg"].transpose(1, 2), known["text"])
    assert_near(output.ecg_features_BP, known["ecg_features"])
    assert_near(output.text_features_BP, known["text_features"])
    assert_near(output.logits_per_signal_BB, known["logits_per_signal"])
    known = stored("classifier")
    assert_near(load_classifier(url)(known["ecg"].transpose(1, 2)), known["logits"])


def test_the_summary_counts_what_was_published(imported):
    folder, summary = imported
    counts = {one.name: (one.file, one.num_tensors, one.num_parameters) for one in summary.networks}
    assert counts == {
        "vae": ("vae_model.pth", 240, 12_218_448 + 17_333_664),
        "base_extractor": ("ibe_model.pth", 66, 3_361_025),
        "denoiser": ("ECGTwin_DiT.pth", 167, 10_541_060),
        "clip": ("ECG_CLIP_best.pth", 514, 20_432_641),
        "classifier": ("clf_best.pth", 234, 3_364_098),
    }
    assert (summary.absent, summary.notes) == ((), ())
    assert summary.digest == json.loads((folder / "twin.json").read_text())["digest"]


def test_the_checkpoint_says_where_it_came_from(imported, source, twin):
    folder, summary = imported
    assert twin.digest == summary.digest
    assert "arXiv 2508.02720" in twin.provenance["reference"]
    sources = dict(twin.provenance["sources"])
    for name in ("clip", "classifier"):
        document = json.loads((folder / "evaluation" / f"{name}.json").read_text())
        sources |= document["provenance"]["sources"]
    assert {one["file"] for one in sources.values()} == set(names_in(source))
    for one in sources.values():
        data = (source / one["file"]).read_bytes()
        assert (one["bytes"], one["sha256"]) == (len(data), sha256(data).hexdigest())


def test_a_second_import_with_fewer_files_changes_nothing(imported, source, tmp_path):
    folder, summary = imported
    before = modified(folder)
    fewer = linked(source, tmp_path / "fewer", without=("ECG_CLIP_best.pth", "clf_best.pth"))
    again = import_weights(str(fewer), str(folder))
    assert (again.digest, again.absent) == (summary.digest, ("clip", "classifier"))
    assert again.networks == summary.networks[:3]
    assert modified(folder) == before


def test_an_import_that_was_cut_short_or_made_by_another_version_is_gone_on_with(
    imported, source, place
):
    folder, summary = imported
    half = linked(folder, place / "half", without=("evaluation", "base_extractor.safetensors"))
    document = json.loads((half / "twin.json").read_text())
    document["provenance"]["versions"]["torch"] = "2.1.1"
    (half / "twin.json").unlink()
    (half / "twin.json").write_text(json.dumps(document))
    assert import_weights(str(source), str(half)).digest == summary.digest
    assert names_in(half) == names_in(folder)
    assert EcgTwin.load(str(half)).provenance["versions"]["torch"] == "2.1.1"


def test_other_weights_are_refused_where_a_checkpoint_stands(
    imported, source, parity, place, tmp_path
):
    whole, _ = imported
    folder = linked(whole, place / "other", without=("evaluation", "vae.safetensors"))
    (folder / "vae.safetensors").touch()
    before = modified(folder)
    with pytest.raises(CommitConflictError, match=r"\(twin.json, vae.safetensors differ\)"):
        import_weights(str(source), str(folder), reference_mask=True)
    other = linked(source, tmp_path / "other", without=("ibe_model.pth", "clf_best.pth"))
    state = filled_state("ibe", 1, parity)
    state["text_projector.bias"][0] += 1e-6
    torch.save(state, other / "ibe_model.pth")
    with pytest.raises(CommitConflictError, match=r"\(base_extractor.safetensors, twin.json, vae"):
        import_weights(str(other), str(folder))
    assert modified(folder) == before


def test_a_folder_that_holds_a_corpus_is_no_place(source, tmp_path):
    (tmp_path / "corpus.json").write_text("{}")
    with pytest.raises(CommitConflictError, match="holds a corpus; choose another URL"):
        import_weights(str(source), str(tmp_path))
    assert names_in(tmp_path) == ["corpus.json"]
    with pytest.raises(CheckpointError, match=r"name of shipped weights.*write \./tiny"):
        import_weights(str(source), "tiny")


def test_every_fault_of_every_file_is_told_and_nothing_written(source, parity, tmp_path):
    faulty = linked(source, tmp_path / "faulty", without=("ibe_model.pth", "clf_best.pth"))
    ibe, classifier = filled_state("ibe", 1, parity), filled_state("classifier", 1, parity)
    ibe["layers.3.layer_norm1.weight"] = ibe.pop("layers.2.layer_norm1.weight")
    ibe["layers.0.cross_attn.in_proj_weight"] = torch.zeros(512, 256)
    ibe["signal_embedding.bias"] = ibe["signal_embedding.bias"].half()
    ibe["text_projector.weight"][7, 7] = torch.nan
    classifier["resnet.first_bn.num_batches_tracked"] = torch.tensor(0.0)
    classifier["logit_scale"] = torch.tensor(1.0)
    torch.save(ibe, faulty / "ibe_model.pth")
    torch.save(classifier, faulty / "clf_best.pth")
    with pytest.raises(CheckpointError) as caught:
        import_weights(str(faulty), str(tmp_path / "twin"))
    assert not (tmp_path / "twin").exists()
    *lines, advice = str(caught.value).splitlines()
    assert advice.startswith("nothing was written; give the files as published")
    assert lines == [
        "ibe_model.pth is not the published base_extractor (5 faults):",
        "ibe_model.pth: layers.2.layer_norm1.weight (256,) is missing",
        "ibe_model.pth: layers.3.layer_norm1.weight (256,) is not a tensor of this network",
        "ibe_model.pth: signal_embedding.bias holds float16, needed is float32",
        "ibe_model.pth: text_projector.weight holds values that are no finite numbers",
        "ibe_model.pth: layers.0.cross_attn.in_proj_weight has shape (512, 256), "
        "needed is (768, 256)",
        "clf_best.pth is not the published classifier (2 faults):",
        "clf_best.pth: logit_scale () is not a tensor of this network",
        "clf_best.pth: resnet.first_bn.num_batches_tracked holds float32, needed is int64",
    ]


def test_a_file_under_another_ones_name_is_told_in_one_line(source, parity, tmp_path):
    swapped = linked(source, tmp_path / "swapped", without=("ibe_model.pth",))
    torch.save(filled_state("dit_ecgtwin", 1, parity), swapped / "ibe_model.pth")
    with pytest.raises(CheckpointError) as caught:
        import_weights(str(swapped), str(tmp_path / "twin"))
    line, advice = str(caught.value).splitlines()
    assert "ibe_model.pth is not the published base_extractor: it has 2 of the 66 tensors" in line
    assert advice.startswith("nothing was written")


def test_the_unet_is_taken_where_it_is_asked_for_or_alone(source, parity, place, tmp_path, stored):
    folder = linked(source, tmp_path / "both", without=("ECG_CLIP_best.pth", "clf_best.pth"))
    write_files(folder, parity, ("unet_ecgtwin",))
    with pytest.raises(SpecificationError, match=r"ECGTwin_DiT.pth and ECGTwin_Unet.pth; say"):
        import_weights(str(folder), str(tmp_path / "twin"))
    asked = import_weights(str(folder), str(place / "unet"), backbone="unet")
    os.unlink(folder / "ECGTwin_DiT.pth")
    assert import_weights(str(folder), str(place / "unet")) == asked
    with pytest.raises(CheckpointError, match=r"lacks ECGTwin_DiT.pth; needed are"):
        import_weights(str(folder), str(tmp_path / "twin"), backbone="dit")
    assert asked.absent == ("clip", "classifier")
    twin, known = EcgTwin.load(str(place / "unet")), stored("unet_ecgtwin")
    assert twin.spec == preset("paper-unet")
    assert_near(predicted(twin, known, "tokens"), known["eps_nomask"])
    assert_near(predicted(twin, known, "tokens_padded", known["mask"]), known["eps_masked"])


def test_padding_is_masked_unless_the_published_fault_is_asked_for(
    twin, source, place, tmp_path, stored
):
    known = stored("ibe")
    latent = known["latent"].transpose(1, 2)
    padded = ConditionBatch.published(known["tokens_padded"], known["p"], known["mask"])
    assert_near(twin.base_extractor(latent, padded), known["b_mended"])
    fewer = linked(source, tmp_path / "fewer", without=("ECG_CLIP_best.pth", "clf_best.pth"))
    import_weights(str(fewer), str(place / "as_published"), reference_mask=True)
    as_published = EcgTwin.load(str(place / "as_published")).base_extractor
    assert_near(as_published(latent, padded), known["b_padded_asis"])


def test_missing_or_damaged_evaluation_networks_are_told(imported, tmp_path):
    folder, _ = imported
    with pytest.raises(CheckpointError, match=r"has no clip: .*import-weights"):
        load_clip(str(tmp_path))
    copy = tmp_path / "evaluation"
    copy.mkdir()
    shutil.copy(folder / "evaluation" / "classifier.json", copy)
    with pytest.raises(CheckpointError, match=r"has no classifier: .*classifier.safetensors"):
        load_classifier(str(tmp_path))
    data = bytearray((folder / "evaluation" / "classifier.safetensors").read_bytes())
    data[-5] ^= 1
    (copy / "classifier.safetensors").write_bytes(data)
    with pytest.raises(CheckpointError, match=r"has digest .*; the file is damaged"):
        load_classifier(str(tmp_path))
    document = json.loads((copy / "classifier.json").read_text())
    (copy / "classifier.json").write_text(json.dumps(document | {"format": 99}))
    with pytest.raises(CheckpointError, match="describes format 99"):
        load_classifier(str(tmp_path))
    (copy / "classifier.json").write_text("{")
    with pytest.raises(CheckpointError, match=r"classifier.json is damaged"):
        load_classifier(str(tmp_path))


@pytest.mark.s3
def test_the_same_bytes_go_to_an_object_store(imported, source, s3_url):
    url = f"{s3_url}/published"
    _, summary = imported
    for _ in range(2):
        assert replace(import_weights(str(source), url), url=summary.url) == summary
    assert EcgTwin.load(url).digest == summary.digest
    load_classifier(url)
