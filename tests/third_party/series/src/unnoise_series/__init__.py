"""Scan lines of photographs: a multichannel series of variable length."""
