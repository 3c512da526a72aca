"""Tiles as nodes, links as edges: groups, and edges in no loop."""

import numpy as np


def components_of(count: int, pairs: np.ndarray) -> tuple[tuple[int, ...], ...]:
    """Groups of nodes that edges hold together, largest first."""
    labels = _labels(count, pairs)
    order = np.argsort(labels, kind="stable")
    groups = np.split(order, np.flatnonzero(np.diff(labels[order])) + 1)
    groups = [tuple(group.tolist()) for group in groups if group.size]
    return tuple(sorted(groups, key=lambda group: (-len(group), group[0])))


def _labels(count: int, pairs: np.ndarray) -> np.ndarray:
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    ones = np.ones(len(pairs))
    graph = coo_array((ones, (pairs[:, 0], pairs[:, 1])), shape=(count, count))
    return connected_components(graph.tocsr(), directed=False)[1]


def unchecked_links(count: int, pairs: np.ndarray) -> np.ndarray:
    """Which edges are in no loop (bridges): nothing contradicts them if wrong.

    Every edge that is not in a spanning tree closes a loop; counting, for every node,
    loops that pass the edge to its parent is one sum over the tree if every loop adds
    1 at both ends and takes 2 away at their lowest common ancestor. Random labels that
    cancel in pairs do it without the ancestor: an edge that no loop passes has the
    exclusive or 0.
    """
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import breadth_first_order

    found = np.zeros(len(pairs), bool)
    keys, inverse, times = np.unique(
        np.sort(pairs, 1), axis=0, return_inverse=True, return_counts=True
    )
    if not len(keys):
        return found
    # A node more, joined to one node of every group, makes the graph one.
    labels = _labels(count, pairs)
    _, roots = np.unique(labels, return_index=True)
    joined = np.concatenate([keys, np.stack([roots, np.full_like(roots, count)], 1)])
    ones = np.ones(len(joined))
    size = (count + 1, count + 1)
    graph = coo_array((ones, (joined[:, 0], joined[:, 1])), shape=size).tocsr()
    order, parent = breadth_first_order(graph, count, directed=False)
    rng = np.random.default_rng(0)
    marks = rng.integers(1, 2**63, len(keys), dtype=np.uint64)
    a, b = keys.T
    tree = (parent[a] == b) | (parent[b] == a)
    passed = np.zeros(count + 1, np.uint64)
    for ends in (a, b):
        np.bitwise_xor.at(passed, ends[~tree], marks[~tree])
    for node in order[:0:-1]:
        passed[parent[node]] ^= passed[node]
    child = np.where(parent[a] == b, a, b)
    single = tree & (passed[child] == 0) & (times == 1)
    return single[inverse.reshape(-1)]


def bridging(count: int, pairs: np.ndarray, kept: np.ndarray, spare: np.ndarray):
    """Of spare edges, in their order, those that join groups which kept ones do not.

    Returns:
        (edges,) True for those to take.
    """
    group = _labels(count, pairs[kept])
    root = np.arange(group.max(initial=-1) + 1)

    def find(node: int) -> int:
        while root[node] != node:
            root[node] = node = root[root[node]]
        return node

    taken = np.zeros(len(pairs), bool)
    for edge in spare.tolist():
        a, b = (find(n) for n in group[pairs[edge]].tolist())
        if a != b:
            root[a], taken[edge] = b, True
    return taken
