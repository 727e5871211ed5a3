"""``ecgtwin spec`` and ``ecgtwin plan`` as their user meets them."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from ecgtwin.cli import main
from ecgtwin.executors.local import LocalExecutor
from ecgtwin.generation.banks import Bank
from ecgtwin.generation.vocabulary import checked_specification
from ecgtwin.sources.ingest import ingest
from ecgtwin.sources.simulated import SimulatedSource
from ecgtwin.spec.cohort import CohortSpec
from ecgtwin.spec.ingest import IngestSpec
from ecgtwin.store.reader import Cohort
from ecgtwin.store.verify import verify

PTBXL = "ptbxl_metadata/ptbxl_database_v101.csv.gz"

Run = Callable[..., tuple[int, str, str]]


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Forty simulated persons, the shares of the splits even enough to have some in each."""
    url = str(tmp_path_factory.mktemp("made") / "corpus")
    settings = IngestSpec(test_share=0.3, validation_share=0.2)
    source = SimulatedSource(11, num_persons=40, visits_per_person=2)
    ingest(source, url, settings=settings, executor=LocalExecutor())
    return url


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    monkeypatch.chdir(tmp_path)

    def call(*words: str) -> tuple[int, str, str]:
        try:
            code = main(words)
        except SystemExit as left:
            code = int(left.code or 0)
        said = capsys.readouterr()
        return code, said.out, said.err

    return call


def test_a_specification_all_by_flags(run: Run, corpus: str) -> None:
    code, out, err = run(
        "spec", "new", "c.yaml", "--corpus", corpus, "--url", "out", "--split", "train",
        "--where", "patient.age_years >= 30", "--patients", "3",
        "--condition", "AF @ 80,110", "--condition", "sinus rhythm, PVC (possible) @ 60:80:10",
        "--sexes", "male,female", "--constraint", "'AF' not in condition.statements or "
        "patient.age_years > 20", "--seed", "5", "--share-noise", "--steps", "2", "--replicates",
        "2", "--rows-per-shard", "32", "--label", "study=pilot", "--set", "run.max_tries=2",
    )  # fmt: skip
    assert (code, out, err) == (0, "c.yaml\n", "")
    spec = CohortSpec.from_yaml("c.yaml")
    assert spec.patients.model_dump() == {
        "split": "train", "where": "patient.age_years >= 30", "count": 3,
    }  # fmt: skip
    assert spec.num_states() == 2 * 2 + 3 * 2
    assert spec.states()[0].statements[0].code == "atrial fibrillation"
    assert spec.constraints[0].startswith("'atrial fibrillation' not in")
    assert (spec.seed, spec.share_noise, spec.replicates) == (5, True, 2)
    assert spec.sampling is not None  # the rest of it is the checkpoint's
    assert (spec.sampling.num_steps, spec.sampling.guidance_scale) == (2, 2.0)
    assert (spec.labels, spec.run.max_tries) == ({"study": "pilot"}, 2)
    code, out, err = run("spec", "check", "c.yaml")
    assert code == 0
    assert f"valid; digest of what it makes {spec.bytes_digest()}" in out
    assert "not checked" not in err


def test_the_specification_to_start_from_is_made(run: Run, corpus: str) -> None:
    assert run("spec", "new", "c.yaml", "--corpus", corpus, "--url", "out")[0] == 0
    assert CohortSpec.from_yaml("c.yaml").replicates == 2
    code, out, _ = run("plan", "c.yaml")
    assert code == 0
    assert "72 ECGs = 4 patients x 9 conditions x 2 replicates" in out
    assert "5 shards of 16 rows, 21 objects, 22 PUT requests" in out
    assert "test: 72 ECGs of 4 patients" in out
    assert not Path("out").exists()


