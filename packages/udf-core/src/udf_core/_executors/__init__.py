"""Executors: where the worker loop runs."""
