"""Runnable comparisons; ``results/`` holds what they gave."""
