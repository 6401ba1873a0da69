#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# Brings what the boot tests need and a Debian does not install, into .venv/xen:
#
#   boot/xen-*-arm64          Debian's Xen
#   smmu/xen                  the same, built of Debian's source with its SMMUv3 driver
#   qemu/qemu-system-aarch64  a QEMU whose SMMUv3 does stage 2
#   dom0/                     a kernel and Xen's tools, for a dom0
#   xlutil/                   libxlutil of this machine's architecture: xl's reader of xl.cfg
#
# What is there stays as it is, and what cannot be brought is named at the end, after the rest. Run
# it by `make boot-tools`, after tools/setup.sh boot.
set -eu
cd "$(dirname "$0")/.."
if [ $# = 0 ]; then
    failed=""
    for name in boot smmu qemu dom0 xlutil; do
        sh tools/boot-tools.sh "$name" || failed="$failed $name"
    done
    if [ -n "$failed" ]; then
        echo "not brought, so that the tests that need it are skipped:$failed"
        exit 1
    fi
    exit
fi
name=$1
xen=$PWD/.venv/xen
if [ -e "$xen/$name" ]; then
    exit
fi
# Xen's makefile takes no path with a space.
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

# The archive that this machine's own packages come from, and its release: "URI CODENAME".
# shellcheck disable=SC2016 # apt-get expands them
archive=$(apt-get indextargets --format '$(REPO_URI) $(CODENAME)' 'Created-By: Packages' \
    'Label: Debian' | head -n 1)

# apt_at FOLDER [SOURCE...]: apt gets a configuration and lists of its own there, so that this
# machine's does not come to know other architectures or releases. Each SOURCE is a kind and what to
# append to the release's name; without any, the sources are this machine's.
apt_at() {
    folder=$1
    shift
    mkdir -p "$folder/lists/partial" "$folder/archives/partial"
    cat >"$folder/apt.conf" <<END
APT::Sandbox::User "root";
Dir::State::Lists "$folder/lists";
Dir::Cache "$folder";
END
    if [ $# -gt 0 ]; then
        cat >>"$folder/apt.conf" <<END
Dir::Etc::SourceList "$folder/sources.list";
Dir::Etc::SourceParts "/dev/null";
END
    fi
    for source in "$@"; do
        echo "${source%:*} [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg]" \
            "$archive${source#*:} main"
    done >"$folder/sources.list"
    export APT_CONFIG="$folder/apt.conf"
}

# The same for packages of arm64, with nothing installed.
apt_for_arm64_at() {
    apt_at "$1"
    : >"$1/status"
    cat >>"$1/apt.conf" <<END
APT::Architecture "arm64";
APT::Architectures "arm64";
Dir::State::Status "$1/status";
END
    apt-get update -q
}

# What the package $1 needs whose name fits $2.
needed_by() {
    apt-cache depends "$1" | sed -n "s/.*Depends: \\($2\\)\$/\\1/p"
}

# Unpacks all packages that are here into the folder $1.
unpack_into() {
    for package in ./*.deb; do
        dpkg-deb -x "$package" "$1"
    done
}

# Each of these fills $work/NAME, which becomes $xen/NAME when it is whole.

bring_boot() (
    apt_for_arm64_at "$work/apt"
    cd "$work/apt"
    # Its version is part of its name.
    apt-get download -q "$(needed_by xen-system-arm64 'xen-hypervisor-.*-arm64')"
    unpack_into .
    mv boot "$work"
)

bring_smmu() (
    apt_at "$work/apt" deb-src:
    cd "$work/apt"
    apt-get update -q
    apt-get source -q --download-only xen
    dpkg-source --no-check -x ./xen_*.dsc source >/dev/null
    cd source/xen
    build() {
        make -s -j"$(nproc)" XEN_TARGET_ARCH=arm64 CROSS_COMPILE=aarch64-linux-gnu- "$@" \
            >"$work/make.log" 2>&1 || {
            cat "$work/make.log"
            exit 1
        }
    }
    build defconfig
    printf 'CONFIG_EXPERT=y\nCONFIG_ARM_SMMU_V3=y\n' >>.config
    build olddefconfig
    grep -q '^CONFIG_ARM_SMMU_V3=y' .config
    build
    mkdir "$work/smmu"
    cp xen .config "$work/smmu"
)

bring_qemu() (
    mkdir -p "$work/qemu"
    version=$(qemu-system-aarch64 --version | sed -n 's/.* version \([0-9.]*\).*/\1/p')
    if dpkg --compare-versions "$version" ge 8.1; then
        ln -s "$(command -v qemu-system-aarch64)" "$work/qemu"
        exit
    fi
    apt_at "$work/apt" deb: deb:-backports
    cd "$work/apt"
    apt-get update -q
    # With all that it needs and this machine lacks.
    apt-get install -q -y --download-only --no-install-recommends \
        -t "${archive#* }-backports" qemu-system-arm
    cd archives
    unpack_into "$work/qemu"
    # Its libraries and modules are not where it looks for them.
    cat >"$work/qemu/qemu-system-aarch64" <<'END'
#!/bin/sh
root=$(dirname "$0")
libraries=$(echo "$root"/usr/lib/*-linux-gnu)
LD_LIBRARY_PATH=$libraries QEMU_MODULE_DIR=$libraries/qemu \
    exec "$root/usr/bin/qemu-system-aarch64" -L "$root/usr/share/qemu" "$@"
END
    chmod +x "$work/qemu/qemu-system-aarch64"
)

bring_dom0() (
    apt_for_arm64_at "$work/apt"
    mkdir "$work/apt/kernel" "$work/dom0"
    cd "$work/apt/kernel"
    apt-get download -q "$(needed_by linux-image-arm64 'linux-image-.*')"
    dpkg-deb --fsys-tarfile ./*.deb |
        tar -x --wildcards './boot/vmlinuz-*' '*/kernel/drivers/xen/*'
    mv boot/vmlinuz-* "$work/dom0/vmlinuz"

    # The tools' libraries, and theirs, but no Python, which xl does without.
    cd "$work/apt"
    tools=$(needed_by xen-system-arm64 'xen-utils-.*[0-9]')
    # shellcheck disable=SC2046 # each name is a word
    libraries=$(apt-cache depends --recurse --important $(needed_by "$tools" 'lib.*') |
        sed -n 's/^\(lib.*\|zlib1g\)$/\1/p' | sort -u)
    # shellcheck disable=SC2086
    apt-get download -q busybox-static "$tools" $libraries
    root=$work/apt/root
    unpack_into "$root"
    mkdir "$root/modules"
    find kernel -name '*.ko.xz' -exec unxz {} +
    find kernel -name '*.ko' -exec mv {} "$root/modules" \;
    cd "$root"
    # Packages from trixie on have all of it in /usr, those of bookworm some.
    for folder in bin sbin lib; do
        mkdir -p "$folder" "usr/$folder"
        cp -a "$folder/." "usr/$folder"
        rm -r "$folder"
        ln -s "usr/$folder" "$folder"
    done
    rm -rf usr/share usr/lib/*/gconv
    find . | cpio -o -H newc -R 0:0 --quiet | gzip -1 >"$work/dom0/root.cpio.gz"
)

bring_xlutil() (
    apt_at "$work/apt"
    : >"$work/apt/status"
    cat >>"$work/apt/apt.conf" <<END
Dir::State::Status "$work/apt/status";
END
    cd "$work/apt"
    apt-get update -q
    library=$(apt-cache search --names-only '^libxenmisc[0-9]' | sed -n '1s/ .*//p')
    # shellcheck disable=SC2046 # each name is a word
    apt-get download -q $(apt-cache depends --recurse --important "$library" |
        sed -n 's/^\(libxen.*\|libyajl.*\)$/\1/p' | sort -u)
    unpack_into "$work/xlutil"
)

echo "bringing $xen/$name"
mkdir -p "$xen"
"bring_$name"
# From another file system, not at once.
rm -rf "$xen/$name.new"
mv "$work/$name" "$xen/$name.new"
mv "$xen/$name.new" "$xen/$name"
