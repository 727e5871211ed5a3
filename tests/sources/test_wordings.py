"""Wordings of machines and of PTB-XL's reports become statements; doubt and denial stay."""

from itertools import count

import pytest

from ecgtwin.sources.statements import (
    Reading,
    canonical_codes,
    read_line,
    read_machine,
    read_report,
)
from ecgtwin.sources.vocabulary.tables import (
    CUES,
    parse_finding,
    phrase_table,
    read_table,
    wordings,
)

SIGN = {"definite": "", "possible": "?", "negated": "!"}


def short(reading: Reading) -> list[str]:
    """Return the statements as ``code``, ``?code`` (possible) and ``!code`` (negated)."""
    return [SIGN[said.certainty] + said.code for said in reading.statements]


def test_every_wording_makes_canonical_statements() -> None:
    for phrase, text in wordings():
        finding = parse_finding(text)
        assert finding, phrase
        assert {said.code for said in finding} <= canonical_codes(), phrase


def test_every_wording_reads_as_its_row_says() -> None:
    for phrase, text in wordings():
        read = read_report(phrase)
        expected = {(said.code, said.certainty) for said in parse_finding(text)}
        assert {(said.code, said.certainty) for said in read.statements} == expected, phrase
        assert not read.unmapped, phrase


def test_tables_have_no_repeats_and_known_cues() -> None:
    phrase_table()  # raises where one phrase has two meanings
    assert {row["cue"] for row in read_table("cues.csv")} == CUES
    for name, key in (
        ("cues.csv", "phrase"),
        ("wordings.csv", "phrase"),
        ("spellings.csv", "spelling"),
    ):
        keys = [row[key] for row in read_table(name)]
        assert len(keys) == len(set(keys)), name
    assert all(row["source"] for row in read_table("wordings.csv"))


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("Sinus rhythm", ["sinus rhythm"]),
        ("Possible right atrial abnormality", ["?right atrial abnormality"]),
        ("Borderline ECG", ["borderline ecg"]),
        ("Normal ECG", ["normal ecg"]),
        ("Abnormal ECG", ["abnormal ecg"]),
        ("Summary: Abnormal ECG", ["abnormal ecg"]),
        ("Otherwise normal ECG", ["otherwise normal ecg"]),
        ("Normal ECG except for rate", ["otherwise normal ecg"]),
        ("Atrial fibrillation with rapid ventricular response", ["atrial fibrillation"]),
        ("Left axis deviation", ["left axis deviation"]),
        ("Inferior infarct - age undetermined", ["inferior myocardial infarction"]),
        ("Anterior infarct, possibly acute", ["anterior myocardial infarction"]),
        ("Nonspecific ST-T abnormalities", ["nonspecific st-t changes"]),
        ("Poor R wave progression - probable normal variant", ["poor r wave progression"]),
        ("Sinus rhythm with PAC(s)", ["sinus rhythm", "atrial premature complex"]),
        (
            "Sinus rhythm with first degree AV block and PVCs",
            ["sinus rhythm", "first degree av block", "ventricular premature complex"],
        ),
        ("Ventricular paced rhythm", ["ventricular paced rhythm"]),
        ("Atrial-sensed ventricular-paced rhythm", ["ventricular paced rhythm"]),
        ("RSR' in V1 or V2", ["rsr pattern"]),
        (
            "Acute inferior infarct",
            ["inferior myocardial infarction", "acute myocardial infarction"],
        ),
        ("Atrial flutter with variable block", ["atrial flutter"]),
    ],
)
def test_machine_lines(line: str, expected: list[str]) -> None:
    assert short(read_machine([line])) == expected
    assert read_machine([line]).unmapped == ()


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("Cannot rule out anterior infarct", ["?anterior myocardial infarction"]),
        ("Anterior infarct cannot be excluded", ["?anterior myocardial infarction"]),
        ("Probable left atrial enlargement", ["?left atrial enlargement"]),
        ("Borderline prolonged QT interval", ["?prolonged qt interval"]),
        ("ST elevation, consider inferior injury", ["st elevation", "?injury in inferior leads"]),
        (
            "T wave abnormality, consider lateral ischemia",
            ["t wave abnormality", "?ischemia in lateral leads"],
        ),
        (
            "Inferior/lateral ST-T changes may be due to myocardial ischemia",
            ["st-t changes", "?myocardial ischemia"],
        ),
        (
            "Septal T wave abnormality suggests myocardial infarct",
            ["t wave abnormality", "?myocardial infarction"],
        ),
        (
            "Tall T waves - consider acute ischemia or hyperkalemia",
            ["high t wave amplitude", "?acute myocardial ischemia", "?hyperkalemia"],
        ),
        (
            "Prolonged QT - consider ischemia, electrolyte imbalance, drug effects",
            [
                "prolonged qt interval",
                "?myocardial ischemia",
                "?electrolyte disturbance or drug effect",
            ],
        ),
        ("LVH or RVH", ["?left ventricular hypertrophy", "?right ventricular hypertrophy"]),
        ("Question of atrial flutter", ["?atrial flutter"]),
        ("Verdacht auf Linkshypertrophie", ["?left ventricular hypertrophy"]),
        ("Linkshypertrophie möglich", ["?left ventricular hypertrophy"]),
        ("septaler Infarkt nicht auszuschliessen", ["?septal myocardial infarction"]),
        ("inferior infarkt bör övervägas", ["?inferior myocardial infarction"]),
        ("LVH 35", ["?left ventricular hypertrophy"]),
    ],
)
def test_doubt_is_possible(line: str, expected: list[str]) -> None:
    assert short(read_report(line)) == expected


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        (
            "Premature ventricular complexes are no longer present",
            ["!ventricular premature complex"],
        ),
        (
            "Atrial fibrillation has been replaced by sinus rhythm",
            ["!atrial fibrillation", "sinus rhythm"],
        ),
        ("Sinus rhythm has replaced atrial fibrillation", ["sinus rhythm", "!atrial fibrillation"]),
        ("No evidence of ischemia", ["!myocardial ischemia"]),
        (
            "No evidence of LVH, RVH or ischemia",
            [
                "!left ventricular hypertrophy",
                "!right ventricular hypertrophy",
                "!myocardial ischemia",
            ],
        ),
        ("Absence of ST elevation", ["!st elevation"]),
        ("Sinus rhythm without PVCs", ["sinus rhythm", "!ventricular premature complex"]),
        ("Left bundle branch block is now absent", ["!left bundle branch block"]),
        ("Atrial fibrillation, resolved", ["!atrial fibrillation"]),
        ("ST no longer depressed in lateral leads", ["!st depression"]),
        ("No possible infarct", ["!myocardial infarction"]),
        ("Sinusrhythmus, keine Extrasystolen", ["sinus rhythm", "!premature complex"]),
        ("ohne Linksschenkelblock", ["!left bundle branch block"]),
        ("ingen ischemi", ["!myocardial ischemia"]),
        ("inga ventrikulära extrasystoler", ["!ventricular premature complex"]),
        ("not normal ECG", ["!normal ecg"]),
    ],
)
def test_denial_is_negated(line: str, expected: list[str]) -> None:
    assert short(read_report(line)) == expected


