#!/bin/sh
# Makes the root file system of the image: rootfs.sh BINARY DIRECTORY.
#
# The Dockerfile runs it, and so does tests/tests/deployment/image.rs, which then runs a hub in what it made. It holds the
# hub, the shared objects that it is linked with, certificate authorities, and what name resolution reads. No shell, no
# package manager, nothing that anybody could write to. Debian 12 or newer: since 2.34 glibc resolves names by itself, before
# it loaded libraries that ldd does not show.
set -eu
umask 022
binary=$1
root=$2
image=$(dirname "$0")

fail() {
    echo "rootfs.sh: $1" >&2
    exit 1
}

[ ! -e "$root" ] || fail "$root is there already"
# Where the runtime mounts its file systems: a read-only root has to have them.
mkdir -p "$root/dev" "$root/proc" "$root/sys"

# Names of functions stay (4 of 25 MB): profiles have them from the process itself. Lines and types go (70 MB), and names of
# what is no function (1 MB).
strip --strip-debug --wildcard --strip-symbol='GCC_except_table*' --strip-symbol='anon.*' -o "$root/rivulet" "$binary"
chmod 755 "$root/rivulet"

# The loader stands in ldd's output without an arrow, the kernel's object without a path.
objects=$(ldd "$binary" | awk '$2 == "=>" { print $3 } $1 ~ /^\// { print $1 }')
for object in $objects; do
    [ -e "$object" ] || fail "$binary needs $object, which is not here"
    install -D -m 755 "$object" "$root$object"
done

install -D -m 644 /etc/ssl/certs/ca-certificates.crt "$root/etc/ssl/certs/ca-certificates.crt"
install -D -m 644 "$image/rivulet.toml" "$root/etc/rivulet/rivulet.toml"
# The orchestrator writes /etc/hosts, so that it is asked first: what glibc does by itself depends on its version.
echo 'hosts: files dns' >"$root/etc/nsswitch.conf"
echo 'rivulet:x:65532:65532:Rivulet:/:/nonexistent' >"$root/etc/passwd"
echo 'rivulet:x:65532:' >"$root/etc/group"

# What scanners and licences want to know: which packages of which Debian these files are from. The directory is the one
# where scanners look in images without a package manager.
install -D -m 644 /etc/os-release "$root/etc/os-release"
mkdir -p "$root/var/lib/dpkg/status.d"
for package in ca-certificates libc6 libgcc-s1; do
    dpkg-query --status "$package" >"$root/var/lib/dpkg/status.d/$package"
    install -D -m 644 "/usr/share/doc/$package/copyright" "$root/usr/share/doc/$package/copyright"
done
install -D -m 644 -t "$root/usr/share/doc/rivulet" "$image/../../../LICENSE-APACHE" "$image/../../../LICENSE-MIT"

# The same input makes the same files, to the second.
find "$root" -exec touch --no-dereference --date="@${SOURCE_DATE_EPOCH:-0}" {} +
