"""Starts the last good image of an app at boot, and takes a newer one only once it is well.

Standard library only, for the Python of Debian bookworm and newer. `app.py` has what an app is
and where its files lie; `engine.py` talks to Docker; `registry.py` asks what a tag means;
`supervisor.py` is the service that keeps the container; `update.py` fetches, switches and goes
back; `health.py` says whether a container is well; `state.py` tells the world.
"""
