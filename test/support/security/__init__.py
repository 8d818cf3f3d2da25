"""Attacks and who carries them out."""
