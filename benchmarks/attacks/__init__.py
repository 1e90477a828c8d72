"""Hostile answers, and what a judge makes of thousands of them."""
