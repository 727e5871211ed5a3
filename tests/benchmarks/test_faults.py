"""The dated result of fault tests counts what pytest reported, failures among it."""

from benchmarks.faults import read_report

REPORT = """<testsuites><testsuite>
<testcase name="kept" time="1.23"/>
<testcase name="lost" time="2"><failure message="x"/></testcase>
<testcase name="broken" time="0"><error message="x"/></testcase>
<testcase name="left" time="0"><skipped message="x"/></testcase>
</testsuite></testsuites>"""


def test_outcomes_are_counted_and_named():
    found = read_report(REPORT)
    assert (found["passed"], found["failed"], found["skipped"]) == (1, 2, 1)
    assert found["tests"]["kept"] == {"outcome": "passed", "seconds": 1.2}
    assert found["tests"]["lost"]["outcome"] == found["tests"]["broken"]["outcome"] == "failed"
