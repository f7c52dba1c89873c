#!/bin/busybox sh
# shellcheck disable=SC3045  # busybox's read knows -t
# The node's side of the hello protocol, version 2 (docs/protocols/hello.md).
#
# init starts it with the manager's connection as standard input and output.  It ends with status 0 when the
# manager said BOOT and the card's system is mounted at /mnt, with 1 when it failed: then init calls again.
# Only the one card is ever written to, and only after the word FORMAT.  An installation is a process of its own
# and goes on when the conversation breaks: then this script calls again by itself and shows the order's token.

card=${card:-/dev/mmcblk0}
root=/mnt
scratch=/tmp
sysfs=/sys
devicetree=/proc/device-tree

# Sectors of 512 bytes.  The first partition stays small and without boot files: a Raspberry Pi 3 would start
# from it and not ask the manager any more.
BOOT_START=8192
BOOT_SECTORS=90112
ROOT_START=98304

ANSWER_SECONDS=600
CHUNK_SECONDS=60
SILENCE_SECONDS=300

# What is said to the manager goes through descriptor 8, what the commands below print to the console.

say() {
    echo "piman: $*" >&2
}

send() {
    echo "$*" >&8
} 2>/dev/null

# Text that can stand in JSON.
plain() {
    tr -cd 'A-Za-z0-9 .,:;/%()+_=-' | cut -c 1-180
}

progress() {
    say "$3"
    send "PROGRESS {\"step\":\"$1\",\"fraction\":$2,\"text\":\"$(echo "$3" | plain)\"}"
}

# Ends the order that is being carried out.  The code is for programs (docs/protocols/hello.md), the reason in plain
# words; "true" as the third argument says that trying again cannot help.
fail() {
    say "$2"
    send "FAILED {\"code\":\"$1\",\"reason\":\"$(echo "$2" | plain)\",\"fatal\":${3:-false}}"
    exit 1
}

# The value of a key in a flat line of JSON.
field() {
    echo "$1" | sed -n "s/.*\"$2\": *\"\{0,1\}\([^\",}]*\).*/\1/p"
}

# The card.

is_block_device() {
    [ -b "$1" ]
}

partition() {
    case $card in
        *[0-9]) echo "${card}p$1" ;;
        *) echo "$card$1" ;;
    esac
}

card_bytes() {
    echo $(($(cat "$sysfs/block/${card##*/}/size" 2>/dev/null || echo 0) * 512))
}

wait_for() {
    for _ in 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20; do
        if is_block_device "$1"; then return; fi
        sleep 1
    done
    return 1
}

# Why the card must not be written to, a code and a reason; nothing when it may.
objection() {
    disk=$sysfs/block/${card##*/}
    if ! is_block_device "$card"; then
        echo "no-card there is no card at $card: is it in its slot?"
    elif [ ! -d "$disk" ]; then
        echo "wrong-card $card is not a whole disk"
    elif ! is_removable "$disk"; then
        echo "wrong-card $card is neither an SD card nor eMMC nor a removable disk: not touched"
    elif [ "$(card_bytes)" -lt $(((ROOT_START + 65536) * 512)) ]; then
        echo "card-too-small the card at $card holds only $(card_bytes) bytes"
    elif grep -q "^$card" /proc/mounts; then
        echo "wrong-card $card is in use"
    fi
}

is_removable() {
    case $(cat "$1/device/type" 2>/dev/null) in SD | MMC) return 0 ;; esac
    [ "$(cat "$1/removable" 2>/dev/null)" = 1 ]
}

# What is on the card.  The marker .piman-installing is there from before the first file until the image was
# verified; then it becomes .piman-installed, which holds the image's digest.  A system without either was put
# there by other means and is left alone.

# Whenever it cannot be told what is on a card that is there, the node says "installed": then nobody formats it
# unasked, and BOOT fails with the reason.

mount_root() {
    mount -t ext4 -o "$1" "$(partition 2)" "$root" 2>/dev/null
}

