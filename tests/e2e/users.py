#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""What people do to the same tree on two machines while apart, and what must be left of it.

usage: users.py base DIR          make what both sides begin with, a directory for each story
       users.py left|right DIR    one side's part of each story
       users.py note DIR FILE     write down which lines and objects are in DIR
       users.py check DIR BASE LEFT RIGHT NOW
                                  what a side had made, or both still had, is in DIR; FILEs of note, NOW is written

Each line of a file is a thing of its own that nobody writes twice. A file below a .git counts as a whole.
"""
import hashlib
import os
import shutil
import subprocess
import sys

STORIES = {}


def story(f):
    STORIES[f.__name__] = f()
    return f


class Hand:
    """One side at work in one story's directory."""

    def __init__(self, root, who):
        self.root, self.who, self.n = root, who, 0

    def at(self, path):
        return os.path.join(self.root, path)

    def line(self, what):
        self.n += 1
        return f"{self.who} {os.path.basename(self.root)} {what} {self.n}\n"

    def write(self, path, lines=3):
        os.makedirs(os.path.dirname(self.at(path)), exist_ok=True)
        with open(self.at(path), "w") as f:
            f.writelines(self.line(path) for _ in range(lines))

    def add(self, path, lines=1):
        with open(self.at(path), "a") as f:
            f.writelines(self.line(path) for _ in range(lines))

    def save(self, path):
        """As editors do."""
        with open(self.at(path)) as f:
            old = f.read()
        with open(self.at(path + ".new"), "w") as f:
            f.write(self.line(path) + old)
        os.rename(self.at(path + ".new"), self.at(path))

    def mv(self, a, b):
        os.rename(self.at(a), self.at(b))

    def rm(self, path):
        if os.path.isdir(self.at(path)) and not os.path.islink(self.at(path)):
            shutil.rmtree(self.at(path))
        else:
            os.unlink(self.at(path))

    def swap(self, a, b):
        subprocess.run([sys.executable, "-c", "import ctypes,sys\n"
                        "c=ctypes.CDLL(None,use_errno=True)\n"
                        "sys.exit(c.renameat2(-100,sys.argv[1].encode(),-100,sys.argv[2].encode(),2)!=0)",
                        self.at(a), self.at(b)], check=True)

    def mkdir(self, path):
        os.makedirs(self.at(path))

    def ln(self, a, b):
        os.makedirs(os.path.dirname(self.at(b)), exist_ok=True)
        os.link(self.at(a), self.at(b))

    def tree(self, path, depth=3, width=3):
        for i in range(width):
            self.write(f"{path}/file{i}")
            if depth > 1:
                self.tree(f"{path}/dir{i}", depth - 1, width)

    def farm(self, a, b):
        subprocess.run(["cp", "-al", self.at(a), self.at(b)], check=True)

    def git(self, *args, at="."):
        subprocess.run(["git", "-C", self.at(at), *args], check=True, stdout=subprocess.DEVNULL,
                       stderr=subprocess.DEVNULL)

    def commit(self, path, at="."):
        self.git("add", path, at=at)
        self.git("commit", "-qm", self.line("commit").strip(), at=at)


def three(base, left, right):
    return base, left, right


@story
def tree_removed_and_rescued():
    def right(h):
        h.mkdir("saved")
        h.mv("tree/dir0/file1", "saved/one")
        h.mv("tree/dir1/dir2", "saved/two")
        h.mv("tree/dir2/file0", "tree/dir2/renamed")
    return three(lambda h: h.tree("tree"), lambda h: h.rm("tree"), right)


@story
def tree_removed_and_worked_in():
    def right(h):
        h.add("tree/dir0/dir1/file2")
        h.write("tree/dir1/new")
        h.mkdir("tree/dir2/fresh/deep")
        h.save("tree/file0")
    return three(lambda h: h.tree("tree"), lambda h: h.rm("tree"), right)


@story
def tree_removed_and_moved():
    def right(h):
        h.mv("tree", "moved")
        h.mv("moved/dir0", "elsewhere")
        h.write("moved/dir1/new")
    return three(lambda h: h.tree("tree"), lambda h: h.rm("tree"), right)


