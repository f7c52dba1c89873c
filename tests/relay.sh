#!/bin/sh
# Eight relays, which are files in a folder: relay.sh FOLDER on|off|status PORT
[ "$3" -ge 1 ] && [ "$3" -le 8 ] || { echo "there is no relay $3" >&2; exit 3; }
case $2 in
    on) rm -f "$1/$3" ;;
    off) : > "$1/$3" ;;
    status) if [ -e "$1/$3" ]; then echo off; else echo on; fi ;;
esac