def test_strata_by_flags_and_from_a_table_are_the_same(run: Run, corpus: str) -> None:
    common = ("--corpus", corpus, "--url", "out")
    assert run("spec", "new", "a.yaml", *common, "--split", "train", "--stratum",
               "RBBB @ 50:90:20 = 30", "--stratum", "sinus rhythm = 10")[0] == 0  # fmt: skip
    Path("t.csv").write_text(
        "statements,count,heart_rate_bpm\nRBBB,30,50:90:20\nsinus rhythm,10,\n"
    )
    assert run("spec", "from-csv", "t.csv", "b.yaml", *common)[0] == 0
    assert run("spec", "diff", "a.yaml", "b.yaml") == (
        0,
        "no field differs\n40 ECGs -> 40: 0 go, 0 come, 40 are in both\n"
        "the same plan: the same bytes\n",
        "",
    )
    Path("t.csv").write_text("statements,count\nRBBB,30\nsinus rythm,10\n")
    code, _, err = run("spec", "from-csv", "t.csv", "c.yaml", *common)
    assert code == 2
    assert "shows 'sinus rythm'; the nearest that it knows are 'sinus rhythm'" in err
    assert not Path("c.yaml").exists()


@pytest.mark.parametrize(
    "way", [("--balance", "400"), ("--mirror", "5000"), ("--rare", "300", "--at-least", "5")]
)
def test_specifications_from_the_real_table_plan_and_generate(
    run: Run, corpus: str, real_data: Path, way: tuple[str, ...]
) -> None:
    words = ("--corpus", corpus, *way, "--steps", "1", "--rows-per-shard", "128")
    table = str(real_data / PTBXL)
    code, out, err = run("spec", "from-corpus", table, "all.yaml", "--url", "all", *words)
    assert (code, out) == (0, "all.yaml\n")
    text = Path("all.yaml").read_text()
    for note in err.splitlines():  # what was reached, and by how much not, stands there too
        assert note[:60] in text
    run("spec", "from-corpus", table, "again.yaml", "--url", "all", *words)
    assert Path("again.yaml").read_text() == text
    assert run("plan", "all.yaml")[0] == 0
    if way[0] == "--mirror":
        assert sum(one.count for one in CohortSpec.from_yaml("all.yaml").strata() or ()) == 5000
    assert (
        run("spec", "from-corpus", table, "cut.yaml", "--url", "cut", *words, "--rows", "256")[0]
        == 0
    )
    assert run("generate", "cut.yaml", "--executor", "local")[0] == 0
    cohort = Cohort("cut")
    assert len(cohort.columns["row"]) == 256
    assert set(cohort.column("split")) == {"train"}
    assert verify("cut") == []


def test_a_corpus_is_its_own_source_of_patients(run: Run, corpus: str) -> None:
    code, _, err = run("spec", "from-corpus", corpus, "c.yaml", "--url", "o", "--balance", "90",
                       "--class", "SBRAD", "--class", "sinus tachycardia")  # fmt: skip
    assert code == 0
    assert err.count(" made are 90") == 2
    spec = checked_specification("c.yaml")
    assert spec.corpus == corpus
    code, _, err = run("spec", "from-corpus", corpus, "d.yaml", "--balance", "3", "--class", "xyz")
    assert (code, "no recording of the table shows 'xyz'" in err) == (2, True)
    code, _, err = run("spec", "from-corpus", corpus, "d.yaml", "--balance", "1")
    assert (code, "has 1 recordings already; ask for more" in err) == (2, True)


@pytest.mark.parametrize(
    "way", [("--balance", "60"), ("--mirror", "300"), ("--rare", "30", "--at-least", "2")]
)
def test_specifications_from_a_corpus_with_rates_plan_as_they_are(
    run: Run, corpus: str, way: tuple[str, ...]
) -> None:
    assert run("spec", "from-corpus", corpus, "c.yaml", "--url", "o", *way)[0] == 0
    assert "heart_rate_bpm: {distribution" in Path("c.yaml").read_text()
    code, out, err = run("plan", "c.yaml")
    assert code == 0, err
    if way[0] == "--mirror":
        assert out.startswith("300 ECGs in ")


def test_single_values_may_be_set_inside_lists(run: Run) -> None:
    assert run("spec", "new", "c.yaml", "--set", "conditions.1.heart_rate_bpm=[90]")[0] == 0
    assert [one.heart_rate_bpm for one in CohortSpec.from_yaml("c.yaml").states()[5:7]] == [90, 70]


