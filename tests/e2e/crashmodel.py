#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Work in a directory, note each step and what is durable; after a crash, say whether what is there could be.

usage: crashmodel.py work DIR SEED JOURNAL      until the filesystem fails or a signal comes
       crashmodel.py check DIR SEED JOURNAL     0: DIR is what some number of the steps left, and no durable one is missing

The steps follow from the seed alone, so the checker makes them again on a model. JOURNAL is outside of DIR; it gets
"b N" before step N and "d N" when an fsync said that all steps up to N are durable (twinfs commits everything at once,
as ext4 does with its journal; a file's own fsync is all that a program may rely on, this asks for more). "p N BYTES" is
a write that was cut short: the kernel hands a long one over in pieces, and the filesystem was gone after some of them.
A step is one system call that changes something, so the state after a crash must be that after exactly N steps: not
less than the last "d", not more than the last "b". Only a copy (copy_file_range) goes on piece by piece, as from hole to
data, and the kernel may hand over what is written from page to page: of the step after N there may be the beginning, up to
the end of a block.
"""
import ctypes
import hashlib
import os
import random
import signal
import sys

DIRS = ["", "d1", "d2", "d1/e"]
NAMES = ["a", "b", "c", "d"]
PAGE = 4096
AT_FDCWD, RENAME_EXCHANGE = -100, 2
KEEP_SIZE, PUNCH_HOLE, ZERO_RANGE = 1, 2, 16
libc = ctypes.CDLL(None, use_errno=True)


def call(function, *args):
    """One of the C library's that Python does not have."""
    if getattr(libc, function)(*args) != 0:
        error = ctypes.get_errno()
        raise OSError(error, os.strerror(error))


class Model:
    """Paths and what they lead to: ("dir",), ("link", target) or ("file", inode)."""

    def __init__(self):
        self.tree = {}
        self.next = 0

    def print_of(self):
        out = {}
        for path, node in self.tree.items():
            out[path] = node
            if node[0] == "file":
                inode = node[1]
                out[path] = ("file", digest(bytes(inode["data"])), inode["mode"], tuple(sorted(inode["xattrs"].items())))
        return out


def digest(data):
    return f"{len(data)}:{hashlib.sha256(data).hexdigest()}"


class Short(Exception):
    """A write of which only so many bytes were taken."""


class Steps:
    """The same sequence for the worker (apply on a real directory) and for the checker (on the model)."""

    def __init__(self, seed, root=None):
        self.r = random.Random(int(seed))
        self.model = Model()
        self.root = root
        self.number = 0
        self.pending = []
        self.held = []  # descriptors of files that may have no name any more

    def real(self, path):
        return os.path.join(self.root, path)

    # ---- one step: a generator of (what it does to the real one, what it does to the model)

    def some(self, *kinds):
        paths = sorted(p for p, n in self.model.tree.items() if n[0] in kinds)
        return self.r.choice(paths) if paths else None

    def new_path(self):
        folder = self.r.choice(DIRS)
        if folder and self.model.tree.get(folder) != ("dir",):
            folder = ""
        return os.path.join(folder, self.r.choice(NAMES))

    def bytes(self):
        size = self.r.choice([1, 100, 4095, 4096, 5000, 20000, 70000, 200000])
        return (f"{self.number}-{self.r.randrange(1 << 30)}\n".encode() * (size // 4 + 1))[:size]

    def plan(self):
        """Operations of the next thing that a program does, as a list of (name, arguments)."""
        r = self.r
        what = r.randrange(27)
        if what < 6:  # a save as editors make it: whole, durable, then over the old name
            path = self.new_path()
            if self.model.tree.get(path, ("file",))[0] != "file":
                return []
            tmp = path + ".tmp"
            return [("create", tmp), ("write", tmp, 0, self.bytes()), ("fsync", tmp), ("rename", tmp, path),
                    ("fsyncdir", os.path.dirname(path))][:r.choice([4, 5])]
        if what < 8:
            path = self.new_path()
            return [] if path in self.model.tree else [("create", path), ("write", path, 0, self.bytes())]
        if what < 12:
            path = self.some("file")
            if not path:
                return []
            size = len(self.model.tree[path][1]["data"])
            if what == 8:
                return [("truncate", path, r.choice([0, size // 2, size, size + 5000]))]
            return [("write", path, r.choice([0, size, size // 2, r.randrange(size + 9000)]), self.bytes()),
                    ("fsync", path)][:r.choice([1, 1, 2])]
        if what == 12:
            path = self.some("file", "link")
            return [("unlink", path)] if path else []
        if what == 13:
            path, to = self.some("file"), self.new_path()
            if not path or self.model.tree.get(to, ("file",))[0] != "file" or self.same(path, to):
                return []
            return [("rename", path, to)]
        if what == 14:
            path, to = self.some("file"), self.new_path()
            return [("link", path, to)] if path and to not in self.model.tree else []
        if what == 15:
            to = self.new_path()
            return [("symlink", f"t{self.number}", to)] if to not in self.model.tree else []
        if what == 16:
            folder = r.choice(DIRS[1:])
            above = os.path.dirname(folder)
            if folder in self.model.tree or (above and self.model.tree.get(above) != ("dir",)):
                return []
            return [("mkdir", folder)]
        if what == 17:
            path = self.some("file")
            return [("chmod", path, r.choice([0o600, 0o644, 0o755]))] if path else []
        if what == 18:
            path = self.some("file")
            return [("fsync", path)] if path else []
        if what == 19:
            return [("fsyncdir", "")]
        return self.plan_more(what)

    def plan_more(self, what):
        r, path = self.r, self.some("file")
        if not path:
            return []
        size = len(self.model.tree[path][1]["data"])
        if what == 20:  # it lives on as long as it is open, and what is written then is nowhere after a crash
            if self.links(path) > 1:
                return []
            return [("hold", path), ("unlink", path), ("write_held", "", self.bytes()), ("fsyncdir", "")][:r.choice([2, 3, 4])]
        if what == 21:
            to = self.some("file", "link")
            return [("exchange", path, to)] if to != path else []
        if what == 22:
            key = r.choice(["user.a", "user.b"])
            if key in self.model.tree[path][1]["xattrs"]:
                return [("removexattr", path, key)]
            return [("setxattr", path, key, self.bytes()[:r.choice([1, 300, 5000])])]
        if what == 23:
            return [("append", path, self.bytes())]
        if what == 26:
            to, off = self.some("file"), r.choice([0, PAGE, size // 2])
            length = min(r.choice([100, PAGE, 3 * PAGE, 100000]), size - off)
            at = off + length + r.choice([0, 1, PAGE]) if self.same(path, to) else r.choice([0, PAGE, 5000, size])
            return [("copy", to, path, off, at, length), ("fsync", to)][:r.choice([1, 2])] if length > 0 else []
        off, length = r.choice([0, PAGE, size // 2, size]), r.choice([100, PAGE, 3 * PAGE, 100000])
        mode = r.choice([PUNCH_HOLE | KEEP_SIZE, ZERO_RANGE | KEEP_SIZE, ZERO_RANGE] if what == 24 else [0, KEEP_SIZE])
        return [("fallocate", path, mode, off, length), ("fsync", path)][:r.choice([1, 2])]

    def links(self, path):
        inode = self.model.tree[path][1]
        return sum(node[0] == "file" and node[1] is inode for node in self.model.tree.values())

    def same(self, path, other):
        a, b = self.model.tree.get(path), self.model.tree.get(other)
        return a and b and a[1] is b[1]

    def next_op(self):
        while not self.pending:
            self.pending = self.plan()
        self.number += 1
        return self.pending.pop(0)

    # ---- on the model

    def imagine(self, op):
        t = self.model.tree
        kind, args = op[0], op[1:]
        if kind == "create":
            t[args[0]] = ("file", {"data": bytearray(), "mode": 0o644, "xattrs": {}})
        elif kind == "write":
            self.put(args[0], args[1], args[2])
        elif kind == "append":
            self.put(args[0], len(t[args[0]][1]["data"]), args[1])
        elif kind == "copy":
            to, path, off, at, length = args
            self.put(to, at, t[path][1]["data"][off:off + length])
        elif kind == "fallocate":
            self.imagine_fallocate(*args)
        elif kind == "setxattr":
            t[args[0]][1]["xattrs"][args[1]] = args[2]
        elif kind == "removexattr":
            del t[args[0]][1]["xattrs"][args[1]]
        elif kind == "exchange":
            t[args[0]], t[args[1]] = t[args[1]], t[args[0]]
        elif kind == "truncate":
            data = t[args[0]][1]["data"]
            del data[args[1]:]
            data.extend(bytes(args[1] - len(data)))
        elif kind == "unlink":
            del t[args[0]]
        elif kind == "rename":
            t[args[1]] = t.pop(args[0])
        elif kind == "link":
            t[args[1]] = t[args[0]]
        elif kind == "symlink":
            t[args[1]] = ("link", args[0])
        elif kind == "mkdir":
            t[args[0]] = ("dir",)
        elif kind == "chmod":
            t[args[0]][1]["mode"] = args[1]

    def put(self, path, off, new):
        data = self.model.tree[path][1]["data"]
        if len(data) < off:
            data.extend(bytes(off - len(data)))
        data[off:off + len(new)] = new

    def imagine_fallocate(self, path, mode, off, length):
        data = self.model.tree[path][1]["data"]
        if not mode & KEEP_SIZE and len(data) < off + length:
            data.extend(bytes(off + length - len(data)))
        if mode & (PUNCH_HOLE | ZERO_RANGE):
            upto = min(off + length, len(data))
            data[off:upto] = bytes(max(upto - off, 0))

    # ---- for real

    def do(self, op):
        """True: everything so far is durable."""
        kind, args = op[0], op[1:]
        path = self.real(args[0])
        if kind == "create":
            os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o644))
        elif kind == "write":
            with open(path, "r+b", buffering=0) as f:
                done = os.pwrite(f.fileno(), args[2], args[1])
            if done != len(args[2]):
                raise Short(done)
        elif kind == "append":
            with open(path, "ab", buffering=0) as f:
                done = f.write(args[1])
            if done != len(args[1]):
                raise Short(done)
        elif kind == "hold":
            while len(self.held) > 3:
                os.close(self.held.pop(0))
            self.held.append(os.open(path, os.O_RDWR))
        elif kind == "write_held":
            os.write(self.held[-1], args[1])
        elif kind == "copy":
            with open(path, "r+b", buffering=0) as to, open(self.real(args[1]), "rb", buffering=0) as f:
                done = os.copy_file_range(f.fileno(), to.fileno(), args[4], args[2], args[3])
            if done != args[4]:
                raise Short(done)
        elif kind == "fallocate":
            fd = os.open(path, os.O_RDWR)
            try:
                call("fallocate", fd, args[1], ctypes.c_long(args[2]), ctypes.c_long(args[3]))
            finally:
                os.close(fd)
        elif kind == "setxattr":
            os.setxattr(path, args[1], args[2])
        elif kind == "removexattr":
            os.removexattr(path, args[1])
        elif kind == "exchange":
            call("renameat2", AT_FDCWD, os.fsencode(path), AT_FDCWD, os.fsencode(self.real(args[1])), RENAME_EXCHANGE)
        elif kind == "truncate":
            os.truncate(path, args[1])
        elif kind in ("fsync", "fsyncdir"):
            fd = os.open(path, os.O_RDONLY)
            try:
                os.fsync(fd)
            finally:
                os.close(fd)
            return True
        elif kind == "unlink":
            os.unlink(path)
        elif kind == "rename":
            os.rename(path, self.real(args[1]))
        elif kind == "link":
            os.link(path, self.real(args[1]))
        elif kind == "symlink":
            os.symlink(args[0], self.real(args[1]))
        elif kind == "mkdir":
            os.mkdir(path)
        elif kind == "chmod":
            os.chmod(path, args[1])
        return False


def work(root, seed, journal):
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    os.umask(0o022)
    steps = Steps(seed, root)
    with open(journal, "w", buffering=1) as log:
        while True:
            op = steps.next_op()
            log.write(f"b {steps.number}\n")
            try:
                durable = steps.do(op)
            except Short as short:
                log.write(f"p {steps.number} {short}\n")
                sys.exit(0)
            except OSError as error:
                # Of a daemon that died, and nothing else
                sys.exit(0 if error.errno in (5, 103, 107, 2) and not os.path.ismount(root) or
                         error.errno in (103, 107) else f"step {steps.number} {op[:2]}: {error}")
            steps.imagine(op)
            if durable:
                log.write(f"d {steps.number}\n")


def found(root):
    out = {}
    os.listdir(root)
    for folder, dirs, files in os.walk(root):
        for name in dirs + files:
            path = os.path.join(folder, name)
            rel = os.path.relpath(path, root)
            if os.path.islink(path):
                out[rel] = ("link", os.readlink(path))
            elif os.path.isdir(path):
                out[rel] = ("dir",)
            else:
                with open(path, "rb") as f:
                    data = digest(f.read())
                xattrs = tuple(sorted((key, os.getxattr(path, key)) for key in os.listxattr(path)))
                out[rel] = ("file", data, os.stat(path).st_mode & 0o7777, xattrs)
    return out


def shortened(op, done):
    last = done if op[0] == "copy" else op[-1][:done]
    return (*op[:-1], last)


def part_of(steps, op, there):
    """Is a part of this copy or write there, and of what comes after it nothing?"""
    to = op[1]
    inode = steps.model.tree[to][1]
    if op[0] == "copy":
        _, _, path, off, at, length = op
        source = steps.model.tree[path][1]["data"][off:off + length]
    else:
        source = op[-1]
        off = at = op[2] if op[0] == "write" else len(inode["data"])
        length = len(source)
    before = inode["data"][:]
    want, names = steps.model.print_of(), {p for p, n in steps.model.tree.items() if n[1:] and n[1] is inode}
    if any(want.get(p) != there.get(p) for p in (want.keys() | there.keys()) - names):
        return False
    for done in range(PAGE - off % PAGE, length, PAGE):
        steps.put(to, at, source[:done])
        found_it = steps.model.print_of() == there
        inode["data"] = before[:]
        if found_it:
            return True
    return False


def check(root, seed, journal):
    begun = durable = 0
    short = None
    with open(journal) as log:
        for line in log:
            kind, number, *more = line.split()
            if kind == "b":
                begun = int(number)
            elif kind == "d":
                durable = int(number)
            else:
                short = int(more[0])
    there = found(root)
    steps = Steps(seed)
    best = None
    for number in range(begun + 1):
        if number:
            op = steps.next_op()
            if number == begun and short is not None:
                op = shortened(op, short)
            if op[0] in ("copy", "write", "append") and number > durable and part_of(steps, op, there):
                print(f"steps: {begun} begun, {durable} durable, {number - 1} and a part there, {len(there)} entries")
                return
            steps.imagine(op)
        if number < durable:
            continue
        want = steps.model.print_of()
        if want == there:
            print(f"steps: {begun} begun, {durable} durable, {number} there, {len(there)} entries")
            return
        wrong = sorted(p for p in want.keys() | there.keys() if want.get(p) != there.get(p))
        if best is None or len(wrong) < len(best[1]):
            best = (number, wrong, {p: (want.get(p), there.get(p)) for p in wrong[:5]})
    sys.exit(f"what is there is no state between step {durable} and {begun}; nearest is {best[0]}: {best[2]}")


{"work": work, "check": check}[sys.argv[1]](*sys.argv[2:])
