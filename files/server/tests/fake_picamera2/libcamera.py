"""Stands in for libcamera's Python binding: what is needed of it to turn a picture."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Transform:
    hflip: bool = False
    vflip: bool = False
