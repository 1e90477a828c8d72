"""What benchmarks/throughput.py measures, part by part."""
