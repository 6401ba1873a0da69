#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# The main job on bundled input, as a user does it: a west workspace whose manifest lists this
# project, and `west viommu-list`, `-bind` and `-assign` in it. Run it by `make demo`.
set -eu
cd "$(dirname "$0")/.."
checkout=$PWD
west=$checkout/.venv/bin/west

rm -rf .demo
mkdir -p .demo
cp -R samples/demo .demo/app
# Where `west update` would put the project; this checkout stands in for the download.
ln -s "$checkout" .demo/west-viommu
cd .demo
"$west" --quiet init -l app
cd app

run() {
    printf '\n$ west %s\n' "$*"
    "$west" "$@"
}

run viommu-list --host host.dts
run viommu-bind --host host.dts guest.overlay
printf '\n$ cat viommu/viommu.overlay\n'
cat viommu/viommu.overlay

# In place of a guest's kernel: the header of an arm64 Image, 4 KiB, whose first instruction is a
# branch to itself.
{
    printf '\000\000\000\024\000\000\000\000\000\000\000\000\000\000\000\000'
    printf '\000\020\000\000\000\000\000\000\012\000\000\000\000\000\000\000'
    head -c 24 /dev/zero
    printf 'ARM\144\000\000\000\000'
    head -c 4032 /dev/zero
} >Image
run viommu-assign --host host.dts --profile xen --kernel Image -o guest1 ethernet@100000

cat <<END

That was a host tree of ours. With the tree that your Xen is booted with, in this folder ($checkout):

    .venv/bin/viommu list --host YOUR.dtb --passable
    .venv/bin/viommu assign --host YOUR.dtb --profile xen --kernel Image NODE

The second writes all that Xen needs to boot a guest with that device, as guest1/ here; Image is your
guest's kernel. docs/tutorial.md goes on from there.
END
