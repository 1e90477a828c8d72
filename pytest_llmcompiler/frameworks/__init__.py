"""Tasks and scorers for evaluation frameworks: inspect_ai and lm-evaluation-harness."""
