"""Benchmarks: what the server costs, measured beside others."""