@pytest.mark.parametrize(
    ("report", "expected"),
    [
        (
            "sinusrhythmus lagetyp normal normales ekg 4.46             unbestÄtigter bericht",
            ["sinus rhythm", "normal ecg"],
        ),
        (
            "sinusrhythmus lagetyp normal qrs(t) abnormal    inferiorer infarkt     alter unbest.",
            ["sinus rhythm", "abnormal qrs", "inferior myocardial infarction"],
        ),
        (
            "sinusrhythmus verdacht auf p-sinistrocardiale ueberdrehter linkstyp "
            "linksschenkelblock",
            [
                "sinus rhythm",
                "?left atrial enlargement",
                "left axis deviation",
                "left bundle branch block",
            ],
        ),
        (
            "vorhofflimmern/-flattern linkstyp st & t abnorm, wahrscheinlich    anterolaterale "
            "ischÄmie oder linksbelastung",
            [
                "?atrial fibrillation",
                "?atrial flutter",
                "leftward axis",
                "st-t changes",
                "?ischemia in anterolateral leads",
                "?left ventricular strain",
            ],
        ),
        (
            "ventrikulÄre extrasystole(n) sinusrhythmus a-v block i periphere niederspannung",
            [
                "ventricular premature complex",
                "sinus rhythm",
                "first degree av block",
                "low qrs voltage",
            ],
        ),
        (
            "atrial fibrillation. st segments are depressed in i, ii, avf, v4,5,6. t waves are low "
            "or flat in i. findings are likely to be due to ischaemic heart  disease.",
            [
                "atrial fibrillation",
                "st depression",
                "low t wave amplitude",
                "?coronary heart disease",
            ],
        ),
        (
            "sinusrytm vÄnster el-axel avvikande qrs(t) fÖrlopp    inferior infarkt     "
            "Ålder ej bestÄmmbar",
            [
                "sinus rhythm",
                "left axis deviation",
                "abnormal qrs",
                "inferior myocardial infarction",
            ],
        ),
        ("sinus rhythm. incomplete right bundle branch block. otherwise normal ecg.", None),
        ("trace only requested.", []),
    ],
)
def test_reports_of_ptb_xl(report: str, expected: list[str] | None) -> None:
    if expected is None:
        expected = ["sinus rhythm", "incomplete right bundle branch block", "otherwise normal ecg"]
    assert short(read_report(report)) == expected
    assert read_report(report).unmapped == ()


