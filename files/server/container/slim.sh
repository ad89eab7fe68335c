#!/bin/sh
# Leaves of this system what a running server needs, the same to the second each time, and prints its
# size. What goes: packages that nothing wanted depends on, with apt and dpkg among them, documentation,
# character sets, logs, caches. What stays: licences, and the list of packages, which scanners read.
set -eu

# For whoever looks into a container there are a shell and the core utilities. Wheels may count on the
# C++ library being there (PEP 600).
wanted="python3 ca-certificates base-files base-passwd coreutils dash libc-bin libstdc++6 tzdata $CAMERA_PACKAGES"
# Nothing is installed any more; what names these as dependencies needs them for that alone.
installers="debconf dpkg perl-base tar"
# Drivers that draw on a screen. They are loaded only where there is one, and are a third of the image.
screen=$(dpkg-query --show --showformat='${Package}\n' 'libgl1-mesa-dri' 'libllvm*' 'libz3-*' 'mesa-libgallium' 2>/dev/null || true)
# shellcheck disable=SC2086 # Lists of names.
apt-cache depends --recurse --important --installed $wanted | grep '^[a-z]' | sort -u >/tmp/needed
dpkg-query --show --showformat='${Package}\n' | sort -u >/tmp/installed
# shellcheck disable=SC2086 # A list of names.
unneeded=$(comm -13 /tmp/needed /tmp/installed && printf '%s\n' $installers $screen)

# The tools for what follows, which are about to go; nor are the scripts run for what goes.
mkdir /tmp/tools
cp "$(command -v awk)" "$(command -v find)" /tmp/tools
find /var/lib/dpkg/info -name '*.p*rm' -delete
# shellcheck disable=SC2086 # A list of names.
dpkg --purge --force-all $unneeded >/tmp/purged 2>&1 || { cat /tmp/purged; exit 1; }
PATH=$PATH:/tmp/tools
rm -rf /etc/apt /var/cache/* /var/lib/apt /var/lib/dpkg/info /var/log/* \
    /usr/lib/*/gconv /usr/lib/python3*/pydoc_data /usr/lib/python3*/test \
    /usr/share/bash-completion /usr/share/info /usr/share/lintian /usr/share/locale /usr/share/man
find /usr/lib/python3/dist-packages -type d -name tests -prune -exec rm -rf {} +
find /usr/share/doc -type f ! -name copyright -delete
find /usr/share/doc -type d -empty -delete

awk -v RS= -F '\n' '{
    size = name = installed = ""
    for (i = 1; i <= NF; i++) {
        if ($i ~ /^Package: /) name = substr($i, 10)
        if ($i ~ /^Installed-Size: /) size = substr($i, 17)
        if ($i ~ / installed$/) installed = 1
    }
    if (installed) printf "%9d kB  %s\n", size, name
}' /var/lib/dpkg/status | sort -rn >/tmp/sizes
echo "== The system's part of the image: $(du -sxm / | cut -f 1) MB, $(wc -l </tmp/sizes) packages; the largest:"
head -n 5 /tmp/sizes

# What was made here carries the time of the build; packages' own files keep theirs. Two files are the
# builder's while it builds, and BuildKit has them read-only.
find / -xdev -path /dev -prune -o -path /proc -prune -o -path /sys -prune -o \
    -path /etc/hosts -prune -o -path /etc/resolv.conf -prune -o \
    -newer /container/began -exec touch --no-dereference --date="@$SOURCE_DATE_EPOCH" {} +
rm -rf /container /tmp/* /var/tmp/*
touch --date="@$SOURCE_DATE_EPOCH" / /tmp /var/tmp
