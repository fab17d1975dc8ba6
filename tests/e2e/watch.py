# SPDX-License-Identifier: MIT
"""watch.py SECONDS PATH...: inotify on each path; prints its events, a line each, as PATH EVENT NAME."""
import ctypes
import os
import select
import struct
import sys
import time

EVENTS = {0x2: 'MODIFY', 0x4: 'ATTRIB', 0x8: 'CLOSE_WRITE', 0x40: 'MOVED_FROM', 0x80: 'MOVED_TO', 0x100: 'CREATE',
          0x200: 'DELETE', 0x400: 'DELETE_SELF', 0x800: 'MOVE_SELF', 0x2000: 'UNMOUNT', 0x8000: 'IGNORED'}

libc = ctypes.CDLL(None, use_errno=True)
fd = libc.inotify_init1(os.O_NONBLOCK)
paths = {}
for path in sys.argv[2:]:
    wd = libc.inotify_add_watch(fd, os.fsencode(path), sum(EVENTS) & 0xfff)
    assert wd >= 0, (path, os.strerror(ctypes.get_errno()))
    paths[wd] = path
print('watching', flush=True)
end = time.monotonic() + float(sys.argv[1])
while (left := end - time.monotonic()) > 0:
    if not select.select([fd], [], [], left)[0]:
        continue
    data, at = os.read(fd, 65536), 0
    while at < len(data):
        wd, mask, _, size = struct.unpack_from('iIII', data, at)
        name = os.fsdecode(data[at + 16:at + 16 + size].rstrip(b'\0'))
        at += 16 + size
        for bit, word in EVENTS.items():
            if mask & bit:
                print(paths[wd], word, name, flush=True)
