"""Streams a Raspberry Pi's cameras as MJPEG over HTTP.

This file imports nothing: every camera process loads it.
"""
