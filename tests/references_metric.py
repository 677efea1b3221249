"""References of range loss, quintuplets, class rectification and the two few-shot heads, in plain loops."""

import numpy as np
from references import base_value, head_reference, nll, reference, softmax, weighted


def unit_rows(x):
    return x / np.maximum(np.linalg.norm(x, axis=1, keepdims=True), 1e-6)


def embedded(out, embedding):
    return out.features if embedding == "raw" else unit_rows(out.features)


def far(a, b):
    return float(np.sqrt(np.sum((a - b) ** 2)))


# --- range loss ------------------------------------------------------------------------------------------------------


def harmonic(values):
    return len(values) / sum(1.0 / max(v, 1e-12) for v in values) if len(values) else 0.0


def range_intra(x, y, ranges, power):
    total = 0.0
    for c in sorted(set(y.tolist())):
        mine = [i for i in range(len(y)) if y[i] == c]
        pairs = [max(far(x[i], x[j]), 1e-6) ** power for i in mine for j in mine if i < j]
        total += harmonic(sorted(pairs, reverse=True)[:ranges])
    return total


def range_inter(x, y, margin, power):
    centres = [x[y == c].mean(axis=0) for c in sorted(set(y.tolist()))]
    gaps = [far(a, b) ** power for i, a in enumerate(centres) for b in centres[:i]]
    return max(margin - min(gaps), 0.0) if gaps else 0.0


@reference("range")
def range_loss(out, targets, counts, class_weight, base, intra, inter, ranges, margin, distance, embedding):
    x, power = embedded(out, embedding), 2 if distance == "squared" else 1
    extra = intra * range_intra(x, targets, ranges, power) + inter * range_inter(x, targets, margin, power)
    return base_value(base, out, targets, counts, class_weight) + extra


# --- quintuplets -----------------------------------------------------------------------------------------------------


def quintuplet(x, y, cluster, i, g1, g2, g3):
    own, outside, foes = [], [], []
    for j in range(len(y)):
        if j == i:
            continue
        if y[j] != y[i]:
            foes.append(far(x[i], x[j]))
        elif cluster[j] == cluster[i]:
            own.append(far(x[i], x[j]))
        else:
            outside.append(far(x[i], x[j]))
    loss = 0.0
    if own and outside:
        loss += max(g1 + max(own) - min(outside), 0.0)
    if outside:
        loss += max(g2 + min(outside) - max(outside), 0.0)
    if foes and (own or outside):
        loss += max(g3 + max(outside or own) - min(foes), 0.0)
    return loss


@reference("lmle")
def lmle(out, targets, counts, class_weight, base, strength, g1, g2, g3, cluster_size, refresh, anchors):
    x, y = unit_rows(out.features), targets
    cluster = y if out.index is None else out.state["cluster"][out.index]
    losses = [quintuplet(x, y, cluster, i, g1, g2, g3) for i in range(len(y))]
    if anchors == "class":
        extra = np.mean([np.mean([losses[i] for i in range(len(y)) if y[i] == c]) for c in set(y.tolist())])
    else:
        extra = np.mean(losses)
    return base_value(base, out, targets, counts, class_weight) + strength * float(extra)


# --- class rectification ---------------------------------------------------------------------------------------------


def minority(y, k, rho):
    """Ascending by size, as long as together they hold at most rho of the batch; then those with two images."""
    sizes = [int((y == c).sum()) for c in range(k)]
    chosen, held = [], 0
    for c in sorted(range(k), key=lambda c: (sizes[c], c)):
        held += sizes[c]
        if held <= rho * len(y) and sizes[c] >= 2:
            chosen.append(c)
    return chosen


def rectification_pairs(x, p, y, k, rho, kappa, level):
    """For each anchor: distances to its hard positives, and to its hard negatives."""
    found = []
    for c in minority(y, k, rho):
        for a in np.flatnonzero(y == c):
            positives = [j for j in np.flatnonzero(y == c) if j != a]
            negatives = list(np.flatnonzero(y != c))
            if level == "class":
                positives = sorted(positives, key=lambda j: p[j, c])[:kappa]
                negatives = sorted(negatives, key=lambda j: -p[j, c])[:kappa]
                found.append(([abs(p[a, c] - p[j, c]) for j in positives], [p[a, c] - p[j, c] for j in negatives]))
            else:
                positives = sorted(positives, key=lambda j: -far(x[a], x[j]))[:kappa]
                negatives = sorted(negatives, key=lambda j: far(x[a], x[j]))[:kappa]
                found.append(([far(x[a], x[j]) for j in positives], [far(x[a], x[j]) for j in negatives]))
    return found


def average(values):
    return float(np.mean(values)) if len(values) else 0.0


def soft_histogram(values, low, high, bins, printed=False):
    """Dong et al. 2017: each value split between its two nodes; `printed`: without the division by the bin's width."""
    nodes, width = np.linspace(low, high, bins), (high - low) / (bins - 1)
    share = np.zeros(bins)
    for v in values:
        v = min(max(v, low), high)
        for t in range(bins):
            if t + 1 < bins and nodes[t] <= v < nodes[t + 1]:
                share[t] += nodes[t + 1] - v
                share[t + 1] += v - nodes[t]
        if v == high:
            share[-1] += width
    return share / max(len(values), 1) / (1.0 if printed else width)


