"""Trunks that several networks share."""
