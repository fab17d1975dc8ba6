#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Programs as they are: databases, editors, loggers, mappings. Each exits with an error when something is wrong.

usage: programs.py sqlite DB MODE WRITERS ROWS       processes that add ROWS rows each and count up one number
       programs.py sqlite-check DB TOTAL
       programs.py saves DIR                         a hundred saves, as editors make them, with a reader that looks on
       programs.py appends FILE WRITERS LINES        processes that add lines with O_APPEND
       programs.py appends-check FILE WRITERS LINES
       programs.py maps FILE                         writers through mappings and through write(2), both seen by both
       programs.py tree DIR DIRS FILES
       programs.py links DIR DIRS LINKS              a tree of folders full of symlinks, as package managers make it
"""
import mmap
import os
import sqlite3
import sys


def in_processes(n, fn):
    pids = []
    for i in range(n):
        pid = os.fork()
        if pid == 0:
            code = 1
            try:
                fn(i)
                code = 0
            finally:
                os._exit(code)
        pids.append(pid)
    for pid in pids:
        assert os.waitpid(pid, 0)[1] == 0, "a process failed"


def connect(path):
    db = sqlite3.connect(path, timeout=60, isolation_level=None)
    db.execute("pragma synchronous=normal")
    return db


def sqlite_work(path, mode, writers, rows):
    db = connect(path)
    assert db.execute(f"pragma journal_mode={mode}").fetchone()[0] == mode
    db.execute("create table t(who, n, filler)")
    db.execute("create table counter(n)")
    db.execute("insert into counter values(0)")
    db.close()

    def writer(who):
        mine = connect(path)
        for n in range(int(rows)):
            mine.execute("begin immediate")
            (count,) = mine.execute("select n from counter").fetchone()
            mine.execute("insert into t values(?, ?, ?)", (who, n, "x" * (n * 37 % 3000)))
            mine.execute("update counter set n = ?", (count + 1,))
            mine.execute("commit")
        mine.close()

    in_processes(int(writers), writer)


def sqlite_check(path, total):
    db = connect(path)
    assert db.execute("pragma integrity_check").fetchone() == ("ok",)
    assert db.execute("select n from counter").fetchone() == (int(total),), "updates were lost"
    assert db.execute("select count(*) from (select distinct who, n from t)").fetchone() == (int(total),)
    db.close()


def save(path, text, how):
    folder = os.path.dirname(path)
    if how == "in place":  # vim with backupcopy=yes: a copy first, then over the old one
        if os.path.exists(path):
            with open(path, "rb") as f, open(path + "~", "wb") as g:
                g.write(f.read())
                g.flush()
                os.fsync(g.fileno())
        with open(path, "wb") as f:
            f.write(text)
            f.flush()
            os.fsync(f.fileno())
        return
    if how == "backup":  # vim, emacs: the old file becomes the backup, the new one is written in its name
        if os.path.exists(path):
            os.rename(path, path + "~")
    new = path if how == "backup" else path + ".new"
    with open(new, "wb") as f:
        f.write(text)
        f.flush()
        os.fsync(f.fileno())
    if how == "rename":
        os.rename(new, path)
    fd = os.open(folder, os.O_RDONLY)
    os.fsync(fd)
    os.close(fd)


def saves(folder):
    for how in ("in place", "backup", "rename"):
        path = os.path.join(folder, how.replace(" ", "-"))
        for i in range(30):
            text = f"version {i}\n".encode() * (1 + i * 97 % 1500)
            save(path, text, how)
            with open(path, "rb") as f:
                assert f.read() == text
            assert os.stat(path).st_size == len(text)


def line_of(who, n):
    return f"{who} {n} ".encode() + b"." * (n * 31 % 200) + b"\n"


def appends(path, writers, lines):
    def writer(who):
        fd = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
        for n in range(int(lines)):
            text = line_of(who, n)
            assert os.write(fd, text) == len(text)
        os.close(fd)

    in_processes(int(writers), writer)


def appends_check(path, writers, lines):
    """Every line whole; of each writer as many as it wrote, in its order."""
    count = [0] * int(writers)
    runs = {}
    with open(path, "rb") as f:
        for line in f:
            who, n = (int(x) for x in line.split()[:2])
            assert line == line_of(who, n), line
            assert n == runs.get(who, -1) + 1 or n == 0, f"writer {who}: {n} after {runs.get(who)}"
            runs[who] = n
            count[who] += 1
    assert count == [int(lines)] * int(writers), count


def maps(path):
    size = 64 * 4096
    fd = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
    os.ftruncate(fd, size)

    def writer(who):
        mine = os.open(path, os.O_RDWR)
        m = mmap.mmap(mine, size)
        for page in range(who, 64, 4):
            m[page * 4096:page * 4096 + 8] = b"m%07d" % page
            os.pwrite(mine, b"w%07d" % page, page * 4096 + 100)
            assert m[page * 4096 + 100:page * 4096 + 108] == b"w%07d" % page
        m.flush()
        m.close()
        os.close(mine)

    in_processes(4, writer)
    os.fsync(fd)
    for page in range(64):
        assert os.pread(fd, 8, page * 4096) == b"m%07d" % page
        assert os.pread(fd, 8, page * 4096 + 100) == b"w%07d" % page
    os.close(fd)


def tree(root, dirs, files):
    os.mkdir(root)
    for d in range(int(dirs)):
        folder = os.path.join(root, f"d{d}")
        os.mkdir(folder)
        for f in range(int(files)):
            with open(os.path.join(folder, f"{d}-{f}"), "wb") as out:
                out.write(f"{d} {f}\n".encode() * (f * 7 % 300))


def links(root, dirs, n):
    for d in range(int(dirs)):
        folder = os.path.join(root, f"p{d}", "node_modules", ".bin")
        os.makedirs(folder)
        for i in range(int(n)):
            os.symlink(f"../../../p{(d + i) % int(dirs)}/cli.js", os.path.join(folder, f"b{i}"))
        with open(os.path.join(root, f"p{d}", "cli.js"), "w") as out:
            out.write(f"{d}\n")
    for d in range(int(dirs)):
        with open(os.path.join(root, f"p{d}", "node_modules", ".bin", "b1")) as f:
            assert int(f.read()) == (d + 1) % int(dirs)


{"sqlite": sqlite_work, "sqlite-check": sqlite_check, "saves": saves, "appends": appends,
 "appends-check": appends_check, "maps": maps, "tree": tree, "links": links}[sys.argv[1]](*sys.argv[2:])