def nearer_negative(positive, negative, low, high, bins, printed):
    h_positive = soft_histogram(positive, low, high, bins, printed)
    h_negative = soft_histogram(negative, low, high, bins, printed)
    return float(sum(h_positive[t] * h_negative[s] for t in range(bins) for s in range(t + 1)))


def compare(found, comparison, margin, reach, bins):
    positive = [d for near, _ in found for d in near]
    negative = [d for _, away in found for d in away]
    if comparison.startswith("distribution"):
        return nearer_negative(positive, negative, *reach, bins, comparison == "distribution_poster")
    if comparison == "relative":
        return average([max(margin + dp - dn, 0.0) for near, away in found for dp in near for dn in away])
    power = 1 if comparison == "absolute_poster" else 2
    hinges = [max(margin - d, 0.0) ** 2 for d in negative]
    return 0.5 * (average([d**power for d in positive]) + average(hinges))


@reference("crl")
def crl(
    out, targets, counts, class_weight, base, combination, strength, eta, level, comparison, rho, kappa, margin_rule,
    margin, bins, embedding,
):  # fmt: skip
    k = len(counts)
    classification = base_value(base, out, targets, counts, class_weight)
    found = rectification_pairs(embedded(out, embedding), softmax(out.logits), targets, k, rho, kappa, level)
    if not found:
        return classification
    m = margin if margin_rule == "fixed" else 2.0 * np.pi / k
    reach = (-1.0, 1.0) if level == "class" else (0.0, 2.0)
    if level == "instance" and embedding == "raw":  # a constant for the gradient
        there = rectification_pairs(out.constant.features, softmax(out.logits), targets, k, rho, kappa, level)
        longest = max(d for pair in there for distances in pair for d in distances)
        reach = (0.0, longest + 0.5 * longest / (bins - 1.5))  # half a bin farther
    term = compare(found, comparison, m, reach, bins)
    if combination == "sum":
        return classification + strength * term
    missing = 100.0 * sum(counts.max() - n for n in counts) / (k * counts.max())
    a = min(eta * missing, 1.0)
    return (1.0 - a) * classification + a * term


# --- generated rows --------------------------------------------------------------------------------------------------


def generated(support, mask, weight, base, query, keys, temperature, by_average, by_attention):
    """Each class's row from its support, image by image."""
    k, d = weight.shape
    rows = np.zeros((k, d))
    for c in range(k):
        images = [support[c, i] / max(np.linalg.norm(support[c, i]), 1e-6) for i in np.flatnonzero(mask[c])]
        for z in images:
            q, seen = query @ z, np.flatnonzero(base)
            cosines = [q @ keys[b] / max(np.linalg.norm(q) * np.linalg.norm(keys[b]), 1e-12) for b in seen]
            looks = softmax(temperature * np.array([cosines]))[0]
            attended = sum(looks[i] * weight[b] / np.linalg.norm(weight[b]) for i, b in enumerate(seen))
            rows[c] += (by_average * z + by_attention * attended) / len(images)
    return rows


def generating_rows(state, few, mask):
    made = generated(
        state["support"], mask, state["learned"], ~few, state["query"], state["keys"], state["temperature"],
        state["by_average"], state["by_attention"],
    )  # fmt: skip
    return np.where(few[:, None], made, state["learned"])


@head_reference("fslwf")
def fslwf_head(features, head_weight, head_bias, scale, state, **settings):
    if "support" not in state:  # stage one
        return scale * unit_rows(features) @ unit_rows(head_weight).T
    np.testing.assert_allclose(head_weight, generating_rows(state, state["few"], state["mask"]), rtol=1e-5, atol=1e-6)
    rows = generating_rows(state, state["episode_few"], state["episode_mask"])
    return scale * unit_rows(features) @ unit_rows(rows).T


@reference("fslwf")
def fslwf(out, targets, counts, class_weight, **settings):
    return weighted(nll(out.logits, targets), targets, class_weight)


# --- memory ----------------------------------------------------------------------------------------------------------


@head_reference("oltr")
def oltr_head(features, head_weight, head_bias, scale, state, **settings):
    if "memory" not in state:  # stage one
        return features @ head_weight.T + head_bias
    memory, logits = state["memory"], []
    for x in features:
        nearest = min(far(x, c) for c in memory)
        attention = softmax((state["attention.weight"] @ x + state["attention.bias"])[None])[0]
        selector = np.tanh(state["selector.weight"] @ x + state["selector.bias"])
        meta = 10.0 / max(nearest, 0.1) * (x + selector * (attention @ memory))
        length = np.linalg.norm(meta)
        squashed = length / (1.0 + length) * meta / length
        logits.append([scale * squashed @ w / np.linalg.norm(w) for w in head_weight])
    return np.array(logits)


def centroid_term(x, y, memory, repulsion, margin):
    attraction = sum(far(x[i], memory[y[i]]) ** 2 for i in range(len(y))) / (2 * len(y))
    others = sum(far(x[i], c) ** 2 for i in range(len(y)) for j, c in enumerate(memory) if j != y[i])
    return attraction + repulsion * max(margin - others / (len(y) * len(memory)), 0.0)


@reference("oltr")
def oltr(out, targets, counts, class_weight, centroid, repulsion, margin, detach, memory_gradient, share):
    loss = weighted(nll(out.logits, targets), targets, class_weight)
    if out.memory is None:
        return loss
    return loss + centroid * centroid_term(out.features, targets, out.memory, repulsion, margin)
