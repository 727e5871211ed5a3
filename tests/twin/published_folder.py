"""The published files as their authors save them, with weights made by the fill rule."""

import os

import torch

from tests.models.published import filled_state

NAMES = {
    "ibe": "ibe_model.pth",
    "dit_ecgtwin": "ECGTwin_DiT.pth",
    "unet_ecgtwin": "ECGTwin_Unet.pth",
    "clip": "ECG_CLIP_best.pth",
    "classifier": "clf_best.pth",
}
OWN = ("ibe", "dit_ecgtwin")


def write_vae(folder, parity):
    """Save the file that holds two state dicts."""
    halves = {half: filled_state(f"vae_{half}", 1, parity) for half in ("encoder", "decoder")}
    torch.save(halves, folder / "vae_model.pth")


def write_files(folder, parity, networks):
    """Save one plain state dict for each of ``networks``."""
    for network in networks:
        torch.save(filled_state(network, 1, parity), folder / NAMES[network])


def linked(source, folder, *, without=()):
    """Make ``folder`` of hard links to the files in ``source``."""
    folder.mkdir()
    for path in source.iterdir():
        if path.name not in without:
            os.link(path, folder / path.name)
    return folder
