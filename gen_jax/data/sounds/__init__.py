"""Sounds as data sets: windows of one length, from WAV files, prepared sets, or made here."""