@story
def same_archive_unpacked():
    def unpack(h):
        for i in range(30):
            d = h.at(f"pkg-1.0/src{i % 5}/sub")
            os.makedirs(d, exist_ok=True)
            path = os.path.join(d, f"f{i}")
            with open(path, "w") as f:
                f.write(f"archive line {i}\n")
            os.utime(path, (1000000000 + i, 1000000000 + i))
        os.symlink("f1", h.at("pkg-1.0/link"))

    def left(h):
        unpack(h)
        h.write("pkg-1.0/src0/mine-l")

    def right(h):
        unpack(h)
        h.add("pkg-1.0/src1/sub/f1")
        h.write("pkg-1.0/src0/mine-r")
    return three(lambda h: h.write("readme"), left, right)


@story
def renamed_to_two_names():
    def left(h):
        h.mv("proj", "proj-left")
        h.write("proj-left/new-l")
        h.add("proj-left/dir0/file0")

    def right(h):
        h.mv("proj", "proj-right")
        h.write("proj-right/new-r")
        h.write("proj-right/dir0/new-r")
        h.add("proj-right/dir0/file1")
    return three(lambda h: h.tree("proj", 2), left, right)


@story
def renamed_to_one_name():
    def side(who):
        def work(h):
            h.mv("proj", "final")
            h.write(f"final/new-{who}")
            h.write("final/same-name")
            h.write("final/dir1/same-name")
        return work
    return three(lambda h: h.tree("proj", 2), side("l"), side("r"))


@story
def two_renamed_to_one_name():
    def left(h):
        h.mv("a", "final")
        h.write("final/x")

    def right(h):
        h.mv("b", "final")
        h.write("final/x")
        h.write("a/later")
    return three(lambda h: (h.tree("a", 2), h.tree("b", 2)), left, right)


@story
def names_swapped():
    def left(h):
        h.swap("one", "two")
        h.add("one")

    def right(h):
        h.add("one")
        h.add("two")
    return three(lambda h: (h.write("one"), h.write("two")), left, right)


@story
def names_swapped_on_both():
    def left(h):
        h.swap("one", "two")
        h.add("one")
        h.swap("d1", "d2")
        h.write("d1/l")

    def right(h):
        h.mv("one", "tmp")
        h.mv("two", "one")
        h.mv("tmp", "two")
        h.add("two")
        h.swap("d1", "d2")
        h.write("d1/r")
    return three(lambda h: (h.write("one"), h.write("two"), h.tree("d1", 1), h.tree("d2", 1)), left, right)


@story
def three_rotated():
    def left(h):
        h.mv("a", "t")
        h.mv("b", "a")
        h.mv("c", "b")
        h.mv("t", "c")

    def right(h):
        h.mv("c", "t")
        h.mv("b", "c")
        h.mv("a", "b")
        h.mv("t", "a")
        h.write("a/r")
    return three(lambda h: [h.tree(x, 1) for x in "abc"], left, right)


@story
def moves_cross():
    def left(h):
        h.mv("a", "b/dir0/a")
        h.write("b/dir0/a/l")

    def right(h):
        h.mv("b", "a/dir0/b")
        h.write("a/dir0/b/r")
    return three(lambda h: (h.tree("a", 2), h.tree("b", 2)), left, right)


@story
def moves_cross_in_three():
    def left(h):
        h.mv("a", "b/dir1/a")
        h.write("b/dir1/a/l")

    def right(h):
        h.mv("b", "c/dir1/b")
        h.mv("c", "a/dir0/c")
        h.write("a/dir0/c/r")
    return three(lambda h: [h.tree(x, 2) for x in "abc"], left, right)


@story
def inside_out():
    def left(h):
        h.mv("a/b/c", "c")
        h.mv("a/b", "c/b")
        h.mv("a", "c/b/a")
        h.write("c/b/a/l")

    def right(h):
        h.mv("a/b", "b")
        h.mv("a", "b/a")
        h.write("b/c/r")
        h.add("b/c/file0")
    return three(lambda h: (h.tree("a/b/c", 1), h.tree("a/b", 1), h.tree("a", 1)), left, right)