def test_a_plan_may_be_asked_for_where_another_cohort_stands(run: Run, corpus: str) -> None:
    words = ("--corpus", corpus, "--url", "o", "--patients", "1", "--steps", "1", "--condition")
    run("spec", "new", "a.yaml", *words, "AF @ 70")
    assert run("generate", "a.yaml", "--executor", "local")[0] == 0
    run("spec", "new", "b.yaml", *words, "AF @ 70,80")
    code, out, err = run("plan", "b.yaml")
    assert (code, out.splitlines()[0]) == (0, "2 ECGs = 1 patient x 2 conditions x 1 replicate")
    assert "it cannot be made there: o holds a cohort of another specification" in err
    assert run("generate", "b.yaml", "--executor", "local")[0] == 2
    assert "1 ECG -> 2: 0 go, 1 come, 1 are in both" in run("spec", "diff", "a.yaml", "b.yaml")[1]


def test_banks_and_populations_by_command(run: Run, corpus: str) -> None:
    code, out, err = run("corpus", "bank", corpus, "bank.parquet", "--checkpoint", "tiny",
                         "--split", "test")  # fmt: skip
    assert (code, out) == (0, "bank.parquet\n")
    assert {one.patient.split for one in Bank.read("bank.parquet").references} == {"test"}
    assert f"{len(Bank.read('bank.parquet').references)} persons" in err
    for name, whom in (("bank", ("--bank", "bank.parquet", "--patients", "2")),
                       ("population", ("--population", "2"))):  # fmt: skip
        assert run("spec", "new", f"{name}.yaml", "--url", name, *whom, "--condition", "AF @ 70",
                   "--steps", "1")[0] == 0  # fmt: skip
        assert CohortSpec.from_yaml(f"{name}.yaml").corpus is None
        assert run("generate", f"{name}.yaml", "--executor", "local")[0] == 0
        assert len(Cohort(name)) == 2
        code, _, err = run("cohort", "report", name)
        assert (code, "persons without recordings" in err) == (2, True)


def test_a_plan_says_time_and_cost_by_measured_rates(run: Run, corpus: str) -> None:
    run("spec", "new", "c.yaml", "--corpus", corpus, "--url", "o", "--condition", "AF @ 60:80:10",
        "--steps", "1", "--batch-rows", "4")  # fmt: skip
    code, out, _ = run("plan", "c.yaml")
    assert "no rate of this checkpoint on 'cpu' is at hand; --measure" in out
    assert "stored: not known before a measurement" in out
    words = ("--measure", "--rate-file", "r.json", "--preview", "3", "--json")
    code, out, _ = run("plan", "c.yaml", *words)
    assert code == 0
    found = json.loads(out)
    assert found["rate"]["extrapolated"] == []
    assert sum(one["ecgs"] for one in found["conditions"]) == found["estimate"]["num_ecgs"]
    assert sum(found["patients"].values()) == found["estimate"]["num_ecgs"]
    assert Path("preview.html").read_text().count("<svg") == 3
    Path("p.yaml").write_text("device_hour: {cpu: 7200}\nput_per_1000: 5\n")
    code, out, _ = run("plan", "c.yaml", "--rate-file", "r.json", "--prices", "p.yaml",
                       "--devices", "2")  # fmt: skip
    assert "  devices: " in out
    assert "  requests: " in out
    assert "measured on" in out
    assert "an extrapolation" not in out
    run("spec", "new", "d.yaml", "--corpus", corpus, "--url", "o", "--condition", "AF", "--steps",
        "9", "--batch-rows", "4")  # fmt: skip
    code, out, _ = run("plan", "d.yaml", "--rate-file", "r.json", "--prices", "p.yaml")
    assert "an extrapolation: measured with 2 passes an ECG, asked for are 18" in out
    code, out, _ = run("plan", "d.yaml", "--rate-file", "r.json", "--device-kind", "H100",
                       "--prices", "p.yaml")  # fmt: skip
    assert "no rate of this checkpoint on 'H100' is at hand" in out
    assert "no price of 'H100'; there are cpu" in out


