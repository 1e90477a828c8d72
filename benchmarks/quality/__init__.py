"""What `judge_quality.py` measures with: correct code, seeded faults, proofs that a fault is none, and tables."""
