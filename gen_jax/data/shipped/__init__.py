"""Data that comes with the library, each with its origin and licence."""
