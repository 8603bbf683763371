"""Mazes, the shortest paths through them, and what is right and wrong with drawn ones."""
