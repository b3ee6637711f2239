"""What the speed benchmarks share: workloads, the machine's limits, counting, memory, results files, plots."""
