"""Benchmarks: ratios measured side by side in one run, never inside unit tests."""