def test_unknown_words_are_kept_and_known_ones_read() -> None:
    line = "Sinus rhythm with Zorblax phenomenon"
    assert short(read_machine([line])) == ["sinus rhythm"]
    assert read_machine([f"  {line} "]).unmapped == (line,)
    assert read_report(line).unmapped == ("Zorblax phenomenon",)


def test_doubt_about_unknown_words_does_not_touch_what_was_said_before() -> None:
    read = read_report("WPW pattern - probable left accessory pathway")
    assert short(read) == ["wolff-parkinson-white syndrome"]
    assert read.unmapped == ("probable left accessory pathway",)


def test_names_of_signatures_are_not_kept() -> None:
    assert read_machine(["Confirmed by DOE, M.D., JANE (1008) on 2/9/2015"]) == Reading()


def test_lines_are_read_together() -> None:
    lines = ["Sinus rhythm", "", "Possible inferior infarct", "  ", "Inferior infarct", "Zorblax"]
    read = read_machine(lines)
    assert short(read) == ["sinus rhythm", "inferior myocardial infarction"]
    assert read.unmapped == ("Zorblax",)
    assert read_machine([]) == read_machine(["", " "]) == Reading()


@pytest.mark.parametrize(
    "text",
    [
        "",
        "\0",
        "sinus\0rhythm \0\0",
        "no " * 30_000,
        "possible or " * 8_000,
        "sinus rhythm and " * 6_000,
        "(" * 100_000,
        "x" * 100_000,
        "sinus " * 16_000,
        "extrasystole(" * 8_000,
        "a\u0301" * 50_000,
        "\u0300\u0323" * 50_000,
        "\ufdfa\u1e9e\u0130\U0001f4a9\ud800" * 10_000,
        "1,5." * 25_000,
    ],
    ids=lambda text: repr(text[:8]),
)
def test_any_text_is_read(text: str) -> None:
    first, second = read_report(text), read_report(text)
    assert first == second
    assert all(said.code in canonical_codes() for said in first.statements)
    assert read_machine([text]).statements == first.statements


def test_work_grows_with_the_length_and_no_faster(monkeypatch: pytest.MonkeyPatch) -> None:
    calls = count()
    phrases = phrase_table()
    longest = type(phrases).longest

    def counted(*given: object) -> object:
        next(calls)
        return longest(*given)

    monkeypatch.setattr(type(phrases), "longest", counted)
    read_report("no sinus rhythm or zorblax " * 1_000)
    thousand = next(calls)
    read_report("no sinus rhythm or zorblax " * 2_000)
    assert next(calls) - thousand <= 2 * thousand + 2


def test_a_known_line_is_not_read_twice() -> None:
    line = "Sinus rhythm with a wording of its own"
    assert read_line(line) is read_line(line)