look_at_card() {
    installed=false
    digest=
    card_was_seen=no
    wait_for "$card" || return 0
    card_was_seen=yes
    if ! read_card; then
        installed=true
        say "the card at $card cannot be read"
    elif has_root_partition; then
        look_at_root
    fi
}

read_card() {
    dd if="$card" of=/dev/null bs=512 count=1 2>/dev/null
}

# Whether the card's own table names a second partition: the kernel may still be looking for it.
has_root_partition() {
    /sbin/sfdisk --dump "$card" 2>/dev/null | grep -q "^$(partition 2) "
}

look_at_root() {
    wait_for "$(partition 2)"
    if mount_root ro; then
        if system_is_whole; then
            installed=true
            digest=$(text_of "$root/.piman-installed")
        fi
        umount "$root"
    elif blkid "$(partition 2)" | grep -q 'TYPE="ext4"'; then
        installed=true
        say "the file system on $(partition 2) cannot be mounted: it is left alone until somebody orders a reinstall"
    fi
}

system_is_whole() {
    [ ! -e "$root/.piman-installing" ] && [ -x "$(inside "$(init_program)")" ]
}

init_program() {
    # shellcheck disable=SC2013  # words, not lines
    for word in $(cat /proc/cmdline); do
        case $word in init=*) echo "${word#init=}"; return ;; esac
    done
    echo /sbin/init
}

# The file that a path means once the card is the root: links are followed inside it.
inside() {
    path=$1
    for _ in 1 2 3 4 5 6 7 8; do
        if [ ! -L "$root$path" ]; then break; fi
        target=$(readlink "$root$path")
        case $target in
            /*) path=$target ;;
            *) path=${path%/*}/$target ;;
        esac
    done
    echo "$root$path"
}

# Partitions and file systems.

write_partitions() {
    progress partition 0.00 "dividing the card of $(($(card_bytes) / 1000000)) MB"
    keeps_boot_partition && kept=yes || kept=no
    sfdisk_output=$(printf 'label: dos\nstart=%s, size=%s, type=c\nstart=%s, type=83\n' \
        "$BOOT_START" "$BOOT_SECTORS" "$ROOT_START" | /sbin/sfdisk --quiet --wipe always "$card" 2>&1) ||
        fail card-broken "cannot divide the card: $sfdisk_output"
    wait_for "$(partition 2)" || fail card-broken "the partitions of $card do not appear"
}

# Whether the first partition is as it shall be already: then its content is left as it is.
keeps_boot_partition() {
    /sbin/sfdisk --dump "$card" 2>/dev/null |
        grep -q "start= *$BOOT_START, size= *$BOOT_SECTORS, type=c"
}

make_file_systems() {
    if [ "$kept" = no ]; then
        progress mkfs 0.00 "making the boot file system"
        mkdosfs -n BOOT "$(partition 1)" >/dev/null 2>&1 ||
            fail card-broken "cannot make a file system on $(partition 1)"
    fi
    progress mkfs 0.50 "making the root file system"
    output=$(/sbin/mke2fs -t ext4 -F -q -L rootfs -E nodiscard,lazy_itable_init=1 "$(partition 2)" 2>&1) ||
        fail card-broken "cannot make a file system on $(partition 2): $output"
    mount_root rw,noatime || fail card-broken "cannot mount the new file system on $(partition 2)"
    : >"$root/.piman-installing"
    sync
}

# The image: fetched over HTTP, hashed and unpacked in one stream, asked for again from where it broke off.

read_url() {
    path=${url#http://}
    address=${path%%/*}
    path=/${path#*/}
    host=${address%:*}
    port=${address##*:}
    if [ "$port" = "$address" ]; then port=80; fi
}

seconds() {
    read -r uptime _ </proc/uptime
    echo "${uptime%.*}"
}

fetch_image() {
    offset=0
    echo 0 >"$scratch/offset"
    progress_at=$(seconds)
    until fetch_ended; do
        nc -w 15 "$host" "$port" -e "$0" receive 9>&1 </dev/null
        before=$offset
        offset=$(cat "$scratch/offset")
        if [ "$offset" -gt "$before" ]; then progress_at=$(seconds); fi
        if fetch_ended; then break; fi
        say "the image broke off at byte $offset of $size: asking for the rest"
        sleep 2
    done
    if [ "$offset" -lt "$size" ] && ! is_hopeless; then : >"$scratch/broke_off"; fi
}

