"""What a failing sample is taken apart with: its files, and native programs in which the candidate is linked."""
