"""
Network boot and management for fleets of Raspberry Pis.

One manager serves a LAN of Pis: addresses (:mod:`piman.dhcp`), boot files (:mod:`piman.tftp`), time
(:mod:`piman.ntp`) and an operating system for the SD card (:mod:`piman.hello`).  :mod:`piman.service` is the map.
"""
