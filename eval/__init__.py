"""Benchmarks as lm-eval tasks, the engines that answer them, the judges and the sandbox that score them."""
