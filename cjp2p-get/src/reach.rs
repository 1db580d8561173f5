//! Who is asked, as the command line says. With `--only-peer` nobody else is: neither the local network nor the DHT.

use cjp2p_io::lookup::Lookup;
use cjp2p_io::mainline::Entry;
use cjp2p_wire::peers::peer::Origin;

use crate::cli::{ANYWHERE, Cli};

/// See the [module](self).
pub(crate) struct Reach {
    /// Only peers that `--only-peer` names.
    pub(crate) is_limited: bool,
    /// Peers that are named on the command line, or public. A process of its own looks their names up, as that may need whatever it
    /// likes: so this is made before the tool is confined.
    pub(crate) named: Lookup,
    pub(crate) dht: Option<Entry>,
    pub(crate) has_lan: bool,
}

impl Reach {
    /// Begins to look up names.
    pub(crate) fn of(cli: &Cli) -> Reach {
        let is_limited = !cli.only_peers.is_empty();
        let named = match is_limited {
            true => {
                Lookup::start(cli.only_peers.iter().map(|name| (name.clone(), Origin::CommandLine)).collect())
            }
            false => cli.peers.look_up(),
        };
        let listen = cli.listen.listen.unwrap_or(ANYWHERE);
        let dht = if is_limited { None } else { cli.dht.entry(listen, &cli.peers) };
        Reach { is_limited, named, dht, has_lan: !is_limited && cli.lan.is_on(listen) }
    }
}