def test_a_diff_says_what_goes_and_what_comes(run: Run, corpus: str) -> None:
    common = ("--corpus", corpus, "--url", "o", "--patients", "2", "--condition")
    run("spec", "new", "a.yaml", *common, "AF @ 60,70")
    run("spec", "new", "b.yaml", *common, "AF @ 70,80,90", "--seed", "3")
    code, out, _ = run("spec", "diff", "a.yaml", "b.yaml")
    assert code == 1
    assert "4 ECGs -> 6: 2 go, 4 come, 2 are in both" in out
    assert "drawn otherwise (seed)" in out
    code, offline, _ = run("spec", "diff", "a.yaml", "b.yaml", "--offline")
    assert (code, offline) == (1, "\n".join(out.splitlines()[:2]) + "\n")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("spec new", "required: path"),
        ("spec new c.yaml --condition AFF", "shows 'aff'; the nearest that it knows are"),
        ("spec new c.yaml --condition AF@700", "less than or equal to 300 (found 700)"),
        ("spec new c.yaml --stratum AF", "say how many ECGs"),
        ("spec new c.yaml --stratum AF=5 --replicates 2", "raise their count instead"),
        ("spec new c.yaml --stratum AF=5 --condition AF", "one of these, not two"),
        ("spec new c.yaml --id p --population 3", "one of these, not two"),
        ("spec new c.yaml --population 3 --split test", "leave them out"),
        ("spec new c.yaml --checkpoint nowhere", "--offline leaves statements unchecked"),
        ("spec new c.yaml --label study", "write KEY=TEXT"),
        ("spec new c.yaml --set seed", "write NAME=VALUE"),
        ("spec new c.yaml --set seed=[2020-13-45]", "cannot be read as a date"),
        ("spec new c.yaml --set conditions.9.sex=own", "'9' is no entry of a list of 4"),
        ("spec new c.yaml --set conditions.grid=1", "'grid' is no entry of a list of 4"),
        ("spec new c.yaml --offline --steps 2", "--sampler, --steps and --guidance together"),
        ("spec new c.yaml --sampler ddim", "take one of euler, heun"),
        (
            "spec new c.yaml --where patient.age>3",
            "no field is named 'patient.age'; the nearest are",
        ),
        ("spec new no/c.yaml", "its folder must be there"),
        ("spec check c.yaml", "give the path of a YAML file"),
        ("spec from-csv t.csv c.yaml", "give the path of a CSV file"),
        ("spec from-corpus . c.yaml --balance 3", "say whose twins are wanted"),
        ("spec from-corpus t c.yaml --balance 3", "neither a corpus nor a folder with"),
        ("spec from-corpus t c.yaml --balance 3 --rare 3", "not allowed with"),
        ("spec from-corpus t c.yaml --corpus c --rare 3", "neither a corpus nor a folder with"),
        ("spec from-corpus t c.yaml", "one of the arguments --balance --mirror --rare"),
        ("spec diff a.yaml b.yaml", "a.yaml: cannot be read"),
        ("plan c.yaml", "give the path of a YAML file"),
        ("plan c.yaml --devices 0", "needs a whole number of at least 1"),
        ("corpus bank c b.parquet --checkpoint tiny --where x", "no field is named 'x'"),
    ],
)
def test_mistakes_end_with_one_line_and_no_file(run: Run, words: str, message: str) -> None:
    code, out, err = run(*words.split())
    assert (code, out) == (2, "")
    assert message in err
    assert err.startswith("ecgtwin: error: ")
    assert "Traceback" not in err
    assert not any(Path().iterdir())


def test_rates_and_prices_that_make_no_sense_are_named(run: Run, corpus: str) -> None:
    run("spec", "new", "c.yaml", "--corpus", corpus, "--condition", "AF")
    wrong: dict[str, Any] = {"rates": [{"checkpoint": "x"}]}
    Path("r.json").write_text(json.dumps(wrong))
    code, _, err = run("plan", "c.yaml", "--rate-file", "r.json")
    assert (code, "rates.0.preset: is required" in err) == (2, True)
    Path("p.yaml").write_text("device_hours: {cpu: 1}\n")
    code, _, err = run("plan", "c.yaml", "--prices", "p.yaml")
    assert (code, "unknown key, device_hour perhaps" in err) == (2, True)
    code, _, err = run("plan", "c.yaml", "--preview", "1", "--preview-out", "no/p.html")
    assert (code, "its folder must be there" in err) == (2, True)