fetch_ended() {
    [ "$offset" -ge "$size" ] || is_hopeless || [ $(($(seconds) - progress_at)) -gt "$SILENCE_SECONDS" ]
}

# The manager has refused the image, or it cannot be unpacked: these files hold the reason.
is_hopeless() {
    [ -e "$scratch/refused" ] || [ -e "$scratch/not_unpacked" ]
}

# One HTTP answer: standard input and output are its connection, descriptor 9 takes the image.
receive() {
    offset=$(cat "$scratch/offset")
    printf 'GET %s HTTP/1.1\r\nHost: %s\r\nRange: bytes=%s-\r\nIf-Range: "%s"\r\nConnection: close\r\n\r\n' \
        "$path" "$address" "$offset" "$sha256"
    read_head || exit 1
    while receive_chunk; do :; done
}

read_head() {
    IFS=' ' read -r -t "$CHUNK_SECONDS" _ status _ || return 1
    case $status in
        206) ;;
        200) [ "$offset" = 0 ] || refused "the manager cannot resume the image" || return 1 ;;
        4*) refused "the manager refuses the image: HTTP $status" || return 1 ;;
        *) return 1 ;;
    esac
    while IFS= read -r -t "$CHUNK_SECONDS" line; do
        case $line in "" | "$(printf '\r')") return 0 ;; esac
    done
    return 1
}

refused() {
    echo "$1" >"$scratch/refused"
    return 1
}

receive_chunk() {
    timeout "$CHUNK_SECONDS" dd bs=65536 count=64 of="$scratch/chunk" 2>/dev/null
    if [ ! -s "$scratch/chunk" ] || is_hopeless; then return 1; fi
    cat "$scratch/chunk" >&9 || return 1
    offset=$((offset + $(stat -c %s "$scratch/chunk")))
    echo "$offset" >"$scratch/offset"
    : >"$scratch/chunk"
    report_share
}

report_share() {
    share=$((offset * 100 / size))
    if [ "$share" = "$(cat "$scratch/share" 2>/dev/null)" ]; then return; fi
    echo "$share" >"$scratch/share"
    if [ "$share" -ge 100 ]; then fraction=1.00; else fraction=$(printf '0.%02d' "$share"); fi
    progress unpack "$fraction" "$((offset / 1000000)) of $((size / 1000000)) MB unpacked"
}

# Unpacks standard input and swallows what it cannot use.  Why it failed is in "not_unpacked".
unpack() {
    { gunzip 2>"$scratch/gunzip_errors" || : >"$scratch/not_gzip"; } |
        tar -x -f - -C "$root" 2>"$scratch/tar_errors" || tail -n 1 "$scratch/tar_errors" >"$scratch/not_unpacked"
    cat >/dev/null
}

install_image() {
    export path address host port size sha256
    for file in refused broke_off share not_gzip not_unpacked to_hash to_unpack; do rm -f "$scratch/$file"; done
    mkfifo "$scratch/to_hash" "$scratch/to_unpack"
    sha256sum <"$scratch/to_hash" >"$scratch/digest" &
    hashing=$!
    unpack <"$scratch/to_unpack" &
    unpacking=$!
    fetch_image | tee "$scratch/to_hash" >"$scratch/to_unpack"
    wait "$hashing"
    wait "$unpacking"
    check_image
}

