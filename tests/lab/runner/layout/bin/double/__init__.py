"""The programs of the runner's double; Runner.Listener, Runner.Worker and RunnerService begin them.

They know of the real runner what `config.sh`, its service and its jobs show, and speak a protocol
of their own with the double of GitHub.
"""
