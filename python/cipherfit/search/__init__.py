"""Searches for networks and settings that answer fast enough."""
