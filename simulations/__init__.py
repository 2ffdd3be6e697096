"""Runs many clients and a server in one place: corpora, engines, evaluation, reports, benchmarks."""
