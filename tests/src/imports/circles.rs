//! Circles in a graph of imports.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use super::modules::{Crate, Import, Name};

/// From each to those that it imports, and an import that says so.
type Graph = BTreeMap<Name, BTreeMap<Name, Import>>;

/// All circles of a crate, a line for each: first those between modules, then those between the folders below one parent. Where
/// several circles share modules, the line names the shortest, and how many modules there are in all of them.
pub fn circles(of: &Crate) -> Vec<String> {
    let imports = of.imports();
    let mut lines = Vec::new();
    let modules = graph(imports.iter().map(|import| (import.from.clone(), import.to.clone(), import)));
    let mut in_circles = BTreeSet::new();
    for Tangle { nodes, shortest } in tangles(&modules) {
        let step = |from: &Name, to: &Name| format!(" -> {} (line {})", shown(to), modules[from][to].line);
        lines.push(shown(&shortest[0]) + &steps(&shortest, step) + &in_all(&nodes, &shortest));
        in_circles.extend(nodes);
    }
    let parents: BTreeSet<&[String]> = imports.iter().flat_map(|import| above(&import.from)).collect();
    for parent in parents {
        let folder = |name: &Name| {
            let is_below = name.starts_with(parent) && name.len() > parent.len();
            is_below.then(|| name[..=parent.len()].to_vec())
        };
        let between =
            imports.iter().filter_map(|import| Some((folder(&import.from)?, folder(&import.to)?, import)));
        let folders = graph(between);
        for Tangle { nodes, shortest } in tangles(&folders) {
            // Otherwise it was named as one of modules.
            if !nodes.iter().all(|node| in_circles.contains(node)) {
                let step = |from: &Name, to: &Name| {
                    let Import { from, to: imported, line } = &folders[from][to];
                    let (to, from, imported) = (shown(to), shown(from), shown(imported));
                    format!(" -> {to} ({from} imports {imported}, line {line})")
                };
                let steps = steps(&shortest, step) + &in_all(&nodes, &shortest);
                lines.push(format!("folders {}{steps}", shown(&shortest[0])));
            }
        }
    }
    lines
}

fn above(name: &Name) -> impl Iterator<Item = &[String]> {
    (0..name.len()).map(|length| &name[..length])
}

fn shown(name: &Name) -> String {
    if name.is_empty() { "the root".into() } else { name.join("::") }
}

fn steps(circle: &[Name], step: impl Fn(&Name, &Name) -> String) -> String {
    circle.windows(2).map(|pair| step(&pair[0], &pair[1])).collect()
}

fn in_all(nodes: &BTreeSet<Name>, circle: &[Name]) -> String {
    let all = nodes.len();
    if all < circle.len() { String::new() } else { format!("; {all} modules are in circles with these") }
}

fn graph<'a>(imports: impl Iterator<Item = (Name, Name, &'a Import)>) -> Graph {
    let mut graph = Graph::new();
    for (from, to, import) in imports.filter(|(from, to, _)| from != to) {
        graph.entry(from).or_default().entry(to).or_insert_with(|| import.clone());
    }
    graph
}

/// Nodes each of which leads to every other.
struct Tangle {
    nodes: BTreeSet<Name>,
    /// The shortest circle among them. It ends where it begins.
    shortest: Vec<Name>,
}

/// All that are in a circle, each once.
fn tangles(graph: &Graph) -> Vec<Tangle> {
    let reached: BTreeMap<&Name, BTreeMap<Name, Name>> =
        graph.keys().map(|from| (from, reached_from(graph, from))).collect();
    let lead_to_each_other = |one: &Name, other: &Name| {
        let leads = |from, to| reached.get(from).is_some_and(|reached| reached.contains_key(to));
        leads(one, other) && leads(other, one)
    };
    let mut tangles: Vec<Tangle> = Vec::new();
    for node in graph.keys().filter(|node| lead_to_each_other(node, node)) {
        if tangles.iter().any(|tangle| tangle.nodes.contains(node)) {
            continue;
        }
        let nodes: BTreeSet<Name> =
            graph.keys().filter(|other| lead_to_each_other(node, other)).cloned().collect();
        let circles = nodes.iter().map(|node| circle(&reached[node], node));
        let shortest = circles.min_by_key(Vec::len).expect("a node leads to itself");
        tangles.push(Tangle { nodes, shortest });
    }
    tangles
}

/// What can be reached from `start`, each with the node before it on a shortest way; `start` too where it is in a circle.
fn reached_from(graph: &Graph, start: &Name) -> BTreeMap<Name, Name> {
    let mut reached = BTreeMap::new();
    let mut next = VecDeque::from([start]);
    while let Some(node) = next.pop_front() {
        for to in graph.get(node).into_iter().flat_map(BTreeMap::keys) {
            if !reached.contains_key(to) {
                reached.insert(to.clone(), node.clone());
                next.push_back(to);
            }
        }
    }
    reached
}

/// The shortest circle through `start`.
fn circle(reached: &BTreeMap<Name, Name>, start: &Name) -> Vec<Name> {
    let mut circle = vec![start.clone()];
    let mut at = start;
    while circle.len() == 1 || at != start {
        at = &reached[at];
        circle.push(at.clone());
    }
    circle.reverse();
    circle
}
