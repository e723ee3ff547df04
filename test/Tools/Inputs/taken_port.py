"""Runs a command as rank 0 of 2 with a port that this process holds, and prints its exit code: taken_port.py COMMAND..."""

import os
import socket
import subprocess
import sys

with socket.socket() as holder:
    holder.bind(("127.0.0.1", 0))
    holder.listen()
    environment = dict(os.environ, RANK="0", WORLD_SIZE="2", MASTER_ADDR="127.0.0.1", MASTER_PORT=str(holder.getsockname()[1]))
    print("code %d" % subprocess.run(sys.argv[1:], env=environment, check=False).returncode)
