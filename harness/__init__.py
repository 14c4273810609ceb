"""Real programs that tests and benchmarks start: the service, `vllm serve`, Python modules; and what they hold in memory."""
