#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Random work in a directory, and what must be left of it.

usage: storm.py work DIR NODE SEED SECONDS KEPT     do random things; add to KEPT what nobody will touch and was fsynced
       storm.py check DIR KEPT...                   everything in KEPT is somewhere below DIR
Errors of single operations are expected (the other side works in the same tree, and a daemon may die).
"""
import os
import random
import sys
import time

NAMES = ["a", "b", "c", "d.txt", "e.c"]


class Storm:
    def __init__(self, root, node, seed, kept):
        self.root, self.node, self.kept = root, node, kept
        self.r = random.Random(seed)
        self.n = 0
        self.tag = f"{node}-{seed}"

    def some_dir(self):
        path = self.root
        for _ in range(self.r.randrange(4)):
            nxt = os.path.join(path, "dir-" + self.r.choice("xyz"))
            if not os.path.isdir(nxt):
                break
            path = nxt
        return path

    def some_file(self):
        return os.path.join(self.some_dir(), self.r.choice(NAMES))

    def token(self):
        self.n += 1
        return f"{self.tag}-{self.n}\n".encode()

    def step(self):
        r = self.r
        what = r.randrange(17)
        if what == 0:
            os.mkdir(os.path.join(self.some_dir(), "dir-" + r.choice("xyz")))
        elif what in (1, 2):
            with open(self.some_file(), "wb") as f:
                f.write(self.token() * r.randrange(1, 3000))
        elif what == 3:
            with open(self.some_file(), "ab") as f:
                f.write(self.token() * r.randrange(1, 300))
        elif what == 4:
            fd = os.open(self.some_file(), os.O_RDWR)
            try:
                os.pwrite(fd, self.token() * r.randrange(1, 500), r.randrange(100000))
            finally:
                os.close(fd)
        elif what == 5:
            os.truncate(self.some_file(), r.randrange(60000))
        elif what in (6, 7):
            os.rename(self.some_file(), self.some_file())
        elif what == 8:
            os.rename(os.path.join(self.some_dir(), "dir-" + r.choice("xyz")),
                      os.path.join(self.some_dir(), "dir-" + r.choice("xyz")))
        elif what == 9:
            os.unlink(self.some_file())
        elif what == 10:
            os.link(self.some_file(), self.some_file())
        elif what == 11:
            os.symlink(r.choice(NAMES), self.some_file())
        elif what == 12:
            os.chmod(self.some_file(), r.choice([0o600, 0o644, 0o755]))
        elif what == 13:
            os.setxattr(self.some_file(), "user." + r.choice("pq"), self.token())
        elif what == 14:
            temp = os.path.join(self.some_dir(), f".tmp-{self.node}")
            with open(temp, "wb") as f:
                f.write(self.token() * r.randrange(1, 100))
            os.rename(temp, self.some_file())
        elif what == 15:
            fd = os.open(self.some_file(), os.O_RDWR)
            try:
                os.posix_fallocate(fd, r.randrange(50000), r.randrange(1, 50000))
            finally:
                os.close(fd)
        else:
            self.keep()

    def keep(self):
        """A file with a name of its own, that nobody changes or deletes; directories above it may still move."""
        text = self.token()
        fd = os.open(os.path.join(self.some_dir(), f"keep-{self.tag}-{self.n}"), os.O_CREAT | os.O_EXCL | os.O_WRONLY)
        try:
            os.write(fd, text)
            if self.n % 4:
                return
            os.fsync(fd)
        finally:
            os.close(fd)
        with open(self.kept, "ab") as f:
            f.write(text)


def work(root, node, seed, seconds, kept):
    s = Storm(root, node, int(seed), kept)
    end = time.monotonic() + float(seconds)
    while time.monotonic() < end:
        try:
            s.step()
        except OSError:
            time.sleep(0.001)


def check(root, *lists):
    there = set()
    for folder, _, files in os.walk(root):
        for name in files:
            if name.startswith("keep-"):
                with open(os.path.join(folder, name), "rb") as f:
                    there.add(f.read())
    bad = 0
    for path in lists:
        if not os.path.exists(path):
            continue
        with open(path, "rb") as f:
            for line in f:
                if line not in there:
                    bad += 1
                    print("lost:", line, file=sys.stderr)
    sys.exit(bad > 0)


{"work": work, "check": check}[sys.argv[1]](*sys.argv[2:])
