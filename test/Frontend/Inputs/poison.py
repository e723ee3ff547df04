"""poison.py FILE TENSOR OFFSET HEX: overwrites bytes (written high byte first) of one tensor in a safetensors file."""

import json
import struct
import sys

path, tensor, offset, value = sys.argv[1], sys.argv[2], int(sys.argv[3]), bytes.fromhex(sys.argv[4])
with open(path, "r+b") as file:
    length = struct.unpack("<Q", file.read(8))[0]
    begin = json.loads(file.read(length))[tensor]["data_offsets"][0]
    file.seek(8 + length + begin + offset)
    file.write(value[::-1])
