"""The built-in videos: stick figures whose actions come in pairs that differ only in the order of their frames."""

from tasks.stickfigures.settings import FigureSettings as FigureSettings
