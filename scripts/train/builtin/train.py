"""Trains the token vectors: first towards the teacher's vectors of texts, then so that a question
lies near its code and far from other code."""

import numpy as np
import torch
import torch.nn.functional as F

SEED = 7


class Bags:
    """Texts as bags of token ids: one long array and where each text begins."""

    def __init__(self, arrays):
        self.starts = np.zeros(len(arrays) + 1, np.int64)
        np.cumsum([len(a) for a in arrays], out=self.starts[1:])
        self.ids = np.empty(self.starts[-1], np.uint16)
        for i, a in enumerate(arrays):
            self.ids[self.starts[i]:self.starts[i + 1]] = a

    def __getitem__(self, i):
        return self.ids[self.starts[i]:self.starts[i + 1]]

    def __len__(self):
        return len(self.starts) - 1


class Anchors:
    """Texts with the vectors that they should have."""

    def __init__(self, bags, targets):
        self.bags, self.targets = bags, targets

    def distance(self, rows, picked):
        """Returns the mean of 1 - cosine between some texts' vectors and their targets."""
        vectors = embed(rows, [self.bags[i] for i in picked])
        return 1 - (vectors * self.targets[torch.from_numpy(picked)]).sum(1).mean()


def pack(bags):
    """Returns ids and offsets as embedding_bag takes them; an empty bag is an unknown token."""
    bags = [b if len(b) else np.zeros(1, np.uint16) for b in bags]
    offsets = np.cumsum([0] + [len(b) for b in bags[:-1]])
    return torch.from_numpy(np.concatenate(bags).astype(np.int64)), torch.from_numpy(offsets)


def embed(rows, bags):
    """Returns the normalised sums of rows."""
    ids, offsets = pack(bags)
    return F.normalize(F.embedding_bag(ids, rows, offsets, mode="sum"), dim=1)


class Documents:
    """What is embedded of chunks, in training: parts come and go, long ones are sampled.

    A bag is linear, so a sample of a text's tokens is a noisy copy of its vector.
    """

    def __init__(self, fields, longest=128):
        self.fields, self.longest = fields, longest

    def draw(self, i, rng, chances):
        parts = [self.fields[name][i] for name, chance in chances.items() if rng.random() < chance]
        bag = np.concatenate(parts) if parts else np.empty(0, np.uint16)
        if len(bag) > self.longest:
            bag = bag[rng.permutation(len(bag))[: self.longest]]
        return bag


def distil(rows, anchors, steps, batch=2048, rate=5e-3, log=print):
    """Moves rows so that the anchors' vectors become their targets (both normalised)."""
    rng = np.random.default_rng(SEED)
    rows = rows.clone().requires_grad_()
    adam = torch.optim.Adam([rows], lr=rate)
    total = 0.0
    for step in range(steps):
        for group in adam.param_groups:
            group["lr"] = rate * (1 - step / steps)
        picked = rng.integers(0, len(anchors.bags), batch)
        loss = anchors.distance(rows, picked)
        adam.zero_grad()
        loss.backward()
        adam.step()
        total += loss.item()
        if step % 50 == 49:
            log(f"distil {step + 1}/{steps} loss {total / 50:.4f}")
            total = 0.0
    return rows.detach()


def batches(groups, weights, size, steps, rng):
    """Yields indices of pairs; each batch is of one language or mixed, as `weights` says."""
    names = list(groups)
    p = np.array([weights(n, len(groups[n])) for n in names])
    p /= p.sum()
    everything = np.concatenate([groups[n] for n in names])
    each = np.concatenate([np.full(len(groups[n]), p[k] / len(groups[n])) for k, n in enumerate(names)])
    each = np.cumsum(each / each.sum())
    for _ in range(steps):
        if rng.random() < 0.5:
            name = names[rng.choice(len(names), p=p)]
            group = groups[name]
            yield rng.choice(group, size=min(size, len(group)), replace=False)
        else:
            yield everything[np.minimum(np.searchsorted(each, rng.random(size)), len(everything) - 1)]


def contrast(rows, questions, documents, groups, options, anchors=None, log=print, check=None):
    """InfoNCE both ways over (question, document) pairs, negatives from the batch.

    questions: function (index, rng) -> bag; documents: the same. options: steps, schedule (steps
    after which the rate would be 0; training ends before), batch, rate,
    temperature, weights (of a language, by its name and number of pairs), anchor (weight of the
    teacher's vectors of `anchors`, which stay a goal).
    """
    rng = np.random.default_rng(SEED)
    rows = rows.clone().requires_grad_()
    adam = torch.optim.Adam([rows], lr=options["rate"], betas=(0.9, 0.99))
    total, steps = 0.0, options["steps"]
    for step, picked in enumerate(batches(groups, options["weights"], options["batch"], steps, rng)):
        warm = min(1.0, (step + 1) / 50)
        for group in adam.param_groups:
            group["lr"] = options["rate"] * warm * (1 - step / max(steps, options["schedule"]))
        picked = np.unique(picked)
        q = embed(rows, [questions(i, rng) for i in picked])
        d = embed(rows, [documents(i, rng) for i in picked])
        scores = q @ d.T / options["temperature"]
        same = torch.arange(len(picked))
        loss = (F.cross_entropy(scores, same) + F.cross_entropy(scores.T, same)) / 2
        whole = loss
        if anchors:
            chosen = rng.integers(0, len(anchors.bags), options["batch"] // 2)
            whole = whole + options["anchor"] * anchors.distance(rows, chosen)
        adam.zero_grad()
        whole.backward()
        adam.step()
        total += loss.item()
        if step % 50 == 49:
            log(f"contrast {step + 1}/{steps} loss {total / 50:.4f}")
            total = 0.0
        if check and (step % 200 == 199 or step == steps - 1):
            check(rows.detach(), step + 1)
    return rows.detach()
