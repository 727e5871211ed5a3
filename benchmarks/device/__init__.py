"""The parts of ``benchmarks.gpu``: its cases, what they measure, the table."""
