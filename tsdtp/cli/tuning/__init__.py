"""Searches of `tsdtp tune`: what is tried, from where, and what is left of it."""