@story
def backups_by_hard_links():
    def left(h):
        h.farm("data", "backup.1")
        h.add("data/dir0/file0")   # in place: in the backup too
        h.save("data/dir1/file1")  # not in the backup

    def right(h):
        h.farm("data", "backup.2")
        h.save("data/dir0/file0")
        h.add("data/dir1/file1")
        h.rm("backup.0")
    return three(lambda h: (h.tree("data", 2), h.farm("data", "backup.0")), left, right)


@story
def backups_rotated():
    def rotate(h):
        h.rm("backup.2")
        h.mv("backup.1", "backup.2")
        h.mv("backup.0", "backup.1")
        h.farm("data", "backup.0")
        h.save("data/file1")

    def base(h):
        h.tree("data", 2)
        for i in range(3):
            h.farm("data", f"backup.{i}")
    return three(base, rotate, rotate)


@story
def links_taken_away():
    def left(h):
        h.rm("a/f")
        h.add("b/f")
        h.rm("a/g")

    def right(h):
        h.rm("b/f")
        h.rm("c/f")
        h.rm("b/g")
    return three(lambda h: (h.write("a/f"), h.ln("a/f", "b/f"), h.ln("a/f", "c/f"), h.write("a/g"), h.ln("a/g", "b/g")),
                 left, right)


@story
def repository():
    def base(h):
        h.git("init", "-q", ".")
        h.write("src/a")
        h.commit("src/a")

    def side(who):
        def work(h):
            for i in range(2):
                h.write(f"src/{who}{i}")
                h.commit(f"src/{who}{i}")
            h.add("src/a")
            h.git("checkout", "-q", "-b", "topic-" + who)
            h.commit("src/a")
        return work
    return three(base, side("l"), side("r"))


@story
def repository_cloned_moved_and_collected():
    def base(h):
        h.mkdir("repo")
        h.git("init", "-q", "repo")
        h.write("repo/a")
        h.commit("a", at="repo")
        h.write("repo/b")
        h.commit("b", at="repo")

    def left(h):
        h.mv("repo", "renamed")
        h.git("gc", "-q", at="renamed")
        h.write("renamed/l")
        h.commit("l", at="renamed")

    def right(h):
        h.write("repo/r")
        h.commit("r", at="repo")
        h.git("clone", "-q", h.at("repo"), h.at("clone"))
    return three(base, left, right)


@story
def repository_removed():
    def base(h):
        h.mkdir("repo")
        h.git("init", "-q", "repo")
        h.write("repo/a")
        h.commit("a", at="repo")

    def right(h):
        h.write("repo/r")
        h.commit("r", at="repo")
    return three(base, lambda h: h.rm("repo"), right)


@story
def repository_made_on_both():
    def side(h):
        h.git("init", "-q", "proj")
        h.commit(".", at="proj")
        h.write("proj/more")
        h.commit("more", at="proj")
    return three(lambda h: h.tree("proj", 1), side, side)


@story
def repository_became_a_submodule():
    def base(h):
        for r in "in", "out":
            h.mkdir(r)
            h.git("init", "-q", r)
            h.write(f"{r}/a")
            h.commit("a", at=r)

    def left(h):
        h.mv("in", "out/in")
        h.write("out/in/l")
        h.commit("l", at="out/in")

    def right(h):
        h.write("in/r")
        h.commit("r", at="in")
        h.write("out/r")
        h.commit("r", at="out")
    return three(base, left, right)


@story
def repository_rebuilt():
    def base(h):
        h.git("init", "-q", ".")
        h.write("a")
        h.commit("a")

    def left(h):
        h.rm(".git")
        h.git("init", "-q", ".")
        h.commit("a")

    def right(h):
        h.add("a")
        h.commit("a")
    return three(base, left, right)


@story
def file_became_directory():
    def left(h):
        h.rm("x")
        h.write("x/y")
        h.mv("d", "e")

    def right(h):
        h.add("x")
        h.rm("d")
        h.write("d")
    return three(lambda h: (h.write("x"), h.tree("d", 1)), left, right)


