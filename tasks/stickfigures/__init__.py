"""The built-in videos: stick figures whose actions come in pairs that only the order of frames tells apart."""

from tasks.stickfigures.settings import FigureSettings as FigureSettings
