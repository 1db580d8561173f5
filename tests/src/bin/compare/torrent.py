"""The torrent that cjp2p-get is compared with: libtorrent over TCP, between two addresses and nobody else.

torrent.py version
torrent.py make FILE TORRENT
torrent.py seed SETTINGS ADDRESS:PORT TORRENT FOLDER     prints "ready", then serves until it is killed
torrent.py get SETTINGS ADDRESS:PORT TORRENT FOLDER SEED_ADDRESS SEED_PORT     prints the seconds it took

SETTINGS is "defaults", or "tuned" for what libtorrent itself sets for high performance.
"""

import sys
import time

import libtorrent as lt

PIECE = 1 << 20
LIMIT = 600


def make(path, torrent):
    files = lt.file_storage()
    lt.add_files(files, path)
    # Version 1: one SHA-1 for each piece, and not a tree of SHA-256 beside it.
    made = lt.create_torrent(files, PIECE, lt.create_torrent.v1_only)
    lt.set_piece_hashes(made, path.rsplit("/", 1)[0])
    with open(torrent, "wb") as out:
        out.write(lt.bencode(made.generate()))


def session(settings, listen):
    settings = {"defaults": lt.default_settings, "tuned": lt.high_performance_seed}[settings]()
    settings.update(
        {
            "listen_interfaces": listen,
            "enable_dht": False,
            "enable_lsd": False,
            "enable_upnp": False,
            "enable_natpmp": False,
            "enable_outgoing_utp": False,
            "enable_incoming_utp": False,
            "out_enc_policy": lt.enc_policy.pe_disabled,
            "in_enc_policy": lt.enc_policy.pe_disabled,
            "alert_mask": lt.alert.category_t.status_notification | lt.alert.category_t.error_notification,
        }
    )
    return lt.session(settings)


def add(on, torrent, folder, flags):
    wanted = lt.add_torrent_params()
    wanted.ti = lt.torrent_info(torrent)
    wanted.save_path = folder
    wanted.flags = flags
    return on.add_torrent(wanted)


def seed(settings, listen, torrent, folder):
    on = session(settings, listen)
    add(on, torrent, folder, lt.torrent_flags.seed_mode | lt.torrent_flags.upload_mode)
    print("ready", flush=True)
    while True:
        time.sleep(3600)


def get(settings, listen, torrent, folder, address, port):
    on = session(settings, listen)
    begun = time.monotonic()
    handle = add(on, torrent, folder, lt.torrent_flags.update_subscribe)
    handle.connect_peer((address, int(port)))
    while time.monotonic() - begun < LIMIT:
        on.wait_for_alert(100)
        for alert in on.pop_alerts():
            if isinstance(alert, lt.torrent_finished_alert):
                print(time.monotonic() - begun, flush=True)
                return
    sys.exit("torrent.py: not finished")


if __name__ == "__main__":
    command, *arguments = sys.argv[1:]
    if command == "version":
        print(lt.__version__)
    else:
        {"make": make, "seed": seed, "get": get}[command](*arguments)