check_image() {
    offset=$(cat "$scratch/offset")
    read -r digest _ <"$scratch/digest"
    if [ -e "$scratch/refused" ]; then fail image-refused "$(cat "$scratch/refused")"; fi
    if [ -e "$scratch/broke_off" ]; then
        fail image-broken "the image ended at byte $offset of $size: the manager sends no more"
    fi
    if [ "$offset" = "$size" ] && [ "$digest" != "$sha256" ]; then
        fail image-damaged "the image is damaged: its SHA-256 is $digest, not $sha256"
    fi
    if [ "$offset" = "$size" ] && [ -e "$scratch/not_gzip" ]; then
        fail image-unusable "the image is no gzip file: $(cat "$scratch/gunzip_errors")" true
    fi
    if [ -e "$scratch/not_unpacked" ]; then
        fail image-unusable "cannot unpack the image: $(cat "$scratch/not_unpacked")"
    fi
    if [ "$offset" != "$size" ]; then fail image-broken "the image has $offset bytes, not $size"; fi
    if [ ! -x "$(inside "$(init_program)")" ]; then
        fail image-unusable "the image holds no $(init_program): no system can start" true
    fi
}

keep_image() {
    progress verify 1.00 "writing the last data to the card"
    echo "$sha256" >"$root/.piman-installing"
    sync
    mv "$root/.piman-installing" "$root/.piman-installed"
    umount "$root" || fail card-broken "cannot write the last data to the card"
    send "IS_FORMATTED {\"sha256\":\"$sha256\"}"
    say "the image $image is installed"
}

# The work: a process of its own, which outlives the conversation.  What it says goes to the file "words", from
# its first step to FAILED or IS_FORMATTED; whoever talks to the manager passes that on.

start_work() {
    stop_work
    rm -f "$scratch/words" "$scratch/over"
    : >"$scratch/words"
    url=$(field "$1" url)
    case $url in *token=*) echo "${url##*token=}" >"$scratch/token" ;; *) rm -f "$scratch/token" ;; esac
    export card_was_seen
    setsid "$0" work "$1" </dev/null 8>&- &
    echo $! >"$scratch/work"
    pass_on +1
}

work() {
    exec 8>>"$scratch/words"
    trap '' PIPE
    (order_format "$1")
    : >"$scratch/over"
}

is_at_work() {
    if [ ! -e "$scratch/words" ] || [ -e "$scratch/over" ]; then return 1; fi
    case $(last_word) in FAILED* | IS_FORMATTED*) return 1 ;; esac
}

last_word() {
    tail -n 1 "$scratch/words" 2>/dev/null
}

# The manager orders anew.
stop_work() {
    stop_passing_on
    if ! is_at_work; then return; fi
    group=$(cat "$scratch/work")
    say "the work is stopped: the manager orders anew"
    kill -- "-$group" 2>/dev/null
    for _ in 1 2 3 4 5 6 7 8 9 10; do
        if ! kill -0 -- "-$group" 2>/dev/null; then return; fi
        sleep 1
    done
    kill -9 -- "-$group" 2>/dev/null
}

# Tells the manager what the work says, from this line of it on.
pass_on() {
    stop_passing_on
    tail -n "$1" -f "$scratch/words" 2>/dev/null >&8 &
    passing_on=$!
}

stop_passing_on() {
    if [ -n "${passing_on:-}" ]; then kill "$passing_on" 2>/dev/null; fi
    passing_on=
}

# While there is work, the conversation is taken up again at once: init would wait longer.
keep_calling() {
    pause=1
    while is_at_work; do
        say "the conversation broke off: the work goes on, calling again in $pause seconds"
        sleep "$pause"
        rm -f "$scratch/resumed"
        if nc -w 15 "${manager:-}" "${hello_port:-3333}" -e "$0" resume; then return; fi
        if [ -e "$scratch/resumed" ]; then
            pause=1
        elif [ "$pause" -lt 16 ]; then
            pause=$((pause * 2))
        else
            pause=30
        fi
    done
    return 1
}

# What the manager orders.

set_date() {
    case $1 in *[!0-9.]* | "") return ;; esac
    if date -u -s "$1" >/dev/null; then clock_is_set=yes; else say "cannot set the date $1"; fi
}