@story
def folders_reorganised():
    """By year here, by kind there."""
    def base(h):
        for i in range(12):
            h.write(f"photos/img{i}")

    def left(h):
        for i in range(12):
            h.mkdir(f"photos/20{i:02}")
            h.mv(f"photos/img{i}", f"photos/20{i:02}/img{i}")

    def right(h):
        for i in range(12):
            os.makedirs(h.at(f"photos/kind{i % 3}"), exist_ok=True)
            h.mv(f"photos/img{i}", f"photos/kind{i % 3}/img{i}")
        h.add("photos/kind0/img0")
    return three(base, left, right)


@story
def directory_emptied_into_new_one_of_its_name():
    def left(h):
        h.mv("work", "work.old")
        h.mkdir("work")
        h.mv("work.old/file0", "work/file0")
        h.write("work/l")

    def right(h):
        h.add("work/file0")
        h.add("work/file1")
        h.write("work/r")
    return three(lambda h: h.tree("work", 2), left, right)


@story
def synchronised_by_rsync():
    def base(h):
        h.tree("src", 2)
        h.tree("dst", 2)

    def left(h):
        h.add("src/file0")
        subprocess.run(["rsync", "-a", "--delete", h.at("src") + "/", h.at("dst") + "/"], check=True)

    def right(h):
        h.save("src/file1")
        subprocess.run(["rsync", "-a", "--inplace", "--delete", h.at("src") + "/", h.at("dst") + "/"], check=True)
    return three(base, left, right)


@story
def same_name_made_deep_on_both():
    def side(who):
        def work(h):
            h.write(f"a/b/c/d/e/{who}")
            h.write("a/b/c/d/e/both")
            h.write("a/b/both")
            h.mkdir("a/b/c/q")
        return work
    return three(lambda h: h.write("x"), side("l"), side("r"))


@story
def merged_directory_moved_on():
    def left(h):
        h.write("new/l")
        h.mv("new", "there")
        h.write("new/l2")

    def right(h):
        h.write("new/r")
        h.write("there/r")
        h.mv("old", "there/old")
    return three(lambda h: h.tree("old", 2), left, right)


@story
def logs_and_rotation():
    def left(h):
        h.mv("app.log", "app.log.1")
        h.write("app.log")

    def right(h):
        h.add("app.log", 5)
    return three(lambda h: h.write("app.log"), left, right)


@story
def removed_twice_and_made_again():
    def left(h):
        h.rm("d")
        h.write("d/file0")
        h.rm("d")
        h.write("d/dir0/file0")

    def right(h):
        h.rm("d/dir0")
        h.write("d/dir0")
        h.add("d/file1")
    return three(lambda h: h.tree("d", 2), left, right)


def run(which, root):
    side = ["base", "left", "right"].index(which)
    for name, parts in STORIES.items():
        place = os.path.join(root, name)
        os.makedirs(place, exist_ok=True)
        parts[side](Hand(place, which))


def note(root, out):
    found = set()
    for folder, _, files in os.walk(root):
        for name in files:
            path = os.path.join(folder, name)
            if os.path.islink(path):
                continue
            with open(path, "rb") as f:
                data = f.read()
            name = os.path.relpath(path, root).split("/")[0]
            if any(p.startswith(".git") for p in path.split("/")):
                found.add(f"{name} object {hashlib.sha256(data).hexdigest()} {os.path.relpath(path, root)}")
            else:
                found.update(f"{name} line {line}" for line in data.decode().splitlines())
    with open(out, "w") as f:
        f.writelines(x + "\n" for x in sorted(found))


def noted(path):
    """What identifies it: what to say of it. Of an object that is not where it lies."""
    with open(path) as f:
        lines = [line.strip() for line in f]
    return {" ".join(line.split()[:3]) if line.split()[1] == "object" else line: line for line in lines}


def check(root, base, left, right, now):
    note(root, now)
    base, left, right, now = (noted(x) for x in (base, left, right, now))
    bad = 0
    for key, text in {**left, **right}.items():
        mine = key not in base  # somebody made it
        both = key in left and key in right
        if (mine or both) and key not in now:
            print("lost:", text, file=sys.stderr)
            bad += 1
    sys.exit(bad > 0)


cmd, args = sys.argv[1], sys.argv[2:]
if cmd == "note":
    note(*args)
elif cmd == "check":
    check(*args)
else:
    run(cmd, args[0])
