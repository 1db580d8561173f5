"""Fetches or seeds one torrent with libtorrent: SOURCE FOLDER ADDRESS:PORT. Ends when its parent does."""

import sys
import time

import libtorrent

source, folder, listen = sys.argv[1:4]
session = libtorrent.session(
    {
        "listen_interfaces": listen,
        "enable_dht": False,
        "enable_lsd": False,
        "enable_upnp": False,
        "enable_natpmp": False,
        "enable_incoming_utp": False,
        "enable_outgoing_utp": False,
        "allow_multiple_connections_per_ip": True,
    }
)
if source.startswith("magnet:"):
    torrent = libtorrent.parse_magnet_uri(source)
else:
    torrent = libtorrent.add_torrent_params()
    torrent.ti = libtorrent.torrent_info(source)
torrent.save_path = folder
handle = session.add_torrent(torrent)
while True:
    time.sleep(1)
