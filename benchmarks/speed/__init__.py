"""What `judge_speed.py` measures with: answers, contenders, clocks, and the parts of the report."""
