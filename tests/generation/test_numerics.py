"""The first worker fixes the numerics; another kind of worker is refused unless it is asked for."""

from pathlib import Path

import pytest
import torch

from ecgtwin.errors import CohortMismatchError, DamageError
from ecgtwin.executors.protocol import one_torch_thread
from ecgtwin.generation.numerics import agree_on_numerics, fingerprint
from ecgtwin.store.objects import replace_object


def test_the_fingerprint_sees_threads_and_batch() -> None:
    torch.set_num_threads(2)
    before = fingerprint(torch.device("cpu"), batch_rows=8)
    assert before["threads"] == 2
    with one_torch_thread():
        single = fingerprint(torch.device("cpu"), batch_rows=8)
    assert single == before | {"threads": 1}
    assert fingerprint(torch.device("cpu"), batch_rows=9) == before | {"batch_rows": 9}
    assert before["torch"] == torch.__version__


def test_another_fingerprint_is_refused_by_name_and_the_first_one_stays(tmp_path: Path) -> None:
    url = str(tmp_path)
    mine = fingerprint(torch.device("cpu"), batch_rows=8)
    agree_on_numerics(url, mine, mixed=False)
    agree_on_numerics(url, mine, mixed=False)
    before = (tmp_path / "numerics.json").read_bytes()
    other = mine | {"torch": "1.0", "tf32": True}
    with pytest.raises(CohortMismatchError) as refusal:
        agree_on_numerics(url, other, mixed=False)
    assert "tf32 is True here and False there" in str(refusal.value)
    assert "torch is '1.0' here" in str(refusal.value)
    assert "--mixed-numerics" in str(refusal.value)
    agree_on_numerics(url, other, mixed=True)
    for damaged in (b"{", b"3"):
        replace_object(f"{url}/numerics.json", damaged)
        with pytest.raises(DamageError, match=r"numerics\.json is damaged"):
            agree_on_numerics(url, mine, mixed=False)
    replace_object(f"{url}/numerics.json", before)
    assert (tmp_path / "numerics.json").read_bytes() == before