order_format() {
    url=$(field "$1" url)
    sha256=$(field "$1" sha256)
    size=$(field "$1" size)
    image=$(field "$1" image | plain)
    case $url in http://?*/?*) ;; *) fail bad-order "the manager names no image that can be fetched" true ;; esac
    case $size in *[!0-9]* | "") fail bad-order "the manager does not tell the size of the image" true ;; esac
    read_url
    umount "$root" 2>/dev/null
    if [ "$card_was_seen" = no ]; then fail no-card "there is no card at $card: is it in its slot?" true; fi
    against=$(objection)
    if [ -n "$against" ]; then fail "${against%% *}" "${against#* }" true; fi
    if [ "$size" -gt $(($(card_bytes) - ROOT_START * 512)) ]; then
        fail card-too-small "the image does not fit on the card" true
    fi
    write_partitions
    make_file_systems
    install_image
    keep_image
}

check_file_system() {
    /sbin/e2fsck -p "$(partition 2)" >&2
    # e2fsck(8): 1 means that errors were corrected
    if [ $? -gt 1 ]; then say "the file system on $(partition 2) has errors that were not corrected"; fi
}

order_boot() {
    check_file_system
    if grep -qw ro /proc/cmdline; then mode=ro; else mode=rw; fi
    grep -qw ext4 /proc/filesystems || fail no-system "this kernel cannot read ext4: the initramfs lacks its module"
    mount_root "$mode" || fail no-system "cannot mount the system on $(partition 2): reinstall this node"
    if [ ! -x "$(inside "$(init_program)")" ]; then
        umount "$root"
        fail no-system "the card holds no system that can start: reinstall this node"
    fi
}

text_of() {
    if [ -r "$1" ]; then tr -d '\000' <"$1" | plain; fi
}

greet() {
    mac=$(cat "$sysfs/class/net/${interface:-eth0}/address")
    serial=$(text_of "$devicetree/serial-number")
    while [ "${#serial}" -gt 8 ]; do serial=${serial#?}; done
    model=$(text_of "$devicetree/model")
    if is_at_work; then
        installed=false digest='' card_was_seen=yes
    else
        umount "$root" 2>/dev/null
        look_at_card
    fi
    send "HELLO 2 {\"mac\":\"$mac\",\"serial\":\"$serial\",\"model\":\"$model\",\"card_bytes\":$(card_bytes),\"installed\":$installed,\"digest\":\"$digest\"$(resuming)}"
}

# The token of the order that is being carried out, or whose failure the manager has perhaps not heard of.
resuming() {
    case $(last_word) in IS_FORMATTED*) return ;; esac
    if [ -e "$scratch/words" ] && [ -e "$scratch/token" ]; then
        echo ",\"token\":\"$(plain <"$scratch/token")\""
    fi
}

# The next line of the manager; status 1: the conversation is over.  While there is work it may be silent for long.
hear() {
    while true; do
        asked_at=$(seconds)
        if IFS= read -r -t "$ANSWER_SECONDS" line; then break; fi
        if ! is_at_work || [ $(($(seconds) - asked_at)) -lt "$ANSWER_SECONDS" ]; then return 1; fi
    done
    line=${line%"$(printf '\r')"}
}

# Status 0: the manager said BOOT, and the card's system is mounted.
converse() {
    exec 8>&1 1>&2
    trap '' PIPE
    clock_is_set=no
    greet
    while hear; do
        case $line in
            "busybox date -s "*) set_date "${line##* }" ;;
            "WELCOME 2") if [ "$clock_is_set" = yes ]; then send CLOCK_SET; fi ;;
            "FORMAT "*) start_work "$line" ;;
            CONTINUE) : >"$scratch/resumed" && pass_on 1 ;;
            BOOT)
                if is_at_work; then
                    say "the manager says BOOT: not while the card is being written"
                elif (order_boot); then
                    stop_passing_on
                    return
                fi
                ;;
            EOM) ;;
            *) say "the manager says something that this installer does not know: $line" ;;
        esac
    done
    say "the manager closed the connection"
    stop_passing_on
    exec 8>&- </dev/null
    return 1
}

main() {
    case ${1:-call} in
        call) converse || keep_calling ;;
        resume) converse ;;
        work) work "$2" ;;
        receive) receive ;;
    esac
}

# Tests read the functions without running them.
[ -n "${HELLO_PROTOCOL_FUNCTIONS:-}" ] || main "$@"
