"""Fetches or seeds one torrent with libtorrent: SOURCE FOLDER ADDRESS:PORT [DHT-NODES]. Ends when its parent does."""

import sys
import time

import libtorrent

source, folder, listen = sys.argv[1:4]
nodes = sys.argv[4] if len(sys.argv) > 4 else ""
session = libtorrent.session(
    {
        # Named: of all addresses it would use none for the DHT, since none has a route out.
        "listen_interfaces": listen,
        "enable_dht": nodes != "",
        "dht_bootstrap_nodes": nodes,
        # The first time nobody may know of a peer yet.
        "dht_announce_interval": 5,
        # All nodes of the test have one address.
        "dht_restrict_routing_ips": False,
        "dht_ignore_dark_internet": False,
        "dht_prefer_verified_node_ids": False,
        "dht_restrict_search_ips": False,
        "enable_lsd": False,
        "enable_upnp": False,
        "enable_natpmp": False,
        "enable_incoming_utp": False,
        "enable_outgoing_utp": False,
        "allow_multiple_connections_per_ip": True,
    }
)
for node in filter(None, nodes.split(",")):
    address, node_port = node.rsplit(":", 1)
    session.add_dht_node((address, int(node_port)))
# A torrent that is there before the DHT would ask nobody.
until = time.monotonic() + 30
while nodes and not session.status().dht_nodes and time.monotonic() < until:
    time.sleep(0.1)
print(session.status().dht_nodes, "nodes of the DHT", flush=True)
if source.startswith("magnet:"):
    torrent = libtorrent.parse_magnet_uri(source)
else:
    torrent = libtorrent.add_torrent_params()
    torrent.ti = libtorrent.torrent_info(source)
torrent.save_path = folder
handle = session.add_torrent(torrent)
while True:
    time.sleep(1)
