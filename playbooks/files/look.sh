# shellcheck shell=sh
# What bootstrap has to know of a device before it does anything, in one round trip and without
# Python. It only looks, as any user. It prints lines `look NAME=VALUE`; what cannot be found out
# has an empty value. The playbook writes two variables in front: `python`, the interpreter that
# Ansible will use, and `now`, the controller's clock in seconds since 1970.
# shellcheck disable=SC2154
exec 2>/dev/null
PATH=$PATH:/usr/local/sbin:/usr/sbin:/sbin

tell() { printf 'look %s=%s\n' "$1" "$2"; }

tell python "$("$python" -c 'import sys; print("%d.%d" % sys.version_info[:2])')"
tell clock_ahead "$(($(date +%s) - now))"
tell memory_mb "$(awk '$1 == "MemTotal:" { print int($2 / 1024) }' /proc/meminfo)"

# What is mounted last at / is the root. A container's is an overlay too, but one that lasts.
root=$(awk '$2 == "/" { root = substr($4, 1, 2) " " $3 " " $1 } END { print root }' /proc/mounts)
case "$root  $(cat /proc/cmdline) " in
    ??" overlay overlayroot "* | ??" overlay "*" boot=overlay "* | ??" overlay "*" overlayroot="*) tell root overlay ;;
    *) tell root "${root%% *}" ;;
esac

# POSIX locks are known by process, device and inode. The device is split as in gnu_dev_major(3).
holders=$(
    for file in /var/lib/dpkg/lock-frontend /var/lib/dpkg/lock /var/lib/apt/lists/lock /var/cache/apt/archives/lock; do
        device=$(stat -c %d "$file") || continue
        inode=$(stat -c %i "$file") || continue
        lock=$(printf '%02x:%02x:%d' "$((device >> 8 & 0xfff))" "$((device & 0xff | device >> 12 & 0xfff00))" "$inode")
        awk -v lock="$lock" '$2 == "POSIX" && $6 == lock { print $5 }' /proc/locks
    done | sort -un | while read -r pid; do
        printf '%s (process %s)\n' "$(cat "/proc/$pid/comm")" "$pid"
    done
    for unit in apt-daily.service apt-daily-upgrade.service; do
        [ "$(systemctl show --value --property=ActiveState "$unit")" = activating ] && echo "$unit"
    done
)
tell apt_holders "$(echo "$holders" | paste -sd, | sed 's/,/, /g')"

# A cloud-init that was installed after this boot has not been enabled, and will not finish.
cloud_init=
[ -e /run/cloud-init/enabled ] && cloud_init=$(command -v cloud-init)
tell cloud_init "$cloud_init"

# The interface of the default route; iw answers only for one that is Wi-Fi.
interface=$(ip route show default | awk '{ for (i = 1; i < NF; i++) if ($i == "dev") { print $(i + 1); exit } }')
tell interface "$interface"
tell wifi_power_save "$(iw dev "$interface" get power_save | awk '/^Power save:/ { print $3 }')"
tell network_manager "$(systemctl show --value --property=ActiveState NetworkManager.service)"

if [ -e /sys/fs/cgroup/cgroup.controllers ]; then
    tell memory_cgroup "$(grep -qw memory /sys/fs/cgroup/cgroup.controllers && echo on || echo off)"
else
    tell memory_cgroup "$(awk '$1 == "memory" { on = $4 } END { print on ? "on" : "off" }' /proc/cgroups)"
fi

# journald removes the folder in /run when it keeps the journal. Inside may look who is in its group.
machine=$(cat /etc/machine-id)
journal=volatile
[ -d "/var/log/journal/$machine" ] && [ ! -d "/run/log/journal/$machine" ] && journal=persistent
tell journal "$journal"

# Bit 0 is under-voltage now, bit 16 since the boot.
throttled=$(vcgencmd get_throttled)
case $throttled in
    throttled=0x*) tell under_voltage "$((${throttled#*=} & 0x10001))" ;;
    *) tell under_voltage "" ;;
esac

# Where the firmware's files are. In the older place newer systems leave files that say so.
boot=
for folder in /boot/firmware /boot; do
    [ -z "$boot" ] && [ -e "$folder/cmdline.txt" ] && [ -e "$folder/config.txt" ] && boot=$folder
done
tell boot "$boot"
tell cmdline_lines "$(grep -c '[^[:space:]]' "$boot/cmdline.txt")"
tell cmdline "$(grep -m1 '[^[:space:]]' "$boot/cmdline.txt")"
tell overlays "$(sed -n 's/^[[:space:]]*dtoverlay=\([^[:space:]]*\).*/\1/p' "$boot/config.txt" | paste -sd' ')"
