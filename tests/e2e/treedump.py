#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Print one line for each entry below a directory: all that must be equal on both sides.

usage: treedump.py DIR

Name, type, mode, owner, group, size and content (sha256) or target, mtime in ns, attributes and ACLs, link count of
what is not a directory. A directory's size is its filesystem's own affair and left out.
"""
import hashlib
import os
import stat
import sys

TYPES = {stat.S_IFDIR: "dir", stat.S_IFREG: "file", stat.S_IFLNK: "symlink", stat.S_IFIFO: "fifo",
         stat.S_IFSOCK: "socket", stat.S_IFCHR: "chr", stat.S_IFBLK: "blk"}


def sha256(path):
    digest = hashlib.sha256()
    with open(path, "rb") as f:
        while chunk := f.read(1 << 20):
            digest.update(chunk)
    return digest.hexdigest()


def describe(path):
    st = os.lstat(path)
    kind = stat.S_IFMT(st.st_mode)
    out = [TYPES[kind], f"{stat.S_IMODE(st.st_mode):04o}", f"{st.st_uid}:{st.st_gid}", f"mtime={st.st_mtime_ns}"]
    if kind != stat.S_IFDIR:
        out.append(f"links={st.st_nlink}")
    if kind == stat.S_IFREG:
        out += [f"size={st.st_size}", sha256(path)]
    elif kind == stat.S_IFLNK:
        out.append("-> " + repr(os.readlink(os.fsencode(path))))
    elif kind in (stat.S_IFCHR, stat.S_IFBLK):
        out.append(f"dev={os.major(st.st_rdev)}:{os.minor(st.st_rdev)}")
    for name in sorted(os.listxattr(path, follow_symlinks=False)):
        if not name.startswith("security.selinux"):
            out.append(f"{name}={os.getxattr(path, name, follow_symlinks=False)!r}")
    return " ".join(out)


def walk(root):
    def fail(error):
        raise error

    for folder, dirs, files in os.walk(os.fsencode(root), onerror=fail):
        dirs.sort()
        for name in sorted(dirs + files):
            path = os.path.join(folder, name)
            rel = os.path.relpath(path, os.fsencode(root))
            yield repr(rel)[2:-1] + " " + describe(path)


for line in sorted(walk(sys.argv[1])):
    print(line)
