#!/bin/bash
# SPDX-License-Identifier: MIT
# acl_answers.sh DIR: commands about ACLs and xattrs in the empty directory DIR, with their answers and exit codes. The
# answers are the same on every filesystem that has ACLs: run it on ext4 and on a mount, and compare. Wants root and acl.
set -u
cd "$1" || exit
umask 022
u() { setpriv --reuid 1001 --regid 1002 --clear-groups "$@"; }
w() { setpriv --reuid 1003 --regid 1004 --clear-groups "$@"; }
r() {
	echo "\$ $*"
	"$@" 2>&1 | sed "s#$PWD#.#"
	echo "= ${PIPESTATUS[0]}"
}
chmod 755 .
touch f; mkdir d; ln -s f l; mkfifo p
r setfacl -m u:1001:rw f; r getfacl -n f; r stat -c %a f
r u sh -c 'echo hi >> f'; r w sh -c 'echo no >> f'
r chmod 600 f; r getfacl -n f; r u sh -c 'cat f'
r chmod 660 f; r getfacl -n f; r u sh -c 'cat f'
r setfacl -m m::r f; r stat -c %a f; r u sh -c 'echo x>>f'
r setfacl -x u:1001 f; r getfacl -n f; r setfacl -b f; r getfacl -n f; r stat -c '%a %A' f
r getfattr -d -m - f
r setfacl -d -m u:1001:rwx,g::rx,o::- d; r getfacl -n d
for um in 000 022 077; do
	umask $um
	touch d/f$um; mkdir d/d$um; mkfifo d/p$um; mknod d/c$um c 1 3; ln -s x d/l$um
done
umask 022
for x in d/f* d/d* d/p* d/c*; do r getfacl -n $x; r stat -c '%a %A' $x; done
r stat -c '%A' d/l022
r getfattr -d -m - d
r setfacl -k d; r getfacl -n d
r setfacl -d -m u:1001:rwx f; r setfacl -m u:1001:rwx -h l; r setfacl -m u:1001:r p; r getfacl -n p
r setfacl -x u:1002 f; r setfacl -x m:: f
r u setfacl -m u:1001:rwx f
chown 1001:1002 f; chmod 2770 f; r stat -c %a f
r u setfacl -m u:1003:rwx f; r stat -c %a f
r w sh -c 'cat f'; r w setfacl -m u:1003:r f
chown 1001:0 f; chmod 2770 f; r stat -c %a f; r u setfacl -m u:1003:rx f; r stat -c %a f; r getfacl -n f
chmod 2770 f; r u setfacl -b f; r stat -c %a f
mkdir s; chown 1001:1002 s; chmod 2775 s; setfacl -d -m g:1004:rwx s; r u mkdir s/x; r u touch s/y; r getfacl -n s/x; r getfacl -n s/y; r stat -c '%a %u %g' s/x s/y
cp -a d d2; r getfacl -n d2
cp -p s/y y2; r getfacl -n y2
python3 - <<'P'
import os,errno
def t(n,f,*a):
    try: print(n, f(*a))
    except OSError as e: print(n, errno.errorcode[e.errno])
A="system.posix_acl_access"; D="system.posix_acl_default"
open("z","w").close()
def acl(*e): return b"\2\0\0\0"+b"".join(t.to_bytes(2,"little")+p.to_bytes(2,"little")+i.to_bytes(4,"little") for t,p,i in e)
n=0xffffffff
good=acl((1,7,n),(2,7,1001),(4,5,n),(16,7,n),(32,0,n))
t("good",os.setxattr,"z",A,good)
print(oct(os.stat("z").st_mode))
t("get",os.getxattr,"z",A)
t("list",lambda: sorted(os.listxattr("z")))
t("bad1",os.setxattr,"z",A,good[:-1]); t("bad2",os.setxattr,"z",A,b"\3"+good[1:]); t("bad3",os.setxattr,"z",A,b"")
t("list",lambda: sorted(os.listxattr("z")))
t("bad4",os.setxattr,"z",A,acl((1,7,n)))
t("bad5",os.setxattr,"z",A,acl((1,7,n),(2,7,5),(4,5,n),(32,0,n)))
t("empty",os.setxattr,"z",A,acl())
t("rm absent",os.removexattr,"z",D)
t("rm absent",os.removexattr,"z",A)
t("get",os.getxattr,"z",A)
t("create",os.setxattr,"z",A,good,os.XATTR_CREATE)
t("create",os.setxattr,"z",A,good,os.XATTR_CREATE)
t("replace",os.setxattr,"z",D,good,os.XATTR_REPLACE)
t("rm",os.removexattr,"z",A)
print(oct(os.stat("z").st_mode))
for k in ["system.foo","foo","foo.bar","user.","user","trusted.","security.","trusted.x","security.x","user.x","", "user."+"k"*250,"user."+"k"*251,"system.posix_acl_x"]:
    t("set "+k[:12],os.setxattr,"z",k,b"v"); t("get "+k[:12],os.getxattr,"z",k); t("rm "+k[:12],os.removexattr,"z",k)
for n in (3000,):
    t("big",os.setxattr,"z","user.b",b"x"*n)
t("too big",os.setxattr,"z","user.b",b"x"*65537)
for p in ("p","l"):
    t(p,lambda:os.setxattr(p,"user.x",b"v",follow_symlinks=False)); t(p,lambda:os.setxattr(p,"trusted.x",b"v",follow_symlinks=False)); t(p,lambda:os.getxattr(p,"user.x",follow_symlinks=False)); t(p,lambda:os.listxattr(p,follow_symlinks=False))
t("trusted",os.setxattr,"z","trusted.secret",b"1")
os.chmod("z",0o666)
pid=os.fork()
if pid==0:
    os.setgid(1002); os.setuid(1001)
    t("user list",lambda: sorted(os.listxattr("z"))); t("user get trusted",os.getxattr,"z","trusted.secret"); t("user set trusted",os.setxattr,"z","trusted.a",b""); t("user set security",os.setxattr,"z","security.a",b""); t("set user",os.setxattr,"z","user.q",b"1")
    t("user setacl",os.setxattr,"z",A,good)
    os._exit(0)
os.wait()
t("list",lambda: sorted(os.listxattr("z")))
P
