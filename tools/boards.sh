#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# Brings the blobs of all boards that Debian's kernel for arm64 has into the folder $1, on a Debian
# of any architecture: `sh tools/boards.sh boards`. It needs no root, and neither adds an
# architecture to this machine's apt nor installs anything. The kernel is that of trixie-backports,
# with which docs/tutorial.md was run, or of the release $2.
set -eu
if [ $# != 1 ] && [ $# != 2 ]; then
    echo "usage: sh $0 FOLDER [RELEASE]" >&2
    exit 2
fi
release=${2:-trixie-backports}
mkdir -p "$1"
folder=$(cd "$1" && pwd)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

# The archive that this machine's own packages come from.
# shellcheck disable=SC2016 # apt-get expands it
archive=$(apt-get indextargets --format '$(REPO_URI)' 'Created-By: Packages' 'Label: Debian' |
    head -n 1)
if [ -z "$archive" ]; then
    echo "no archive of Debian is in apt's sources, or apt-get update was never run" >&2
    exit 1
fi

mkdir -p "$work/lists/partial" "$work/archives/partial"
: >"$work/status"
echo "deb [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] $archive $release main" \
    >"$work/sources.list"
cat >"$work/apt.conf" <<END
APT::Architecture "arm64";
APT::Architectures "arm64";
APT::Sandbox::User "$(id -un)";
Dir::State "$work";
Dir::State::Status "$work/status";
Dir::Cache "$work";
Dir::Etc::SourceList "$work/sources.list";
Dir::Etc::SourceParts "/dev/null";
END
export APT_CONFIG="$work/apt.conf"
cd "$work"
apt-get update -qq
# The newest kernel. Its blobs are in a package of their own since 7.2, before in that of its image.
image=$(apt-cache depends linux-image-arm64 | sed -n 's/.*Depends: \(linux-image-[0-9].*\)/\1/p')
base=$(apt-cache depends "$image" | sed -n 's/.*Depends: \(linux-base-[0-9].*\)/\1/p')
apt-get download -q "${base:-$image}"
dpkg-deb -x ./*.deb unpacked
find unpacked -name '*.dtb' -exec cp '{}' "$folder" ';'
echo "$(find "$folder" -name '*.dtb' | wc -l) blobs are in $folder"
